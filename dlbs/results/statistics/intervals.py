"""Confidence intervals, and that of a median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["METHODS", "Interval", "median_interval"]

# Methods for the interval of a ratio of runs.
METHODS = {
    "signed ranks": "bounds of Wilcoxon's signed-rank test",
    "ranks": "bounds of the Mann-Whitney test",
    "student": "Student's t (Welch) of the logarithms, because ranks of so few runs cannot reach the confidence level",
    "bootstrap": "bootstrap over runs",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        confidence: Share of repetitions in which such an interval contains the true value.
        method: Method of the interval of a ratio, a key of `METHODS`; empty for other intervals.
    """

    low: float
    high: float
    confidence: float
    method: str = field(default="", compare=False)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Confidence interval of the median from order statistics, exact for any distribution (Thompson 1936).

    With fewer than six values, even the whole range does not reach 95 %; then the result is the range with its lower confidence level.

    Returns:
        None for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    tail = 0.5**count  # probability that all values are on one side of the median
    depth = 0
    while True:
        further = tail + math.comb(count, depth + 1) * 0.5**count
        if 2 * further > 1 - confidence:
            break
        tail, depth = further, depth + 1
    return Interval(ordered[depth], ordered[count - 1 - depth], 1 - 2 * tail)
