"""What a program prints, on its way into a log: without terminal codes, and looked through for results."""

from __future__ import annotations

import os
import re
import threading
from typing import IO

__all__ = ["Copier", "TerminalCodes"]

_CODE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)  # ECMA-48, and titles
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_LONGEST_CODE = 4096
_RESULT = re.compile(rb"^[ \t]*__results\.[\w.]+__[ \t]*=", re.MULTILINE)


class TerminalCodes:
    """Removes terminal codes from a stream that comes in pieces."""

    def __init__(self) -> None:
        self._begun = b""

    def without(self, piece: bytes) -> bytes:
        """What of a piece, and of what was kept back of the one before, can be printed now."""
        text = _CODE.sub(b"", self._begun + piece)
        begun = _BEGUN.search(text)
        keep = len(text) if begun is None or len(begun[0]) > _LONGEST_CODE else begun.start()
        self._begun = text[keep:]
        return text[:keep]

    def rest(self) -> bytes:
        """What was kept back, at the end of the stream."""
        rest, self._begun = self._begun, b""
        return rest


class Copier(threading.Thread):
    """Copies what comes out of a pipe to a file descriptor, without terminal codes.

    Args:
        source: The pipe.
        target: Where it goes.

    Attributes:
        has_result: Whether a line `__results.NAME__=` went through.
    """

    def __init__(self, source: IO[bytes], target: int) -> None:
        super().__init__(daemon=True)
        self.has_result = False
        self._source, self._target = source, target
        self._line = b""
        self.start()

    def run(self) -> None:
        codes = TerminalCodes()
        while piece := os.read(self._source.fileno(), 1 << 16):
            self._pass_on(codes.without(piece))
        self._pass_on(codes.rest())

    def _pass_on(self, text: bytes) -> None:
        if not self.has_result:
            seen = self._line + text
            self.has_result = _RESULT.search(seen) is not None
            self._line = seen[seen.rfind(b"\n") + 1 :][-_LONGEST_CODE:]
        while text:
            try:
                text = text[os.write(self._target, text) :]
            except OSError:  # nobody reads any more: the program must not wait for that
                return
