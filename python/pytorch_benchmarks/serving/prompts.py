"""Lengths of prompts and answers: drawn from a distribution, or read from a file."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from benchmark_core.exits import UsageError

_MOST = 1_000_000
_FORMS = "128, uniform:16:256, lognormal:64:0.5, lognormal:64:0.5:512 (at most 512), file:FILE"


def draw_lengths(flag: str, words: str, count: int, seed: int, column: int = 0) -> list[int]:
    """Lengths of samples.

    Args:
        flag: Name of the option, for messages.
        words: `128`; `uniform:LEAST:MOST`; `lognormal:MEDIAN:SIGMA[:MOST]`; `file:FILE`, with lengths per line, separated by blanks or commas.
        count: Number of lengths.
        seed: The same seed gives the same lengths. A file is read in order, and repeated if it has fewer lines.
        column: Column of the file; a file with a single column uses it for all.

    Raises:
        UsageError: The format is invalid, or the file cannot be read.
    """
    kind, _, rest = words.partition(":")
    if kind == "file":
        found = _read(flag, rest, column)
        return [found[number % len(found)] for number in range(count)]
    chance = random.Random(seed)
    try:
        if kind == "uniform":
            least, most = map(int, rest.split(":"))
            if not 1 <= least <= most <= _MOST:
                raise ValueError
            return [chance.randint(least, most) for _ in range(count)]
        if kind == "lognormal":
            median, sigma, *limit = rest.split(":")
            middle, spread, most = float(median), float(sigma), int(limit[0]) if limit else _MOST
            if not (1 <= middle <= most <= _MOST and 0 <= spread < 10 and len(limit) <= 1):
                raise ValueError
            return [min(most, max(1, round(chance.lognormvariate(math.log(middle), spread)))) for _ in range(count)]
        length = int(words)
        if not 1 <= length <= _MOST:
            raise ValueError
    except (ValueError, OverflowError):
        raise UsageError(f"{flag} {words!r} is not one of {_FORMS}") from None
    return [length] * count


def _read(flag: str, path: str, column: int) -> list[int]:
    found = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                values = line.replace(",", " ").split()
                if values:
                    found.append(_length(values, column, f"{flag} {path}:{number}"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{flag} file:{path}: {reason}") from None
    if not found:
        raise UsageError(f"{flag} file:{path}: the file has no lengths")
    return found


def _length(values: Sequence[str], column: int, where: str) -> int:
    value = values[min(column, len(values) - 1)]
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= _MOST:
        raise UsageError(f"{where}: {value[:40]!r} is not a number of tokens from 1 to {_MOST}")
    return int(value)
