"""Checks of the values of options, for builders of models; without PyTorch, because those of JAX use them too."""

from __future__ import annotations

from typing import Any

__all__ = ["check_whole"]


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
