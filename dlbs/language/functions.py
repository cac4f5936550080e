"""The functions and methods that a checked expression may call; each pays for its work."""

from __future__ import annotations

import importlib
import json
import math
import os
import platform
import posixpath
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from benchmark_core.text import truth
from dlbs.core.errors import ExpressionError, did_you_mean
from dlbs.core.files import load_json
from dlbs.core.text import text
from dlbs.language.limits import METER, OPERATORS, as_text, bounded, check_size, dict_of, hashed, paid, set_of, sized
from dlbs.language.patterns import Match, Pattern, compiled

_MAX_DIGITS = 5_000  # of a text that becomes an integer: older Pythons need quadratic time
_STEPS = 64  # of a regular expression for one unit of the meter


def _paid(function: Callable[..., Any], price: int = 0) -> Callable[..., Any]:
    """Wrap a function: it pays its price, all of its arguments (items of iterators when they are consumed), and the length of its result."""

    def call(*arguments: Any, **options: Any) -> Any:
        METER.charge(price)
        taken = [map(paid, one) if hasattr(one, "__next__") else paid(one) for one in arguments]
        return sized(function(*taken, **options))

    return call


def _listed(function: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
    return _paid(lambda *arguments, **options: list(function(*arguments, **options)))


def _range(*bounds: int) -> range:
    made = range(*bounds)
    METER.charge(len(made))
    return made


def _int(value: Any = 0, *base: int) -> int:
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        raise ExpressionError(f"int() of a text of {len(value):,} characters")
    paid(value)
    return bounded(int(value, *base))


def _round(number: Any, digits: int | None = None) -> Any:
    if digits is None:
        return round(number)
    if abs(digits) > 100:
        raise ExpressionError("round() to more than 100 digits")
    return round(number, digits)


def _sum(items: Iterable[Any], start: Any = 0) -> Any:
    total, add = start, OPERATORS["Add"]
    for item in items:
        total = add(total, item)
    return total


def _text_only(value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionError(
            f"a text is needed, not {text(check_size(value))[:80]!r}", hint="quote the reference: '${name}'"
        )
    return value


def _pattern(pattern: Any, subject: Any) -> Pattern:
    found = compiled(_text_only(pattern))
    METER.charge(1 + found.steps(_text_only(subject)) // _STEPS)
    return found


def _re(how: str) -> Callable[..., Any]:
    def call(pattern: Any, string: Any) -> Any:
        return sized(getattr(_pattern(pattern, string), how)(string))

    return call


def _re_split(pattern: Any, string: Any, maxsplit: int = 0) -> Any:
    return sized(_pattern(pattern, string).split(string, maxsplit))


def _re_sub(pattern: Any, repl: Any, string: Any, count: int = 0) -> str:
    pieces = _pattern(pattern, string).substitute(_text_only(repl), string, count)
    return "".join(sized(piece) for piece in pieces)


def _dumps(obj: Any, *, sort_keys: bool = False) -> str:
    return str(sized(json.dumps(check_size(paid(obj)), sort_keys=sort_keys)))


def _loads(document: Any) -> Any:
    return load_json(sized(_text_only(document)))


def _cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(module: str, name: str) -> Callable[[], Any]:
    """Wrap a query of this machine that starts a program."""

    def call() -> Any:
        found = getattr(importlib.import_module(module), name)()
        return list(found) if isinstance(found, tuple) else found

    return _paid(call, 100_000)


def _boolean(value: Any) -> bool:
    meant = truth(value)
    if meant is None:
        raise ExpressionError(
            f"{text(check_size(value))[:80]!r} is neither true nor false",
            hint="write true, yes, on or 1, or false, no, off or 0",
        )
    return meant


def _environment_needs_tracer(*_: Any) -> Any:
    raise ExpressionError("env() is not available here")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "all": _paid(all),
    "any": _paid(any),
    "bool": bool,
    "boolean": _paid(_boolean),
    "cpu_count": _paid(_cpu_count, 100),
    "dict": dict_of,
    "docker_available": _device("dlbs.machine.resources", "docker_available"),
    "enumerate": _listed(enumerate),
    "env": _environment_needs_tracer,  # the tracer binds its own snapshot of the environment
    "float": _paid(float),
    "gpu_count": _device("benchmark_core.gpus", "gpu_count"),
    "hostname": _paid(platform.node, 10),
    "int": _int,
    "json.dumps": _dumps,
    "json.loads": _loads,
    "len": len,
    "list": _paid(list),
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.log2": math.log2,
    "math.sqrt": math.sqrt,
    "max": _paid(max),
    "min": _paid(min),
    "os.path.abspath": _paid(posixpath.abspath),
    "os.path.basename": _paid(posixpath.basename),
    "os.path.dirname": _paid(posixpath.dirname),
    "os.path.exists": _paid(os.path.exists, 100),
    "os.path.isdir": _paid(os.path.isdir, 100),
    "os.path.isfile": _paid(os.path.isfile, 100),
    "os.path.join": _paid(posixpath.join),
    "os.path.splitext": _paid(posixpath.splitext),
    "range": _range,
    "re.findall": _re("findall"),
    "re.fullmatch": _re("fullmatch"),
    "re.match": _re("match"),
    "re.search": _re("search"),
    "re.split": _re_split,
    "re.sub": _re_sub,
    "reversed": _listed(reversed),
    "round": _round,
    "set": set_of,
    "sorted": _paid(sorted),
    "str": _paid(as_text, 1),
    "sum": _sum,
    "tuple": _paid(tuple),
    "uuid4": _paid(lambda: str(uuid.uuid4()), 10),
    "visible_gpus": _device("benchmark_core.gpus", "visible_gpus"),
    "zip": _listed(zip),
}

VOLATILE = {"uuid4"}  # a new value each time: never computed once for many experiments

# The methods of each type. `str.format` is not one: its format texts can read any attribute.
_METHODS: dict[type, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        str: "capitalize count endswith find index isalnum isalpha isdecimal isdigit isidentifier islower isnumeric isspace istitle "
        "isupper lower lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split splitlines startswith "
        "strip swapcase title upper",
        list: "count index",
        tuple: "count index",
        dict: "get items keys values",
        Match: "end group groupdict groups span start",
        set: "difference intersection isdisjoint issubset issuperset union",
        int: "bit_length",
        float: "is_integer",
    }.items()
}


def _join(separator: str, iterable: Iterable[Any]) -> str:
    texts = [sized(as_text(item)) for item in iterable]
    METER.charge(len(separator) * len(texts))
    return separator.join(texts)


def _replace(value: str, old: str, new: str, count: int = -1) -> str:
    METER.charge(len(value) + value.count(old) * len(new))
    return value.replace(old, new, count)


def _pad(how: str) -> Callable[..., str]:
    def call(value: str, width: int, *fill: str) -> str:
        METER.charge(max(len(value), width))
        return str(getattr(value, how)(width, *fill))

    return call


# Methods of texts whose result can be larger than the text.
_GROWING: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "center": _pad("center"),
    "ljust": _pad("ljust"),
    "rjust": _pad("rjust"),
    "zfill": _pad("zfill"),
}

# Methods of texts that may compare each character with each one of the argument: Python searches in linear time only forwards.
_QUADRATIC = frozenset({"lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"})
_SCANNED = 9  # binary logarithm of the characters that they compare for one unit of the meter

METHOD_NAMES = frozenset().union(*_METHODS.values()) | set(_GROWING)

for _name, _function in (*FUNCTIONS.items(), *_GROWING.items()):
    if not isinstance(_function, type) and hasattr(_function, "__dict__"):
        _function.__qualname__ = _name  # what Python's own messages about wrong arguments say


def call_method(value: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """Call an allow-listed method of a value."""
    kind = value.__class__
    if kind is str and name in _GROWING:
        return _GROWING[name](value, *arguments, **options)
    allowed = _METHODS.get(kind, frozenset())
    if name not in allowed:
        known = set(allowed) | (set(_GROWING) if kind is str else set())
        raise ExpressionError(f"{kind.__name__} values have no method {name!r} here", hint=did_you_mean(name, known))
    if name != "get":
        paid(value)
    for argument in arguments:
        paid(argument)
    if kind is set:
        arguments = tuple(list(one) for one in arguments)
        hashed(item for one in (value, *arguments) for item in one)
    if kind is str and arguments and name in _QUADRATIC:
        METER.charge(len(value) * len(text(arguments[0])) >> _SCANNED)
    result = getattr(value, name)(*arguments, **options)
    return sized(list(result) if kind is dict and name != "get" else result)
