"""The last complete line in the log of a running experiment, and the rate in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dlbs.errors import LogError
from dlbs.files import open_regular
from dlbs.logs import KEY_LINE
from dlbs.text import printable

__all__ = ["last_line", "rate_in"]

_LAST_BYTES = 4096  # at the end of a log that are searched for its last line
_RATE = re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?) ?([A-Za-z]{1,20}/(?:s|sec|min|h))\b")


def last_line(log: Path) -> str:
    """The last complete line that a running experiment printed, ignoring `__key__= value` lines."""
    try:
        with open_regular(f"{log}.part") as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - _LAST_BYTES)
            stream.seek(start)
            lines = re.split(r"[\r\n]", stream.read(_LAST_BYTES).decode("utf-8", "replace"))
    except (OSError, LogError):
        return ""
    # Text before the first newline may be a partial line, and text after the last one is still being written.
    whole = (line.strip() for line in reversed(lines[start > 0 : -1]))
    return printable(next((line for line in whole if line and not KEY_LINE.match(line)), ""))


def rate_in(line: str) -> str:
    """The last rate in a line of output, such as `812 images/s`; empty if there is none."""
    found = _RATE.findall(line)
    return " ".join(found[-1]) if found else ""
