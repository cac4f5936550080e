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
_LAST_PATIENCE = 5.0  # for the remaining output at the end
_MOST_WAITING = 1 << 20  # bytes; output beyond them is dropped


class Talk(io.FileIO):
    """Standard error.

    As usual, a write waits for the reader. Inside `never_waiting` it waits for a second at most; further output is buffered until
    the reader continues, and dropped beyond a limit.
    """

    writer: _Writer | None = None

    def write(self, data: Any) -> int:
        if self.writer is not None and self.writer.is_alive():  # a forked process lacks its parent's threads
            self.writer.put(bytes(data), _PATIENCE)
            return len(data)
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Writer(threading.Thread):
    """Thread that writes queued output in order, and waits for the reader.

    Alternatives fail: `O_NONBLOCK` would affect every program that shares the terminal, and a ready terminal does not guarantee
    how much can be written.
    """

    def __init__(self, number: int) -> None:
        super().__init__(name="standard error", daemon=True)  # daemon: it must not prevent the program from ending
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
    """Context while a plan runs: its progress waits for no reader, if the stream is our standard error."""
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
            raw.writer = None  # otherwise remaining and later output is buffered until the program ends
