"""Student's t distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from dlbs.extras import require
from dlbs.results.statistics.intervals import Interval

__all__ = ["student_quantile", "welch_freedom", "welch_interval"]


def student_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t distribution.

    Raises:
        LogError: scipy is not installed.
    """
    # The function behind scipy.stats.t.ppf; importing scipy.stats takes a second.
    return float(require("scipy.special", "reports").stdtrit(freedom, probability))


def welch_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a difference with these variances of its sides (Welch 1947)."""
    parts = [variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True)]
    return sum(variances) ** 2 / sum(parts)


def welch_interval(first: Sequence[float], second: Sequence[float], confidence: float) -> Interval:
    """Confidence interval of the difference of two means with unequal variances.

    Args:
        first: At least two values.
        second: At least two values.
        confidence: Confidence level of the interval.

    Raises:
        LogError: scipy is not installed.
    """
    difference = statistics.fmean(first) - statistics.fmean(second)
    variances = [statistics.variance(side) / len(side) for side in (first, second)]
    if sum(variances) == 0.0:
        return Interval(difference, difference, confidence)
    freedom = welch_freedom(variances, [len(first) - 1, len(second) - 1])
    half = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(sum(variances))
    return Interval(difference - half, difference + half, confidence)
