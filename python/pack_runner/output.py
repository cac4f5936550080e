"""Copy the output of a program into a log: remove terminal codes, and search for results."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import IO

__all__ = ["Copier", "TerminalCodes"]

_CODE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)  # ECMA-48, and titles
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_HIDDEN = re.compile(rb"\x1b\[((?:[0-?][0-?])*)z")
_DIGITS = bytes.maketrans(b":;<=>?", b"abcdef")
_LONGEST_CODE = 1 << 20  # bytes; a code may hide a long event
_LONGEST_KEY = 4096
_RESULT = re.compile(rb"^[ \t]*__results\.[\w.]+__[ \t]*=", re.MULTILINE)


class TerminalCodes:
    """Remove terminal codes from a stream that arrives in pieces.

    Args:
        on_data: Called with lines that voir hides in codes unknown to terminals (`voir.smuggle`): hexadecimal digits from `0` to `?`,
            and a `z` at the end.
    """

    def __init__(self, on_data: Callable[[str], None] | None = None) -> None:
        self._begun = b""
        self._on_data = on_data
        self._data = b""

    def without(self, piece: bytes) -> bytes:
        """The text of a piece, and the rest of the previous one, that can be printed now."""
        text = _CODE.sub(self._remove, self._begun + piece)
        begun = _BEGUN.search(text)
        keep = len(text) if begun is None or len(begun[0]) > _LONGEST_CODE else begun.start()
        self._begun = text[keep:]
        return text[:keep]

    def _remove(self, code: re.Match[bytes]) -> bytes:
        hidden = _HIDDEN.fullmatch(code[0])
        if hidden is not None and self._on_data is not None:
            self._data += bytes.fromhex(hidden[1].translate(_DIGITS).decode())
            *lines, self._data = self._data.split(b"\n")
            for line in lines:
                self._on_data(line.decode("utf-8", "replace"))
        return b""

    def rest(self) -> bytes:
        """The rest that was held back, at the end of the stream."""
        rest, self._begun = self._begun, b""
        return rest


class Copier(threading.Thread):
    """Copy a pipe to a file descriptor, without terminal codes.

    Args:
        source: The pipe.
        target: The file descriptor.
        on_data: Called with lines that are hidden in terminal codes.

    Attributes:
        has_result: Whether a line `__results.NAME__=` was copied.
        in_line: Whether the last copied line was incomplete.
    """

    def __init__(self, source: IO[bytes], target: int, on_data: Callable[[str], None] | None = None) -> None:
        super().__init__(daemon=True)
        self.has_result = self.in_line = False
        self._on_data = on_data
        self._source, self._target = source, target
        self._line = b""
        self.start()

    def run(self) -> None:
        codes = TerminalCodes(self._on_data)
        while piece := os.read(self._source.fileno(), 1 << 16):
            self._pass_on(codes.without(piece))
        self._pass_on(codes.rest())

    def _pass_on(self, text: bytes) -> None:
        if text:
            self.in_line = not text.endswith(b"\n")
        if not self.has_result:
            seen = self._line + text
            self.has_result = _RESULT.search(seen) is not None
            self._line = seen[seen.rfind(b"\n") + 1 :][-_LONGEST_KEY:]
        while text:
            try:
                text = text[os.write(self._target, text) :]
            except OSError:  # the reader has gone: the program must not block
                return
