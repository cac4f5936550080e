"""The functions and methods that a checked expression may call, with bounded work."""

from __future__ import annotations

import json
import math
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from dlbs.errors import ExpressionError, did_you_mean
from dlbs.language.limits import WORK, add, check_size, loop, sized
from dlbs.language.patterns import bounded
from dlbs.text import text

__all__ = ["FUNCTIONS", "METHOD_NAMES", "VOLATILE", "call_method"]


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
    from dlbs.machine.devices import docker_available

    return docker_available()


def _hostname() -> str:
    return os.uname().nodename


def _gpu_count() -> int:
    from dlbs.machine.devices import gpu_count

    return gpu_count()


def _visible_gpus() -> list[int]:
    from dlbs.machine.devices import visible_gpus

    return list(visible_gpus())


def _environment_needs_tracer(*_: Any) -> Any:
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
    "env": _environment_needs_tracer,  # the tracer binds its own snapshot of the environment
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
    "visible_gpus": _visible_gpus,
    "zip": _listed(zip),
}

VOLATILE = {"uuid4"}  # a new value each time: never computed once for many experiments

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
