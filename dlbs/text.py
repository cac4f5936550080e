"""A value as text, and numbers and durations for people."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

__all__ = [
    "counted",
    "duration",
    "formula_escaped",
    "formula_unescaped",
    "indented",
    "plus_minus",
    "printable",
    "short_number",
    "text",
    "truth",
]


def short_number(value: float) -> str:
    """`12.35`, `1,234`: four digits are more than a benchmark repeats."""
    if value == 0 or not abs(value) < 1e15:
        return str(value)
    if abs(value) >= 999.95:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".")


def plus_minus(deviation: float) -> str:
    """What stands after ±, with two digits and no exponent: `0.52`, `7.0`, `100`."""
    if not abs(deviation) < 1e15:
        return str(deviation)
    return f"{deviation:,.0f}" if abs(deviation) >= 99.5 else f"{deviation:#.2g}".rstrip(".")


def duration(seconds: float) -> str:
    """`7 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, noun: str) -> str:
    """`1 experiment`, `2 experiments`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def indented(line: str, width: int, first: str = "  ", others: str = "    ") -> str:
    """A line for people in a terminal: folded between words, with its continuation further in. No word is broken.

    Args:
        line: The line.
        width: Columns of the terminal.
        first: What it begins with.
        others: What its further lines begin with.
    """
    if len(first) + len(line) <= width:
        return first + line
    return textwrap.fill(
        line,
        max(width, 20),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def printable(text: str) -> str:
    """The text without control characters but line ends: a hostile name must not write control sequences to a terminal."""
    if text.isprintable():  # nearly all are, and a page has tens of thousands
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


# A spreadsheet takes for a formula what begins so, blanks and line ends before it included; also in the wide letters of East Asian keyboards.
_FORMULA = re.compile(r"'*(?:[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def formula_escaped(value: str) -> str:
    """A text for a CSV file: with an apostrophe, as spreadsheets themselves write it, if they would take it for a formula."""
    return f"'{value}" if _FORMULA.match(value) else value


def formula_unescaped(value: str) -> str:
    """The text that `formula_escaped` was given."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value


_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


def truth(value: Any) -> bool | None:
    """The boolean that a value is, in any of the ways in which people write one (true t yes y on 1, false f no n off 0); None if it is none."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def text(value: Any) -> str:
    """The text of a value, as it stands in other texts and on command lines.

    Lists are joined by one space, booleans read `true` and `false` as in JSON, null is empty, dictionaries are JSON.
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
            return " ".join(value)  # most lists hold texts only
        except TypeError:
            return " ".join(map(text, value))
    if isinstance(value, (set, frozenset)):
        return " ".join(sorted(map(text, value)))
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)
