"""Columns of the page's data, dictionary-encoded with sorted values, so that ten thousand experiments fit into a small file."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from dlbs.logs import finite
from dlbs.results.grouping import hashable
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["Coded", "coded", "in_reading_order", "lists", "parameter_column", "shortened"]

_LONGEST = 120  # characters of a value
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Coded:
    """A dictionary-encoded column.

    Attributes:
        values: The distinct values as texts, in natural order.
        codes: For each experiment the index of its value; -1 if it has none.
        numbers: The values as numbers, if all are numbers.
    """

    values: list[str]
    codes: list[int]
    numbers: list[float] | None = None

    def as_data(self) -> dict[str, Any]:
        """Convert to data for the page's script."""
        return {"values": self.values, "codes": self.codes, "numbers": self.numbers}


def parameter_column(records: Sequence[Record], name: str) -> Coded:
    """Encode the values of a parameter, in numerical or natural order (`model2` before `model10`). Empty values are missing."""
    found: dict[Hashable, str] = {}
    keys: list[Hashable] = []
    are_numbers = True
    for record in records:
        value = record.get(name)
        key = hashable(value)
        keys.append(key)
        if key not in found:
            found[key] = shortened(text(value))
            are_numbers = are_numbers and (found[key] == "" or finite(value) is not None)
    codes, values = _codes([found[key] for key in keys], by_number=are_numbers)
    return Coded(values, codes, [float(value) for value in values] if are_numbers and values else None)


def coded(texts: Sequence[str]) -> Coded:
    """Encode texts in natural order; empty texts are missing."""
    codes, values = _codes([shortened(words) for words in texts], by_number=False)
    return Coded(values, codes)


def lists(found: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Encode lists of texts: the distinct texts, and for each experiment their indices, 0 for none."""
    texts = [[shortened(words) for words in one] for one in found]
    values = sorted({words for one in texts for words in one}, key=in_reading_order)
    places = {words: place for place, words in enumerate(values)}
    return {"values": values, "codes": [[places[words] for words in one] or 0 for one in texts]}


def in_reading_order(words: str) -> list[Any]:
    """Sort key for natural order: numbers in texts are compared as numbers."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in _DIGITS.split(words[:200])]


def _codes(texts: Sequence[str], *, by_number: bool) -> tuple[list[int], list[str]]:
    values = [words for words in dict.fromkeys(texts) if words]
    values.sort(key=float if by_number else in_reading_order)
    places = {words: place for place, words in enumerate(values)}
    return [places.get(words, -1) for words in texts], values


def shortened(words: str) -> str:
    """Truncate a text to at most 120 characters, with an ellipsis."""
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
