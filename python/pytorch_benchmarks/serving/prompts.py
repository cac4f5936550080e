"""Prompts and answers: lengths drawn from a distribution or read from a file, and requests of a data set."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def read_data(flag: str, path: str) -> tuple[list[tuple[list[Any], int]], list[float] | None]:
    """Requests of a file: their turns and the lengths of their answers, and their time stamps in seconds, if all have one.

    Args:
        flag: Name of the option, for messages.
        path: JSON Lines with `prompt` (text or token IDs) or `messages`, and optionally `output_tokens` and `timestamp` (s); traces with
            `input_length`, `output_length` and `timestamp` (ms); or a JSON list in the form of ShareGPT, with `conversations`.

    Raises:
        UsageError: The file cannot be read, or has another form.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        is_list = text.lstrip().startswith("[")
        entries = json.loads(text) if is_list else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{flag} {path}: {error}") from None
    items, stamps = [], []
    for number, entry in enumerate(entries, 1):
        try:
            items.append(_turns(entry))
            if "timestamp" in entry:
                stamps.append(float(entry["timestamp"]) / (1000 if "input_length" in entry else 1))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError(
                f"{flag} {path}: entry {number} has no prompt, messages, conversations or input_length"
            ) from None
    items = [item for item in items if item[0]]
    if not items:
        raise UsageError(f"{flag} {path}: the file has no prompts")
    return items, sorted(stamps) if len(stamps) == len(items) else None


def _turns(entry: dict[str, Any]) -> tuple[list[Any], int]:
    asked = int(entry.get("output_tokens") or entry.get("max_tokens") or entry.get("output_length") or 0)
    if "conversations" in entry:
        said = [one["value"] for one in entry["conversations"] if one["from"] in {"human", "user"}]
        return said, asked
    if "messages" in entry:
        if not entry["messages"] or not all(isinstance(one, dict) for one in entry["messages"]):
            raise TypeError
        return [entry["messages"]], asked
    if "input_length" in entry:
        return [int(entry["input_length"])], asked
    prompt = entry["prompt"]
    if not isinstance(prompt, (str, list)):
        raise TypeError
    return [prompt], asked
