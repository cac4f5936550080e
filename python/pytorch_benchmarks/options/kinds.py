"""Converters from the text of an argument to the value of an option, with error messages for argparse."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["boolean", "json_list", "json_object", "names_of", "optional", "percent", "positive", "share", "whole"]

Value = TypeVar("Value")


def boolean(value: str) -> bool:
    """`true` or `false`, in all spellings accepted in configurations."""
    word = value.strip().lower()
    if word in {"true", "t", "yes", "y", "on", "1"}:
        return True
    if word in {"false", "f", "no", "n", "off", "0"}:
        return False
    raise ArgumentTypeError(f"{value!r} is neither true nor false")


def whole(minimum: int) -> Callable[[str], int]:
    """Converter of integers of at least `minimum`."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ArgumentTypeError(f"{value!r} is not an integer") from None
        if number < minimum:
            raise ArgumentTypeError(f"must be at least {minimum}, not {number}")
        return number

    return convert


def positive(value: str) -> float:
    """A finite number of at least 0."""
    try:
        number = float(value)
    except ValueError:
        raise ArgumentTypeError(f"{value!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"must be at least 0, not {value}")
    return number


def share(value: str) -> float:
    """A number from 0 to 1."""
    number = positive(value)
    if number > 1:
        raise ArgumentTypeError(f"must be at most 1, not {value}")
    return number


def percent(value: str) -> float:
    """A number from 0 to less than 100."""
    number = positive(value)
    if number >= 100:
        raise ArgumentTypeError(f"must be less than 100, not {value}")
    return number


def optional(convert: Callable[[str], Value], word: str = "") -> Callable[[str], Value | None]:
    """Converter of `word` to None, and of everything else with `convert`."""
    return lambda value: None if value == word else convert(value)


def names_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Converter of comma-separated names; `none` is the empty list."""

    def convert(value: str) -> tuple[str, ...]:
        names = tuple(name for name in value.split(",") if name and name != "none")
        for name in names:
            if name not in known:
                raise ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}, none")
        return names

    return convert


def json_list(value: str) -> tuple[str, ...]:
    """A JSON list of strings."""
    found = _json(value, "[]")
    if not isinstance(found, list):
        raise ArgumentTypeError(f"{value!r} is not a JSON list")
    return tuple(map(str, found))


def json_object(value: str) -> dict[str, Any]:
    """A JSON object."""
    found = _json(value, "{}")
    if not isinstance(found, dict):
        raise ArgumentTypeError(f"{value!r} is not a JSON object")
    return found


def _json(value: str, empty: str) -> Any:
    try:
        return json.loads(value or empty)
    except json.JSONDecodeError as error:
        raise ArgumentTypeError(f"{value!r} is not JSON: {error}") from None
