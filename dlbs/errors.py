"""The errors that users see: place, problem, and fix."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

__all__ = [
    "ConfigError",
    "DlbsError",
    "ExpressionError",
    "LaunchError",
    "LogError",
    "Problems",
    "ResolveError",
    "SeveralError",
    "did_you_mean",
    "suggestion",
]


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


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `did you mean 'x' or 'y'?` for the closest known names, or an empty string."""
    import difflib  # imported here because it takes 4 ms

    close = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    if not close:
        return ""
    return "did you mean " + " or ".join(repr(match) for match in close) + "?"


def suggestion(name: str, known: Iterable[str], what: str = "known are", *, cutoff: float = 0.6) -> str:
    """Return `did you mean 'x'?` for the closest known names, or all of them: `known are x, y`."""
    known = list(known)
    return did_you_mean(name, known, cutoff=cutoff) or f"{what} {', '.join(known) or 'none'}"
