"""The decorator `@overrides` of the package `overrides`, without its checks at run time: type checkers make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["override", "overrides"]

Method = TypeVar("Method", bound=Callable[..., Any])


def overrides(method: Method) -> Method:
    """Mark a method that overrides one of a base class."""
    return method


override = overrides
