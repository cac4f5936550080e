"""Bounded work: a meter that every step of an expression pays, and behind it a clock that needs no cooperation.

Plain Python operations can be made to run for hours or to fill the memory (`9**9**9`, `'a' * 10**12`, `'%999s' * 999 % x`,
comparisons of long lists in loops). Each operation here pays for what it looks at and for what it makes, before it makes it.
What the meter overlooks ends at the backstop: too much CPU time or memory for one value.
"""

from __future__ import annotations

import operator
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from dlbs.errors import ExpressionError
from dlbs.text import text

__all__ = [
    "BUDGET",
    "MAX_DEPTH",
    "MAX_TEXT",
    "METER",
    "OPERATORS",
    "BackstopError",
    "as_text",
    "bounded",
    "check_size",
    "joined",
    "loop",
    "paid",
    "searched",
    "sized",
]

BUDGET = 3_000_000  # of one expression: steps, items and characters made, 16 characters or 64 bits looked at
MAX_TEXT = 1_000_000  # characters in one derived value
MAX_ITEMS = 100_000  # elements in one derived value, nested ones included
MAX_DEPTH = 100  # lists and dicts inside each other
MAX_BITS = 10_000  # of an integer
MAX_SECONDS = 5.0  # of CPU time for one value: the backstop
MAX_MEMORY = 512 << 20  # bytes that the process grows by for one value: the backstop
_TICK = 0.05  # seconds of CPU time between two looks of the backstop
_CONTAINERS = (list, tuple, set, frozenset, dict)


class BackstopError(ExpressionError):
    """A value took too long or too much memory, whatever the meter said."""


class Meter:
    """What an expression may still spend. One for all: expressions are evaluated one at a time.

    `with METER:` begins an expression, and arms the backstop around it: a timer of CPU time whose signal looks at the clock and at
    the size of the process. It works in the main thread only (Python gives signals to no other), and not where somebody else uses
    SIGVTALRM. Values that are done before the first tick cost two system calls.
    """

    __slots__ = ("armed", "left", "memory", "started", "usable")

    def __init__(self) -> None:
        self.left = BUDGET
        self.armed = False
        self.usable: bool | None = None  # whether the signal is ours; found out at the first expression
        self.started = 0.0  # set by the first tick, as is `memory`
        self.memory = 0

    def charge(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise ExpressionError(
                f"more work than one value may take: {BUDGET:,} steps, items or characters",
                hint="loop over less, or compute it outside of the plan",
            )

    def reset(self) -> None:
        """Begin another expression inside `with METER:`."""
        self.left = BUDGET

    def __enter__(self) -> None:
        self.left = BUDGET
        if self.usable is False or threading.current_thread() is not threading.main_thread():
            return
        if self.usable is None:
            self.usable = signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
            if not self.usable:
                return
            signal.signal(signal.SIGVTALRM, _look)
        self.memory = 0
        self.armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, _TICK, _TICK)

    def __exit__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


METER = Meter()


def _look(_signal: int, _frame: FrameType | None) -> None:
    """Look at a value under way, once every tick."""
    if not METER.armed:
        return
    import psutil

    now, size = time.thread_time(), psutil.Process().memory_info().rss
    if not METER.memory:
        METER.started, METER.memory = now, size
    if now - METER.started > MAX_SECONDS:
        raise BackstopError(f"value takes more than {MAX_SECONDS:.0f} s of CPU time")
    if size - METER.memory > MAX_MEMORY:
        raise BackstopError(f"value takes more than {MAX_MEMORY >> 20} MiB of memory")


# What is paid


def paid(value: Any) -> Any:
    """Pay for looking at all of a value: each element, 16 characters, 64 bits."""
    kind = value.__class__
    if kind is str:
        METER.charge(1 + (len(value) >> 4))
    elif kind is int:
        METER.charge(1 + (value.bit_length() >> 6))
    elif kind in _CONTAINERS:
        for item in _walk(value):
            METER.charge(1 + (len(item) >> 4 if item.__class__ is str else 0))
    else:
        METER.charge(1)
    return value


def searched(value: Any) -> Any:
    """Pay for looking something up in a value."""
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
    """The text of a value, paid before it is made."""
    if value.__class__ in _CONTAINERS:
        for item in _walk(value):
            METER.charge(1 + (len(item) if item.__class__ is str else 0))
    return text(value)


def _walk(value: Any) -> Iterator[Any]:
    """A value and all that is in it."""
    todo = [value]
    while todo:
        item = todo.pop()
        yield item
        if item.__class__ is dict:
            todo.extend(item.keys())
            todo.extend(item.values())
        elif item.__class__ in _CONTAINERS:
            todo.extend(item)


def check_size(value: Any) -> Any:
    """Refuse a derived value whose text would be huge: growth by doubling through a chain of parameters."""
    items, characters = MAX_ITEMS, MAX_TEXT
    todo = [value]
    while todo and items >= 0 and characters >= 0:
        item = todo.pop()
        kind = item.__class__
        if kind is str:
            characters -= len(item)
        elif kind in _CONTAINERS:
            items -= len(item)
            try:
                characters -= sum(map(str.__len__, item))  # most lists hold texts only, and this is ten times as fast
            except TypeError:
                if items >= 0:
                    todo.extend(item)
            if kind is dict and items >= 0:
                todo.extend(item.values())
    if items < 0 or characters < 0:
        raise ExpressionError(f"value is larger than {MAX_ITEMS:,} elements or {MAX_TEXT:,} characters")
    return value


def joined(*texts: str) -> str:
    """Concatenate the parts of a text, refusing before the result is made."""
    if sum(map(len, texts)) > MAX_TEXT:
        raise ExpressionError(f"text of more than {MAX_TEXT:,} characters")
    return "".join(texts)


def loop(items: Iterable[Any], cost: int) -> Iterator[Any]:
    """Iterate inside a comprehension; each step pays for the length of what is written there."""
    for item in items:
        METER.charge(cost)
        yield item


# Operators


def _add(a: Any, b: Any) -> Any:
    if a.__class__ is int and b.__class__ is int:
        METER.charge(1 + (a.bit_length() >> 6))
        return bounded(a + b)
    if hasattr(a, "__len__") and hasattr(b, "__len__"):
        METER.charge(len(a) + len(b))
    return a + b


def bounded(number: int) -> int:
    """Refuse an integer that is too large to calculate with or to print."""
    if number.bit_length() > MAX_BITS:
        raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
    return number


def _multiply(a: Any, b: Any, name_a: str = "", name_b: str = "") -> Any:
    """`a * b`; the names are those of bare references, whose text is not repeated: it was meant as a number."""
    if a.__class__ is int and b.__class__ is int:
        if a.bit_length() + b.bit_length() > MAX_BITS:
            raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
        METER.charge(1 + (a.bit_length() * b.bit_length() >> 12))
        return a * b
    for value, name in ((a, name_a), (b, name_b)):
        if name and isinstance(value, str):
            raise ExpressionError(
                f"${{{name}}} is the text {value[:80]!r}, which cannot be multiplied",
                hint=f"write int(${{{name}}}) or float(${{{name}}}) to calculate, '${{{name}}}' in quotes to repeat it",
            )
    if hasattr(a, "__len__") or hasattr(b, "__len__"):
        sequence, count = (a, b) if hasattr(a, "__len__") else (b, a)
        if isinstance(count, int):
            METER.charge(len(sequence) * max(count, 0))
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if a.bit_length() * abs(b) > MAX_BITS:
            raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
        METER.charge(1 + (a.bit_length() * abs(b) >> 6))
    return a**b


def _left_shift(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if a.bit_length() + b > MAX_BITS:
            raise ExpressionError(f"integer of more than {MAX_BITS:,} bits")
        METER.charge(1 + (a.bit_length() >> 6))
    return a << b


def _modulo(a: Any, b: Any) -> Any:
    if not isinstance(a, str):
        return _remainder(a, b)
    if re.search(r"%[^%a-zA-Z]*(\d{4,}|\*)", a):
        raise ExpressionError("widths of four digits or from arguments are not allowed in % formats")
    values = tuple(map(_formattable, b if isinstance(b, tuple) else (b,)))
    longest = max((len(value) for value in values if isinstance(value, str)), default=0)
    widths = sum(map(int, re.findall(r"\d+", a)))
    METER.charge(len(a) + widths + a.count("%") * (32 + longest))
    return a % values


def _formattable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else as_text(value)


def _guarded(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operator whose result is no larger than its operands, paid by their size; division by that of both."""

    def call(a: Any, b: Any) -> Any:
        if a.__class__ is int and b.__class__ is int:
            METER.charge(1 + (a.bit_length() * b.bit_length() >> 12))
            return operation(a, b)
        return operation(paid(a), paid(b))

    return call


_remainder = _guarded(operator.mod)

OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _add,
    "BitAnd": _guarded(operator.and_),
    "BitOr": _guarded(operator.or_),
    "BitXor": _guarded(operator.xor),
    "Div": _guarded(operator.truediv),
    "FloorDiv": _guarded(operator.floordiv),
    "LShift": _left_shift,
    "Mod": _modulo,
    "Mult": _multiply,
    "Pow": _power,
    "RShift": _guarded(operator.rshift),
    "Sub": _guarded(operator.sub),
}
