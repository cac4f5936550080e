"""Orderly termination on signals."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from dlbs.exit_codes import SIGNALLED

__all__ = ["end_on_signals"]


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end the program with exit code 128 + n after all cleanup.

    A signal that is ignored, as SIGHUP under nohup, stays ignored. `dlbs run` installs its own handlers while a plan runs.
    """
    program = os.getpid()
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        if os.getpid() != program:  # a forked process has nothing to clean up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not ending:  # timeout(1) sends its signal twice, and the second one must not interrupt the cleanup
            ending = True
            sys.exit(SIGNALLED + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
