"""Handling of broken standard streams: errors of standard output are reported, those of standard error are ignored."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from dlbs.cli.talk import Talk
from dlbs.errors import LaunchError

__all__ = ["OutputError", "ReaderGoneError", "guard_streams"]


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
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors=(before.errors if before is not None else None) or errors,
        line_buffering=raw.isatty() or errors == "backslashreplace",
    )
