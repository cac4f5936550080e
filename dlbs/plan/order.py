"""In which order a plan runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

__all__ = ["ORDERS", "ordered"]

ORDERS = ("plan", "round-robin", "random")


def ordered(experiments: Iterable[dict[str, Any]], order: str, seed: int) -> Iterator[dict[str, Any]]:
    """The experiments of a plan in another order. But for `plan`, all of them are held in memory, unresolved.

    Args:
        order: `plan` keeps the order; `round-robin` runs the first repeat of everything, then the second: neighbouring minutes
            on one machine resemble each other, so repeats that follow each other would agree too well; `random` shuffles.
        seed: Of `random`.
    """
    if order == "plan":
        return iter(experiments)
    held = list(experiments)
    if order == "random":
        Random(seed).shuffle(held)
        return iter(held)
    return iter(
        sorted(held, key=lambda one: int(one.get("exp.repeat") or 1))
    )  # stable: the plan's order within a repeat
