"""Bounded work: a meter that every step of an expression pays, and a backstop that needs no cooperation.

Plain Python operations can be made to run for hours or to fill the memory (`9**9**9`, `'a' * 10**12`, `'%999s' * 999 % x`,
comparisons of long lists in loops). Each operation pays for its operands and for its result, before it computes the result
(`prices.py`). The backstop ends everything that the meter misses: too much CPU time or memory for one value.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from dlbs.errors import ExpressionError

__all__ = ["BUDGET", "METER", "BackstopError"]

BUDGET = 3_000_000  # per expression: steps, items and characters produced, 16 characters or 64 bits read
MAX_SECONDS = 5.0  # of CPU time for one value: the backstop
MAX_MEMORY = 512 << 20  # bytes that the process grows by for one value: the backstop
_TICK = 0.05  # seconds of CPU time between two checks of the backstop


class BackstopError(ExpressionError):
    """A value took too long or too much memory, whatever it paid to the meter."""


class Meter:
    """The remaining budget of an expression. One meter for all, with a lock: threads evaluate expressions one at a time.

    `with METER:` begins an expression, and arms the backstop around it: a timer of CPU time whose signal handler checks the clock and
    the size of the process. It works in the main thread only (Python delivers signals to no other), and only if nothing else uses
    SIGVTALRM. Values that are finished before the first tick cost two system calls.
    """

    __slots__ = ("armed", "left", "lock", "memory", "started", "usable")

    def __init__(self) -> None:
        self.left = BUDGET
        self.lock = threading.RLock()
        self.armed = False
        self.usable: bool | None = None  # whether the signal is free; determined at the first expression
        self.started = 0.0  # set by the first tick, as is `memory`
        self.memory = 0

    def charge(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise ExpressionError(
                f"more work than one value may take: {BUDGET:,} steps, items or characters",
                hint="reduce the loops, or compute the value outside of the plan",
            )

    def reset(self, left: int = BUDGET) -> None:
        """Begin another expression inside `with METER:`, or the rest of one that has spent a part of its budget."""
        self.left = left
        self.memory = 0  # the next tick sets it and `started` again: the backstop is one for each value, too

    def __enter__(self) -> None:
        self.lock.acquire()
        self.left = BUDGET
        if self.usable is False or threading.current_thread() is not threading.main_thread():
            return
        if self.usable is None:
            self.usable = signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
            if not self.usable:
                return
            signal.signal(signal.SIGVTALRM, self._look)
        self.memory = 0
        self.armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, _TICK, _TICK)

    def __exit__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        self.lock.release()

    def _look(self, _signal: int, _frame: FrameType | None) -> None:
        """Check the value that is being computed, once per tick."""
        if not self.armed:
            return
        import psutil

        now, size = time.thread_time(), psutil.Process().memory_info().rss
        if not self.memory:
            self.started, self.memory = now, size
        if now - self.started > MAX_SECONDS:
            raise BackstopError(f"value takes more than {MAX_SECONDS:.0f} s of CPU time")
        if size - self.memory > MAX_MEMORY:
            raise BackstopError(f"value takes more than {MAX_MEMORY >> 20} MiB of memory")


METER = Meter()
