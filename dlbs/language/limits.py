"""Bounded work: what replaces the operators of checked expressions.

Everything here exists because the plain Python operation can be made to run for hours or fill the memory
(`9**9**9`, `'a' * 10**12`, `'%99999999d' % 1`, `''.join(...)` of joins). Sizes are charged against `WORK`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.text import text

__all__ = ["BUDGET", "MAX_TEXT", "OPERATORS", "WORK", "add", "check_size", "joined", "loop", "sized"]

BUDGET = 1_000_000  # items and characters that one expression may produce

MAX_TEXT = 1_000_000  # characters in one derived value

MAX_ITEMS = 100_000  # elements in one derived value, nested ones included

MAX_BITS = 10_000  # of an integer


class Work:
    """How much an expression may still produce. One for all: expressions are evaluated one at a time."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BUDGET

    def reset(self) -> None:
        """Begin a new expression."""
        self.left = BUDGET

    def charge(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise ExpressionError(f"expression produces more than {BUDGET:,} items or characters")


WORK = Work()


def sized(value: Any) -> Any:
    """Charge a new value by its length."""
    if value.__class__ is not int and value.__class__ is not float and hasattr(value, "__len__"):
        WORK.charge(len(value))
    return value


def check_size(value: Any) -> Any:
    """Refuse a derived value whose text would be huge: growth by doubling through a chain of parameters."""
    left = MAX_ITEMS
    characters = MAX_TEXT
    todo = [value]
    while todo:
        item = todo.pop()
        left -= 1
        if isinstance(item, str):
            characters -= len(item)
        elif isinstance(item, (list, tuple, set, frozenset)):
            left -= len(item)
            if left >= 0:
                todo.extend(item)
        elif isinstance(item, dict):
            left -= len(item)
            if left >= 0:
                todo.extend(item.values())
        if left < 0 or characters < 0:
            raise ExpressionError(f"value is larger than {MAX_ITEMS:,} elements or {MAX_TEXT:,} characters")
    return value


def joined(*texts: str) -> str:
    """Concatenate the parts of a text, refusing before the result is made."""
    if sum(map(len, texts)) > MAX_TEXT:
        raise ExpressionError(f"text of more than {MAX_TEXT:,} characters")
    return "".join(texts)


def add(a: Any, b: Any) -> Any:
    if a.__class__ is int and b.__class__ is int:
        return a + b
    if hasattr(a, "__len__") and hasattr(b, "__len__"):
        WORK.charge(len(a) + len(b))
    return a + b


def multiply(a: Any, b: Any) -> Any:
    if a.__class__ is int and b.__class__ is int:
        if a.bit_length() + b.bit_length() > MAX_BITS:
            raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
        return a * b
    if hasattr(a, "__len__") or hasattr(b, "__len__"):
        sequence, count = (a, b) if hasattr(a, "__len__") else (b, a)
        if isinstance(count, int):
            WORK.charge(len(sequence) * max(count, 0))
    return a * b


def power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > MAX_BITS:
        raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
    return a**b


def left_shift(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() + b > MAX_BITS:
        raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
    return a << b


def modulo(a: Any, b: Any) -> Any:
    if isinstance(a, str):
        if re.search(r"%[^%a-zA-Z]*(\d{4,}|\*)", a):
            raise ExpressionError("widths of four digits or from arguments are not allowed in % formats")
        b = tuple(map(_formattable, b)) if isinstance(b, tuple) else _formattable(b)
        return sized(a % b)
    return a % b


def _formattable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else text(value)


def loop(items: Iterable[Any]) -> Iterator[Any]:
    """Iterate inside a comprehension, one unit of work for each step."""
    for item in items:
        WORK.charge(1)
        yield item


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": add,
    "Mult": multiply,
    "Pow": power,
    "Mod": modulo,
    "LShift": left_shift,
}
