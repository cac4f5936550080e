"""Errors and messages that users see: errors with place, problem and fix, in the words of the command line or of Python callers, and messages.

Also what fails with such an error: optional packages, and registries of functions that are imported on first use.
"""

from __future__ import annotations

import copy
import functools
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast


class DlbsError(Exception):
    """A problem that the user can fix.

    Args:
        what: The problem, in one sentence.
        where: `file:line`, a command line flag, or a parameter name; empty if the problem has no place.
        hint: The fix.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.what}{hint}"


class ConfigError(DlbsError):
    """A configuration file or a `-P/-V/-E` flag is wrong."""


class ExpressionError(DlbsError):
    """A `${...}` reference or a `$(...)$` expression is malformed, not allowed, or failed."""


class ResolveError(DlbsError):
    """A parameter cannot be resolved: undefined name, cycle, wrong type, value outside its domain."""


class LaunchError(DlbsError):
    """A launcher could not be rendered or started."""


class InfrastructureError(LaunchError):
    """The machine, a service or a directory failed, not the experiment: the same experiment may run later."""


class LogError(DlbsError):
    """A log file could not be read or written."""


class SeveralError(ConfigError):
    """Several errors, reported together.

    Args:
        errors: Two or more.
    """

    def __init__(self, errors: Iterable[DlbsError]) -> None:
        self.errors = list({str(error): error for error in errors}.values())
        super().__init__("".join([f"{len(self.errors)} problems", *(f"\n  {error}" for error in self.errors)]))


class Problems:
    """Collect the errors of several steps and report them together: `with problems: step()` for each."""

    def __init__(self) -> None:
        self.found: list[DlbsError] = []

    def __enter__(self) -> Problems:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, DlbsError):
            return False
        self.found += error.errors if isinstance(error, SeveralError) else [error]
        return True

    def raise_all(self) -> None:
        """Raise the collected error, or a `SeveralError`; do nothing if there is none."""
        if self.found:
            several = SeveralError(self.found)
            raise (several if len(several.errors) > 1 else self.found[0]) from None


_setups: list[Callable[[], None]] = []


def before_logging(setup: Callable[[], None]) -> None:
    """Call a function before the first message is logged."""
    _setups.append(setup)


def log(level: str, message: str, *values: object) -> None:
    """Log a message for users, as `log("warning", "%s is ignored", name)`; most commands have none, and do without the module `logging`."""
    import logging

    while _setups:
        _setups.pop()()
    getattr(logging.getLogger("dlbs"), level)(message, *values)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `did you mean 'x' or 'y'?` for the closest known names, or an empty string."""
    import difflib  # imported here because it takes 4 ms

    known = list(known)
    close = [one for one in known if one.endswith(f".{name}")][:3] or difflib.get_close_matches(name, known, 3, cutoff)
    if not close:
        return ""
    return "did you mean " + " or ".join(repr(match) for match in close) + "?"


def suggestion(name: str, known: Iterable[str], what: str = "known are", *, cutoff: float = 0.6) -> str:
    """Return `did you mean 'x'?` for the closest known names, or all of them: `known are x, y`."""
    known = list(known)
    return did_you_mean(name, known, cutoff=cutoff) or f"{what} {', '.join(known) or 'none'}"


P = ParamSpec("P")
R = TypeVar("R")

_LETTERS = {"P": "parameters", "V": "variables", "E": "extensions"}
_OTHERS = {"filter_query": "query"}  # flags whose argument has another name
_LETTER = r"(?s)-([PVE])(.*)"
_FLAG = r"(?s)--([a-z][\w-]*)(?: (.*))?"


def argument_of(where: str) -> str:
    """The place of an error as a Python argument: `parameters['exp.model']` for `-Pexp.model`; other places are unchanged."""
    if found := re.fullmatch(_LETTER, where):
        return f"{_LETTERS[found[1]]}[{found[2]!r}]" if found[2] else _LETTERS[found[1]]
    if where.startswith("-- "):
        return f"command {where.removeprefix('-- ')}"
    if where == "--":
        return "command"
    if found := re.fullmatch(_FLAG, where):
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


def require(module: str, extra: str) -> Any:
    """Import a package that belongs to an extra.

    Raises:
        LogError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise LogError(
            f"the Python package {error.name!r} is required", hint=f"pip install 'dlbs[{extra}]' installs it"
        ) from None


# The choices of a command: name → (`module:function`, one line of help). Functions are named instead of imported, so that
# `dlbs plot --help` lists all kinds of plots without loading matplotlib.
Registry = Mapping[str, tuple[str, str]]


def registered(registry: Registry, name: str, what: str) -> Any:
    """Import the function registered under a name.

    Args:
        registry: Name → (`module:function`, one line of help).
        name: One of its names.
        what: Noun for its entries in the message.

    Raises:
        LogError: The name is not registered.
    """
    if name not in registry:
        hint = did_you_mean(name, registry) or f"choose from {', '.join(registry)}"
        raise LogError(f"unknown {what} {name!r}", hint=hint)
    module, function = registry[name][0].split(":")
    return getattr(importlib.import_module(module), function)
