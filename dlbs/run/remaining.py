"""The remaining time of a plan, estimated from the mean duration of the experiments that have ended."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["remaining_seconds"]


def remaining_seconds(mean: float, left: int, running: Sequence[float], slots: int) -> float:
    """Seconds until the last experiment ends.

    Args:
        mean: Duration of an experiment in seconds.
        left: Experiments that have not ended, those that are running included.
        running: Seconds that each running one has already taken.
        slots: Experiments that run at the same time.
    """
    rests = [max(0.0, mean - taken) for taken in running]
    work = sum(rests) + mean * max(0, left - len(rests))
    # One experiment cannot be shared between slots.
    return max([work / max(1, min(slots, left)), *rests])
