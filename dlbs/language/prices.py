"""Prices that operations of an expression pay to the meter, size limits of values, and the operators that obey both."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.language.meter import METER
from dlbs.text import text

__all__ = [
    "MAX_DEPTH",
    "MAX_TEXT",
    "OPERATORS",
    "as_text",
    "bounded",
    "check_size",
    "factor",
    "joined",
    "loop",
    "paid",
    "searched",
    "sized",
]

MAX_TEXT = 1_000_000  # characters in one derived value
MAX_ITEMS = 100_000  # elements in one derived value, nested ones included
MAX_DEPTH = 100  # lists and dicts inside each other
MAX_BITS = 10_000  # of an integer
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


def paid(value: Any, characters: int = 16) -> Any:
    """Pay for reading a whole value: one unit per element, per `characters` characters, per 64 bits."""
    todo = [value]
    while todo:
        item = todo.pop()
        kind = item.__class__
        if kind is str:
            METER.charge(1 + len(item) // characters)
        elif kind is int:
            METER.charge(1 + (item.bit_length() >> 6))
        else:
            METER.charge(1)
            if kind in _CONTAINERS:
                todo.extend(item)
            if kind is dict:
                todo.extend(item.values())
    return value


def searched(value: Any) -> Any:
    """Pay for a lookup in a value."""
    if value.__class__ in (dict, set, frozenset, range):
        METER.charge(1)
        return value
    return paid(value)


def sized(value: Any) -> Any:
    """Pay for a new value by its length."""
    if value.__class__ is str or value.__class__ in _CONTAINERS:
        METER.charge(len(value))
    return value


def as_text(value: Any) -> str:
    """The text of a value, paid for before it is produced."""
    return text(paid(value, characters=1) if value.__class__ in _CONTAINERS else value)


def joined(*texts: str) -> str:
    """Concatenate the parts of a text; a result that is too long is rejected before it is produced."""
    if sum(map(len, texts)) > MAX_TEXT:
        raise ExpressionError(f"text of more than {MAX_TEXT:,} characters")
    return "".join(texts)


def loop(items: Iterable[Any], cost: int) -> Iterator[Any]:
    """Iterate inside a comprehension; each step pays for the length of its source text."""
    for item in items:
        METER.charge(cost)
        yield item


def check_size(value: Any) -> Any:
    """Reject a derived value whose text would be huge: growth by doubling through a chain of parameters."""
    items, characters = MAX_ITEMS, MAX_TEXT
    todo = [value]
    while todo and items >= 0 and characters >= 0:
        item = todo.pop()
        kind = item.__class__
        if kind is str:
            characters -= len(item)
        elif kind in _CONTAINERS:
            items -= len(item)
            for member in () if items < 0 else [*item, *item.values()] if kind is dict else item:
                if member.__class__ is str:
                    characters -= len(member)
                elif member.__class__ in _CONTAINERS:
                    todo.append(member)
    if items < 0 or characters < 0:
        raise ExpressionError(f"value is larger than {MAX_ITEMS:,} elements or {MAX_TEXT:,} characters")
    return value


def bounded(number: int) -> int:
    """Reject an integer that is too large to calculate with or to print."""
    _check_bits(number.bit_length())
    return number


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")


def factor(value: Any, name: str) -> Any:
    """The value of a bare reference that is multiplied; a text is rejected, because a number was meant."""
    if isinstance(value, str):
        raise ExpressionError(
            f"${{{name}}} is the text {value[:80]!r}, which cannot be multiplied",
            hint=f"write int(${{{name}}}) or float(${{{name}}}) to calculate, '${{{name}}}' in quotes to repeat it",
        )
    return value


# Operators


def _sum_length(a: Any, b: Any) -> int:
    return len(a) + len(b) if hasattr(a, "__len__") and hasattr(b, "__len__") else 0


def _product_length(a: Any, b: Any) -> int:
    sequence, count = (a, b) if hasattr(a, "__len__") else (b, a)
    return len(sequence) * max(count, 0) if hasattr(sequence, "__len__") and isinstance(count, int) else 0


def _bounded(
    operation: Callable[[Any, Any], Any],
    bits: Callable[[int, int], int] = lambda a, b: max(a.bit_length(), b.bit_length()) + 1,
    length: Callable[[Any, Any], int] | None = None,
) -> Callable[[Any, Any], Any]:
    """An operator that pays for its operands, and for its result before it computes it.

    Args:
        operation: The plain operator.
        bits: Upper bound of the bits of an integer result.
        length: Length of a sequence result; None if it is at most that of the operands.
    """

    def call(a: Any, b: Any) -> Any:
        if isinstance(a, int) and isinstance(b, int):
            made = bits(a, b)
            _check_bits(made)
            METER.charge(1 + (made >> 6) + (a.bit_length() * b.bit_length() >> 12))
        elif length is not None:
            METER.charge(1 + length(a, b))
        else:
            paid(a)
            paid(b)
        return operation(a, b)

    return call


_remainder = _bounded(operator.mod)


def _modulo(a: Any, b: Any) -> Any:
    if not isinstance(a, str):
        return _remainder(a, b)
    if re.search(r"%[^%a-zA-Z]*(\d{4,}|\*)", a):
        raise ExpressionError("widths of four digits or from arguments are not allowed in % formats")
    values = tuple(
        value if isinstance(value, (int, float, str)) else as_text(value)
        for value in (b if isinstance(b, tuple) else (b,))
    )
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    widths = sum(map(int, re.findall(r"\d+", a)))
    METER.charge(len(a) + widths + a.count("%") * (32 + longest))
    return a % values


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": _bounded(operator.add, length=_sum_length),
    "BitAnd": _bounded(operator.and_),
    "BitOr": _bounded(operator.or_),
    "BitXor": _bounded(operator.xor),
    "Div": _bounded(operator.truediv),
    "FloorDiv": _bounded(operator.floordiv),
    "LShift": _bounded(operator.lshift, bits=lambda a, b: a.bit_length() + abs(b)),
    "Mod": _modulo,
    "Mult": _bounded(operator.mul, bits=lambda a, b: a.bit_length() + b.bit_length(), length=_product_length),
    "Pow": _bounded(operator.pow, bits=lambda a, b: a.bit_length() * abs(b)),
    "RShift": _bounded(operator.rshift),
    "Sub": _bounded(operator.sub),
}
