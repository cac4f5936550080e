"""The standard streams: errors of standard output are reported; standard error delays no experiment, and its errors are ignored."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from benchmark_core.text import printable
from dlbs.core.errors import LaunchError
from dlbs.core.text import indented, shown

if TYPE_CHECKING:
    from dlbs.core.doubts import Doubts

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


class OutputError(LaunchError):
    """Standard output cannot be written."""


class ReaderGoneError(Exception):
    """The reader of standard output, such as `head`, has closed it."""


class _Output(io.FileIO):
    """Standard output: the first failed write raises an error, and later output is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self._discard_the_rest()
            raise ReaderGoneError from None
        except OSError as error:
            self._discard_the_rest()
            raise OutputError(f"cannot be written: {error.strerror}", where="standard output") from None

    def _discard_the_rest(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def guard_streams() -> None:
    """Take over the standard streams of the process.

    Output that cannot be written to standard error is dropped. Output that cannot be written to standard output raises
    `OutputError`, or `ReaderGoneError` if its reader has gone. The descriptor of a stream that the caller closed is occupied, so that no file of dlbs gets it
    and receives the stream's output.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _occupy(number, flags)  # writing to standard error then fails, as intended
    if sys.stdout is sys.__stdout__:  # not a replacement by a test or a notebook
        sys.stdout = _text(_Output(1, "wb", closefd=False), sys.__stdout__, "strict")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(Talk(2, "wb", closefd=False), sys.__stderr__, "backslashreplace")


class Stream(io.TextIOWrapper):
    """A standard stream. On a terminal, control characters are shown instead of sent, whatever they come from; files keep them.

    `styled` is the stream for text with colours and movements of the cursor, made of parts that are printable.
    """

    def write(self, words: str) -> int:
        super().write(shown(words) if self.isatty() else words)
        return len(words)

    @property
    def styled(self) -> TextIO:
        return cast("TextIO", _Styled(self))


class _Styled:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, words: str) -> int:
        return io.TextIOWrapper.write(self._stream, words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _occupy(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def _text(raw: io.FileIO, before: TextIO | None, errors: str) -> TextIO:
    """A text stream like the one that Python created, if it created one."""
    return Stream(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors=(before.errors if before is not None else None) or errors,
        line_buffering=raw.isatty() or errors == "backslashreplace",
    )


_WIDE = 10_000  # columns of output that is not a terminal


def note(line: str) -> None:
    """Print a line on standard error, wrapped between words in a terminal; values from logs in it cannot control the terminal."""
    click.echo(wrapped(line), err=True)


def wrapped(lines: str) -> str:
    """Lines for standard error, wrapped between words if it is a terminal."""
    columns = width(sys.stderr)
    return "\n".join(indented(printable(line), columns, "", "  ") for line in lines.split("\n"))


def width(stream: TextIO) -> int:
    """Columns for lines that are wrapped here: those of the terminal, and no limit in a file or a pipe."""
    if not stream.isatty():
        return _WIDE
    from shutil import get_terminal_size  # loads the modules of all compression formats

    return get_terminal_size().columns


def show_doubts(doubts: Doubts, *, err: bool = False) -> None:
    """Print the number of doubtful results, and one line per kind; nothing if there are none."""
    stream = sys.stderr if err else sys.stdout
    for number, line in enumerate(doubts.lines()):
        click.echo(indented(printable(line), width(stream), "  " if number else "⚠ "), err=err)


def console() -> Any:
    """A rich console on standard output, with the width of the terminal or of COLUMNS; in a pipe, as wide as tables need."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    given = int(columns) if columns.isdecimal() and int(columns) > 0 else None
    return Console(
        file=getattr(sys.stdout, "styled", sys.stdout),
        width=given if is_terminal or given else _WIDE,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not is_terminal,
    )
