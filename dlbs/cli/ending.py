"""How the program ends against its will: by a signal, in order, and by an error that nobody foresaw, without a traceback."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import tempfile
import traceback
from types import FrameType

from dlbs.exit_codes import SIGNALLED
from dlbs.text import printable
from dlbs.version import __version__

__all__ = ["end_on_signals", "tell_unforeseen"]


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


def tell_unforeseen(error: Exception) -> None:
    """Say in one line that an error is a defect of dlbs, and leave the details in a new file that only the user can read."""
    traceback.clear_frames(error.__traceback__)  # after a MemoryError it is what they hold that is missing
    try:
        details = f"details: {_details(error)}"
    except (OSError, MemoryError) as problem:
        details = f"details cannot be written: {problem}; --debug shows them"
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    print(f"error: unforeseen, a defect of dlbs: {printable(what)} ({details})", file=sys.stderr)


def _details(error: Exception) -> str:
    descriptor, name = tempfile.mkstemp(prefix="dlbs-error-", suffix=".txt")  # mkstemp opens with O_EXCL, as 0600
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"dlbs {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        stream.write(f"{shlex.join(sys.argv)}\n\n")
        stream.writelines(traceback.format_exception(error))
    return name
