"""Conditions of extensions and queries: a test that a value passes or fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlbs.errors import ConfigError, DlbsError
from dlbs.language.patterns import compiled
from dlbs.text import text, truth

__all__ = ["condition_test"]


def condition_test(name: str, expected: Any, where: str) -> Callable[[Any], tuple[str, ...] | None]:
    """The test of a condition: a function of a value that returns the matched text and its groups, or None.

    Args:
        name: The parameter, for messages.
        expected: A number or boolean (equal), a list (any of), or a regular expression that must match the whole text. Of a boolean it may
            be any word for one (`yes`, `off`, 1).
        where: Location of the condition, for messages.

    Raises:
        ConfigError: The expected value is of another type, or a malformed regular expression.
    """
    if isinstance(expected, str):
        try:
            pattern = compiled(expected)
        except DlbsError as error:
            raise ConfigError(error.what, where=where, hint=error.hint) from None

        meant = truth(expected)

        def matches(value: Any) -> tuple[str, ...] | None:
            if meant is not None and isinstance(value, bool):
                return (text(value),) if value == meant else None
            found = pattern.fullmatch(text(value))
            return None if found is None else (found.group(), *(group or "" for group in found.groups()))

        return matches
    if isinstance(expected, (bool, int, float, list)) or expected is None:
        allowed = expected if isinstance(expected, list) else [expected]

        def equals(value: Any) -> tuple[str, ...] | None:
            # `exp.gpus: [0, 1]` may be written with numbers while the parameter is a text; a number is not true because it is 1.
            for one in allowed:
                if isinstance(value, bool):
                    if truth(one) == value:
                        return (text(value),)
                    continue
                if one == value and not isinstance(one, bool):
                    return (text(value),)
                if isinstance(value, str) and not isinstance(one, (list, dict)) and text(one) == value:
                    return (text(value),)
            return None

        return equals
    raise ConfigError(f"condition on {name!r} must be a number, a boolean, a list or a regular expression", where=where)
