"""Batches are tensors, or tuples of them: one function for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["map_tensors"]


def map_tensors(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """Apply a function to each tensor of nested tuples, and of others of the same form beside it; the form is kept."""
    if isinstance(value, (tuple, list)):
        return tuple(map_tensors(function, *parts) for parts in zip(value, *others, strict=True))
    return function(value, *others)
