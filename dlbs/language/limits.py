"""Bounded work: a meter that every step of an expression pays, and a backstop that needs no cooperation.

Plain Python operations can be made to run for hours or to fill the memory (`9**9**9`, `'a' * 10**12`, `'%999s' * 999 % x`,
comparisons of long lists in loops). Each operation here, and each function of `functions.py`, pays for its
operands and for its result, before it computes the result. The backstop ends everything that the meter misses: too much CPU time or memory for one value.
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

from dlbs.core.errors import ExpressionError
from dlbs.core.text import text

BUDGET = 3_000_000  # per expression: steps, items and characters produced, 16 characters or 64 bits read
MAX_SECONDS = 5.0  # of CPU time for one value: the backstop
MAX_MEMORY = 512 << 20  # bytes that the process grows by for one value: the backstop
_TICK = 0.05  # seconds of CPU time between two checks of the backstop


class BackstopError(ExpressionError):
    """A value took too long or too much memory, whatever it paid to the meter."""


class Meter:
    """The remaining budget of an expression. One meter for all, with a lock: threads evaluate expressions one at a time.

    `with METER:` begins an expression, and arms the backstop around it: a timer of CPU time whose signal handler checks the clock and
    the size of the process. It works in the main thread only (Python delivers signals to no other), and only if nothing else uses
    SIGVTALRM. Values that are finished before the first tick cost two system calls.
    """

    __slots__ = ("armed", "left", "lock", "memory", "started", "usable")

    def __init__(self) -> None:
        self.left = BUDGET
        self.lock = threading.RLock()
        self.armed = False
        self.usable: bool | None = None  # whether the signal is free; determined at the first expression
        self.started = 0.0  # set by the first tick, as is `memory`
        self.memory = 0

    def charge(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise ExpressionError(
                f"more work than one value may take: {BUDGET:,} steps, items or characters",
                hint="reduce the loops, or compute the value outside of the plan",
            )

    def reset(self, left: int = BUDGET) -> None:
        """Begin another expression inside `with METER:`, or the rest of one that has spent a part of its budget."""
        self.left = left
        self.memory = 0  # the next tick sets it and `started` again: the backstop is one for each value, too

    def __enter__(self) -> None:
        self.lock.acquire()
        self.left = BUDGET
        if self.usable is False or threading.current_thread() is not threading.main_thread():
            return
        if self.usable is None:
            self.usable = signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
            if not self.usable:
                return
            signal.signal(signal.SIGVTALRM, self._look)
        self.memory = 0
        self.armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, _TICK, _TICK)

    def __exit__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        self.lock.release()

    def _look(self, _signal: int, _frame: FrameType | None) -> None:
        """Check the value that is being computed, once per tick."""
        if not self.armed:
            return
        import psutil

        now, size = time.thread_time(), psutil.Process().memory_info().rss
        if not self.memory:
            self.started, self.memory = now, size
        if now - self.started > MAX_SECONDS:
            raise BackstopError(f"value takes more than {MAX_SECONDS:.0f} s of CPU time")
        if size - self.memory > MAX_MEMORY:
            raise BackstopError(f"value takes more than {MAX_MEMORY >> 20} MiB of memory")


METER = Meter()


MAX_TEXT = 1_000_000  # characters in one derived value
MAX_ITEMS = 100_000  # elements in one derived value, nested ones included
MAX_DEPTH = 100  # lists and dicts inside each other
MAX_BITS = 10_000  # of an integer
_HASH_BITS = 61  # smaller integers have different hashes
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


def hashed(items: Iterable[Any]) -> list[Any]:
    """Pay for the members of a new set, or the keys of a dictionary: for reading them, and for each comparison of two with one hash.

    The hash of an integer is its remainder by 2**61 - 1, and that of a tuple follows from its members, so that a plan can make as many
    equal ones as it likes, and inserting them takes quadratic time. Hashes of texts are random.
    """
    members, groups = list(items), dict[int, list[Any]]()
    for one in members:
        before = METER.left
        paid(one)
        weight = before - METER.left
        if one.__class__ is str or (one.__class__ is int and one.bit_length() < _HASH_BITS):
            continue
        group = groups.setdefault(hash(one), [])
        for other in group:
            METER.charge(weight)
            if other == one:
                break
        else:
            group.append(one)
    return members


def set_of(items: Iterable[Any] = ()) -> set[Any]:
    """A set that is paid for."""
    return set(hashed(items))


def dict_of(items: Any = ()) -> dict[Any, Any]:
    """A dictionary, of another one or of pairs, that is paid for."""
    made = list(paid(items.items() if isinstance(items, dict) else list(items)))
    hashed(key for key, _ in made)
    return dict(made)


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
    longest = max(
        (
            len(value) if isinstance(value, str) else value.bit_length()
            for value in values
            if not isinstance(value, float)
        ),
        default=0,
    )
    widths = sum(map(int, re.findall(r"(?<!\d)\d{1,3}(?!\d)", a)))
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
