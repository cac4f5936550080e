"""Confidence intervals, and that of a median."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["METHODS", "Interval", "factor", "median_interval"]

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
        depth: Number of sorted values outside each bound of the interval of a median.
    """

    low: float
    high: float
    confidence: float
    method: str = field(default="", compare=False)
    depth: int = field(default=0, compare=False)


_LARGEST = 700.0  # logarithm of a factor; the exponential of a much larger one is not a floating-point number


def factor(logarithm: float) -> float:
    """Exponential of a bound, limited in size: a few runs that differ by orders of magnitude have bounds beyond floating-point numbers."""
    return math.exp(max(-_LARGEST, min(logarithm, _LARGEST)))


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
    depth, outside = _depth(count, 1 - confidence)
    return Interval(ordered[depth], ordered[count - 1 - depth], 1 - outside, depth=depth)


@functools.lru_cache(maxsize=4096)
def _depth(count: int, error: float) -> tuple[int, float]:
    """Number of values outside each bound of the interval of a median, and the probability that the median is outside."""
    # Integers: beyond 1,000 values, the binomials exceed floating-point numbers, and the probabilities are smaller than any.
    halves = 2 ** (count - 1)
    depth, outside, binomial = 0, 1, 1
    while True:
        binomial = binomial * (count - depth) // (depth + 1)
        if (outside + binomial) / halves > error:
            return depth, outside / halves
        outside += binomial
        depth += 1
