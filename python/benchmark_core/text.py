"""Text for readers: hostile names made harmless, short numbers, and the usual spellings of true and false."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


def printable(text: str) -> str:
    """Replace control characters except newlines, so that a hostile name cannot write control sequences to a terminal."""
    if text.isprintable():  # nearly all are: a page has tens of thousands of them
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def one_line(text: str, longest: int = 300) -> str:
    """A text of others, such as the message of an exception, as one short printable line."""
    return printable(" ".join(text.split())[:longest])


def short_number(value: float) -> str:
    """`12.35`, `1,234`: a number with four digits, more than benchmarks reproduce."""
    if value == 0 or not abs(value) < 1e15:
        return str(value)
    if abs(value) >= 999.95:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".")


def truth(value: Any) -> bool | None:
    """A value as boolean, in any usual spelling (true t yes y on 1, false f no n off 0); None if it is not one."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def did_you_mean(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> str:
    """`did you mean resnet18 or resnet34?` for the closest known names; empty if none is close."""
    import difflib

    close = difflib.get_close_matches(name, list(known), most, cutoff)
    return f"did you mean {' or '.join(close)}?" if close else ""
