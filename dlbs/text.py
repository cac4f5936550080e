"""Values as text, and numbers and durations for readers."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "counted",
    "duration",
    "first_few",
    "formula_escaped",
    "formula_unescaped",
    "indented",
    "is_utf8",
    "plus_minus",
    "printable",
    "short_number",
    "text",
    "truth",
]


def is_utf8(value: str) -> bool:
    """Whether a text can be written in UTF-8: bytes of arguments and file names that are not are halves of surrogate pairs in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def short_number(value: float) -> str:
    """`12.35`, `1,234`: a number with four digits, more than benchmarks reproduce."""
    if value == 0 or not abs(value) < 1e15:
        return str(value)
    if abs(value) >= 999.95:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".")


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


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 experiment`, `2 experiments`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
    return textwrap.fill(
        line,
        max(width, 20),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def printable(text: str) -> str:
    """Replace control characters except newlines, so that a hostile name cannot write control sequences to a terminal."""
    if text.isprintable():  # nearly all are: a page has tens of thousands of them
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


# Spreadsheets take cells that begin so for formulas, also after whitespace and in the full-width letters of East Asian keyboards.
_FORMULA = re.compile(r"'*(?:[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def formula_escaped(value: str) -> str:
    """A text for a CSV file, with an apostrophe in front if spreadsheets would take it for a formula."""
    return f"'{value}" if _FORMULA.match(value) else value


def formula_unescaped(value: str) -> str:
    """The inverse of `formula_escaped`."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value


_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


def truth(value: Any) -> bool | None:
    """A value as boolean, in any usual spelling (true t yes y on 1, false f no n off 0); None if it is not one."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    return True if word in _TRUE else False if word in _FALSE else None


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
