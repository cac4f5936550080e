"""Functions of batches, which are tensors or tuples of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["map_tensors"]


def map_tensors(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """Apply a function to each tensor of nested tuples, and to the corresponding tensors of `others`; the structure is kept."""
    if isinstance(value, (tuple, list)):
        return tuple(map_tensors(function, *parts) for parts in zip(value, *others, strict=True))
    return function(value, *others)
