"""How the program ends on a signal: in order, with nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from dlbs.exit_codes import SIGNALLED

__all__ = ["end_on_signals"]


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program with 128 + n, and in order: everything that is to be tidied up is.

    A signal that is ignored, as SIGHUP under nohup, stays ignored. `dlbs run` has handlers of its own while a plan runs.
    """
    program = os.getpid()
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        if os.getpid() != program:  # a process that the program forked has nothing to tidy up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not ending:  # timeout(1) sends its signal twice, and the second one must not interrupt the tidying up
            ending = True
            sys.exit(SIGNALLED + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
