"""Values as text, and numbers and durations for readers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard


def is_utf8(value: str) -> bool:
    """Whether a text can be written in UTF-8: bytes of arguments and file names that are not are halves of surrogate pairs in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def plus_minus(deviation: float) -> str:
    """The number after ±, with two digits and no exponent: `0.52`, `7.0`, `100`."""
    if not abs(deviation) < 1e15:
        return str(deviation)
    return f"{deviation:,.0f}" if abs(deviation) >= 99.5 else f"{deviation:#.2g}".rstrip(".")


def duration(seconds: float) -> str:
    """A duration as text: `7 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = r"(\d+(?:\.\d+)?)\s*(sec|s|min|m|h|d)\s*"


def seconds_of(words: str) -> float | None:
    """Seconds of a duration such as `90s`, `1.5 d` or `1h30m`; None if it is none."""
    words = words.strip()
    if not re.fullmatch(f"(?:{_PART})+", words):
        return None
    return math.fsum(float(count) * _UNITS[unit] for count, unit in re.findall(_PART, words))


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 experiment`, `2 experiments`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def rate_per(count: int, seconds: float | None, noun: str) -> str:
    """The rate of events per hour or minute, `31 experiments/h`; empty before the second one."""
    if count < 2 or not seconds:
        return ""
    hourly = 3600 * count / seconds
    value, unit = (hourly / 60, "min") if hourly >= 600 else (hourly, "h")
    return f"{value:,.0f} {noun}/{unit}" if value >= 10 else f"{value:.1f} {noun}/{unit}"


def first_few(words: Sequence[str], between: str = ", ", most: int = 3) -> str:
    """The first words of a list that may be long: `a, b, c and 7 more`."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def indented(line: str, width: int, first: str = "  ", others: str = "    ") -> str:
    """Wrap a line for a terminal between words, with continuation lines indented further. No word is broken.

    Args:
        line: The line.
        width: Columns of the terminal.
        first: Indentation of the first line.
        others: Indentation of further lines.
    """
    if len(first) + len(line) <= width:
        return first + line
    import textwrap

    return textwrap.fill(
        line,
        max(width, 20),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


# Spreadsheets take cells that begin so for formulas, also after whitespace and in the full-width letters of East Asian keyboards.
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = rf"'*(?:[\t\r]|\s*{_SIGNS})"
_BREAK = "\\n\\r\\v\\f\x1c-\x1e\x85\u2028\u2029"  # some spreadsheets begin another cell there
_LATER_FORMULA = rf"(?='*[^\S{_BREAK}]*{_SIGNS})"


def formula_escaped(value: str) -> str:
    """A text for a CSV file, with an apostrophe where spreadsheets would take it, or a line of it, for a formula."""
    if re.match(_FORMULA, value):
        value = f"'{value}"
    return value if value.isprintable() else re.sub(rf"([{_BREAK}]){_LATER_FORMULA}", r"\1'", value)


def formula_unescaped(value: str) -> str:
    """The inverse of `formula_escaped`."""
    if not value.isprintable():
        value = re.sub(rf"([{_BREAK}])'{_LATER_FORMULA}", r"\1", value)
    return value[1:] if value.startswith("'") and re.match(_FORMULA, value) else value


def csv_line(cells: Iterable[Any]) -> str:
    """A line of a CSV file, without formulas. Cells are quoted if any common separator of spreadsheets is in them."""
    return ",".join(map(csv_cell, cells)) + "\n"


def csv_cell(value: Any) -> str:
    """A cell of a CSV file, as `csv_line` writes it."""
    cell = formula_escaped(value) if isinstance(value, str) else "" if value is None else json.dumps(value)
    return '"' + cell.replace('"', '""') + '"' if re.search(rf'[",;\t{_BREAK}]', cell) else cell


# What a terminal could take for a command, or that hides or reorders other letters; not the spaces of typography.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def shown(value: str) -> str:
    """A text for a terminal: control characters are shown as `\\x1b` instead of sent, except for line ends and tabs."""
    if value.isprintable():
        return value
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


def text(value: Any) -> str:
    """The text of a value, for use in other texts and on command lines.

    Lists are joined by one space, booleans are `true` and `false` as in JSON, null is empty, dictionaries are JSON.
    """
    if value.__class__ is str:
        return str(value)
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        try:
            return " ".join(value)  # fast path: most lists contain only strings
        except TypeError:
            return " ".join(map(text, value))
    if isinstance(value, (set, frozenset)):
        return " ".join(sorted(map(text, value)))
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)


_LARGEST = 1e150


def finite(value: Any) -> float | None:
    """A number small enough for statistics (the sum of a million squares is finite); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= _LARGEST else None  # a huge integer cannot be converted to float


def are_finite(values: object) -> TypeGuard[list[float]]:
    """Whether this is a list of numbers that are small enough for statistics (`finite`).

    Without a call for each number: they are the batch times of all runs.
    """
    if not isinstance(values, list):
        return False
    unusual = set(map(type, values)) - {int, float}
    if not all(issubclass(kind, (int, float)) and kind is not bool for kind in unusual):
        return False
    # The least and the largest of several values may hide one that is not a number; their sum cannot.
    return not values or (min(values) >= -_LARGEST and max(values) <= _LARGEST and not math.isnan(sum(values)))


def are_positive(values: object) -> TypeGuard[list[float]]:
    """Whether this is a list of positive numbers that are small enough for statistics (`finite`)."""
    return are_finite(values) and (not values or min(values) > 0)
