"""Signals: orderly ends, and waiting without polling, which would take CPU time from the benchmark."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import FrameType, TracebackType

from benchmark_core.exits import SIGNALLED

_LONGEST = 86400.0  # seconds; the system rejects waits of centuries, and callers look again after any
_HANDLED = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Signals:
    """A context in which signals wake `wait` instead of interrupting the program.

    SIGINT, SIGTERM and SIGHUP request a stop now; SIGUSR1 requests one after the current experiment. Python allows this in the
    main thread only.

    Attributes:
        stop_signal: The number of the signal that requested a stop now; 0 if none.
        stop_after_current: Whether SIGUSR1 was received.
    """

    def __init__(self) -> None:
        self.stop_signal = 0
        self.stop_after_current = False

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: keep running after the terminal closes
        handled = [number for number in _HANDLED if not (ignored and number == signal.SIGHUP)]
        self._before = {number: signal.signal(number, self._note) for number in handled}
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.stop_after_current = True
        elif number != signal.SIGCHLD:
            self.stop_signal = number

    def wait(self, seconds: float | None) -> None:
        """Return after a signal (SIGCHLD included), a number of seconds or a day, whichever is first."""
        longest = None if seconds is None else max(0.0, min(_LONGEST, seconds))
        ready, _, _ = select.select([self._read], [], [], longest)
        if ready:
            try:
                os.read(self._read, 4096)
            except BlockingIOError:
                return

    def wait_until(self, moment: float | None) -> None:
        """Like `wait`, until a time of `time.monotonic()`; None means no limit."""
        self.wait(None if moment is None else moment - time.monotonic())


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
