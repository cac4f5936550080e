"""The order in which experiments run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["ORDERS", "ordered"]

ORDERS = ("plan", "round-robin", "random")


def ordered(experiments: Iterable[dict[str, Any]], order: str, seed: int) -> Iterator[dict[str, Any]]:
    """Reorder the experiments of a plan. Except with `plan`, all of them are kept in memory, unresolved.

    Args:
        order: `plan` keeps the order; `round-robin` runs the first repeat of all experiments, then the second, because consecutive
            repeats run under similar conditions and would vary too little; `random` shuffles.
        seed: Seed of `random`.
    """
    if order == "plan":
        return iter(experiments)
    held = list(experiments)
    if order == "random":
        from random import Random

        Random(seed).shuffle(held)
        return iter(held)
    return iter(
        sorted(held, key=lambda one: int(one.get("exp.repeat") or 1))
    )  # stable: the plan's order within a repeat
