"""Checks of the values of options, for builders of models; without PyTorch, because those of JAX use them too."""

from __future__ import annotations

from typing import Any

__all__ = ["check_probability", "check_whole"]


def check_whole(name: str, value: Any, *, least: int = 1, most: int | None = None) -> None:
    """Check that an option is a whole number between two others.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if most is not None and not least <= value <= most:
        raise TypeError(f"{name} must be {least} to {most}, not {value}")
    if value < least:
        raise TypeError(f"{name} must be at least {least}, not {value}")


def check_probability(name: str, value: Any) -> None:
    """Check that an option is a number from 0 to below 1, as a probability to drop something that must not always be dropped.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise TypeError(f"{name} must be a number from 0 to below 1, not {value!r}")
