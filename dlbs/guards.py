"""What a checked expression may call: operators, functions and methods with bounded work.

Everything here exists because the plain Python operation can be made to run for hours or fill the memory
(`9**9**9`, `'a' * 10**12`, `'%99999999d' % 1`, `''.join(...)` of joins). Sizes are charged against `WORK`.
"""

from __future__ import annotations

import json
import math
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dlbs.errors import ExpressionError, did_you_mean
from dlbs.parameters import text
from dlbs.patterns import bounded

__all__ = [
    "BUDGET",
    "FUNCTIONS",
    "MAX_TEXT",
    "METHOD_NAMES",
    "OPERATORS",
    "VOLATILE",
    "WORK",
    "call_method",
    "check_size",
    "joined",
    "loop",
    "sized",
]

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


# Operators


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


# Functions


def _range(*bounds: int) -> range:
    made = range(*bounds)
    WORK.charge(len(made))
    return made


def _round(number: Any, digits: int | None = None) -> Any:
    if digits is None:
        return round(number)
    if abs(digits) > 100:
        raise ExpressionError("round() to more than 100 digits")
    return round(number, digits)


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        return sized(function(*arguments, **options))

    return call


def _listed(function: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    def call(*arguments: Any, **options: Any) -> list[Any]:
        return list(loop(function(*arguments, **options)))

    return call


def _sum(items: Iterable[Any], start: Any = 0) -> Any:
    total = start
    for item in items:
        total = add(total, item)
    return total


def _is_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"a text is needed, not {text(value)[:80]!r}", hint="quote the reference: '${name}'")
    return value


def _search(how: str) -> Callable[..., Any]:
    def call(pattern: str, subject: str) -> Any:
        found = bounded(_is_text(pattern), _is_text(subject), anchored=how != "search")
        return getattr(found, how)(subject)

    return call


def _re_sub(pattern: str, replacement: str, subject: str, count: int = 0) -> str:
    # The result has at most one replacement more than the subject has characters, each with all of the subject in it.
    compiled = bounded(_is_text(pattern), _is_text(subject))
    references = 1 + replacement.count("\\")
    WORK.charge((len(subject) + 1) * (len(replacement) + references * len(subject)) if len(replacement) > 100 else 0)
    return str(sized(compiled.sub(replacement, subject, count=count)))


def _re_split(pattern: str, subject: str, maxsplit: int = 0) -> list[Any]:
    return list(sized(bounded(_is_text(pattern), _is_text(subject)).split(subject, maxsplit=maxsplit)))


def _re_findall(pattern: str, subject: str) -> list[Any]:
    return list(sized(bounded(_is_text(pattern), _is_text(subject)).findall(subject)))


def _dumps(value: Any, *, sort_keys: bool = False) -> str:
    return str(sized(json.dumps(check_size(value), sort_keys=sort_keys)))


def _loads(document: str) -> Any:
    return sized(json.loads(_is_text(document)))


def _uuid4() -> str:
    return str(uuid.uuid4())


def _cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _docker_available() -> bool:
    from dlbs.machine import docker_available

    return docker_available()


def _hostname() -> str:
    return os.uname().nodename


def _gpu_count() -> int:
    from dlbs.machine import gpu_count

    return gpu_count()


def _environment_needs_processor(*_: Any) -> Any:
    raise ExpressionError("env() is not available here")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "bool": bool,
    "cpu_count": _cpu_count,
    "dict": _charged(dict),
    "docker_available": _docker_available,
    "enumerate": _listed(enumerate),
    "env": _environment_needs_processor,  # the processor binds its own snapshot of the environment
    "float": float,
    "gpu_count": _gpu_count,
    "hostname": _hostname,
    "int": int,
    "json.dumps": _dumps,
    "json.loads": _loads,
    "len": len,
    "list": _charged(list),
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.log2": math.log2,
    "math.sqrt": math.sqrt,
    "max": max,
    "min": min,
    "os.path.basename": posixpath.basename,
    "os.path.dirname": posixpath.dirname,
    "os.path.exists": os.path.exists,
    "os.path.isdir": os.path.isdir,
    "os.path.isfile": os.path.isfile,
    "os.path.join": _charged(posixpath.join),
    "os.path.splitext": posixpath.splitext,
    "range": _range,
    "re.findall": _re_findall,
    "re.fullmatch": _search("fullmatch"),
    "re.match": _search("match"),
    "re.search": _search("search"),
    "re.split": _re_split,
    "re.sub": _re_sub,
    "reversed": _listed(reversed),
    "round": _round,
    "set": _charged(set),
    "sorted": _charged(sorted),
    "str": text,
    "sum": _sum,
    "tuple": _charged(tuple),
    "uuid4": _uuid4,
    "zip": _listed(zip),
}

VOLATILE = {"uuid4"}  # a new value each time: never computed once for many experiments


# Methods

_TEXT_METHODS = frozenset(
    [
        "capitalize",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdecimal",
        "isdigit",
        "isidentifier",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
_LIST_METHODS = frozenset({"count", "index"})
_METHODS: dict[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    list: _LIST_METHODS,
    tuple: _LIST_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    re.Match: frozenset({"end", "group", "groupdict", "groups", "span", "start"}),
    set: frozenset({"difference", "intersection", "isdisjoint", "issubset", "issuperset", "union"}),
    int: frozenset({"bit_length"}),
    float: frozenset({"is_integer"}),
}


def _join(separator: str, items: Iterable[Any]) -> str:
    texts = [text(item) for item in items]
    WORK.charge(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(value: str, old: str, new: str, count: int = -1) -> str:
    WORK.charge(len(value) + value.count(old) * len(new))
    return value.replace(old, new, count)


def _pad(how: str) -> Callable[..., str]:
    def call(value: str, width: int, *fill: str) -> str:
        WORK.charge(max(len(value), width))
        return str(getattr(value, how)(width, *fill))

    return call


_GUARDED_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "center": _pad("center"),
    "ljust": _pad("ljust"),
    "rjust": _pad("rjust"),
    "zfill": _pad("zfill"),
}

METHOD_NAMES = frozenset().union(*_METHODS.values()) | set(_GUARDED_TEXT_METHODS)


def call_method(value: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """Call an allow-listed method of a value. `str.format` is not one: its format texts can read any attribute."""
    kind = value.__class__
    if kind is str and name in _GUARDED_TEXT_METHODS:
        return _GUARDED_TEXT_METHODS[name](value, *arguments, **options)
    allowed = _METHODS.get(kind, frozenset())
    if name not in allowed:
        known = set(allowed) | (set(_GUARDED_TEXT_METHODS) if kind is str else set())
        raise ExpressionError(f"{kind.__name__} values have no method {name!r} here", hint=did_you_mean(name, known))
    result = getattr(value, name)(*arguments, **options)
    return sized(list(result) if kind is dict and name != "get" else result)
