"""Non-blocking standard error: output that cannot be written is dropped, and a stopped reader delays no experiment."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ["Talk", "never_waiting"]

_PATIENCE = 1.0  # seconds that a write may take
_LAST_PATIENCE = 5.0  # for all that is left at the end
_MOST_WAITING = 1 << 20  # bytes; more of them are dropped


class Talk(io.FileIO):
    """Standard error.

    As for every program, a write takes as long as its reader takes. Inside of `never_waiting` it takes a second at most; then what is
    written waits for the reader to go on, and what there is too much of is dropped.
    """

    writer: _Writer | None = None

    def write(self, data: Any) -> int:
        if self.writer is not None and self.writer.is_alive():  # a process that was forked has no threads of its parent
            self.writer.put(bytes(data), _PATIENCE)
            return len(data)
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Writer(threading.Thread):
    """Writes in the order in which it is asked to; it alone waits for the reader.

    The alternatives: `O_NONBLOCK` would hold for every program that shares the terminal, and that a terminal is ready says nothing about
    how much may be written to it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(name="standard error", daemon=True)  # daemon: it must not keep the program from ending
        self._number = number
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._is_stuck = False

    def put(self, data: bytes, patience: float) -> None:
        with self._changed:
            if self._size + len(data) > _MOST_WAITING:
                return
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
        if not self._is_stuck:
            self._is_stuck = not self.wait(patience)

    def wait(self, patience: float) -> bool:
        """Whether everything was written in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, patience)

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting[0]
            rest = data
            while rest:
                try:
                    rest = rest[os.write(self._number, rest) :]
                except OSError:  # nobody reads it
                    break
            with self._changed:
                self._waiting.popleft()
                self._size -= len(data)
                self._is_stuck = self._is_stuck and bool(self._waiting)
                self._changed.notify_all()


@contextlib.contextmanager
def never_waiting(stream: Any) -> Iterator[None]:
    """While a plan runs: its progress waits for no reader, if the stream is our standard error."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, Talk) or raw.writer is not None:
        yield
        return
    stream.flush()
    raw.writer = _Writer(raw.fileno())
    raw.writer.start()
    try:
        yield
    finally:
        stream.flush()
        if raw.writer.wait(_LAST_PATIENCE):
            raw.writer = None  # else what is left, and what comes, waits for the reader, until the program ends
