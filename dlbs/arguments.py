"""Arguments of Python callers: single items instead of sequences, and errors that name arguments instead of flags of the command line."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from dlbs.errors import DlbsError, SeveralError

__all__ = ["argument_of", "one_or_several", "with_arguments"]

P = ParamSpec("P")
R = TypeVar("R")

_LETTERS = {"P": "parameters", "V": "variables", "E": "extensions"}
_OTHERS = {"filter_query": "query"}  # flags whose argument has another name
_LETTER = re.compile(r"-([PVE])(.*)", re.DOTALL)
_FLAG = re.compile(r"--([a-z][\w-]*)(?: (.*))?", re.DOTALL)


def argument_of(where: str) -> str:
    """The place of an error as a Python argument: `parameters['exp.model']` for `-Pexp.model`; other places are unchanged."""
    if found := _LETTER.fullmatch(where):
        return f"{_LETTERS[found[1]]}[{found[2]!r}]" if found[2] else _LETTERS[found[1]]
    if where.startswith("-- "):
        return f"command {where.removeprefix('-- ')}"
    if where == "--":
        return "command"
    if found := _FLAG.fullmatch(where):
        name = found[1].replace("-", "_")
        name = _OTHERS.get(name, name)
        return f"{name}={found[2]!r}" if found[2] else name
    return where


def _translated(error: DlbsError) -> DlbsError:
    if isinstance(error, SeveralError):
        return SeveralError(map(_translated, error.errors))
    made = copy.copy(error)
    # Several variables may be named: "-Va, -Vb".
    made.where = ", ".join(map(argument_of, error.where.split(", "))) if error.where.startswith("-") else error.where
    return made


def one_or_several(given: Any) -> Any:
    """Items of an argument that is one item, a string or mapping, or several: `"exp.model"` is one name, not nine letters."""
    return [given] if isinstance(given, (str, Mapping)) else given


def with_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function, and the iterator that it returns, raise errors that name arguments."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = function(*args, **kwargs)
        except DlbsError as error:
            raise _translated(error).with_traceback(error.__traceback__) from error.__cause__
        return cast("R", _each(result)) if isinstance(result, Iterator) else result

    return wrapped


def _each(items: Iterator[R]) -> Iterator[R]:
    try:
        yield from items
    except DlbsError as error:
        raise _translated(error).with_traceback(error.__traceback__) from error.__cause__
