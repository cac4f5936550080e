"""Ratio of two sides with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dlbs.results.registry import registered
from dlbs.results.statistics.estimators import ESTIMATORS, FEWEST_BATCHES, FEWEST_RUNS
from dlbs.results.statistics.intervals import Interval, factor
from dlbs.results.statistics.samples import Sample

__all__ = ["STATISTICS", "Estimate", "estimate_ratio"]

USUAL_CONFIDENCE = 0.95  # level of the intervals that runs log

# Estimator → the statistic of one side that is shown with it.
STATISTICS: dict[str, Callable[[Sample], float]] = {"rank": Sample.median, "mean": Sample.mean}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio of two sides.

    Attributes:
        ratio: Numerator over denominator.
        interval: Its confidence interval; None if there are too few values.
        source: Source of the interval: `runs`, `batches`, `queries`, or empty.
    """

    ratio: float
    interval: Interval | None = None
    source: str = ""


def estimate_ratio(
    numerator: Sample, denominator: Sample, estimator: str = "rank", confidence: float = 0.95
) -> Estimate | None:
    """Estimate the ratio of two sides with its interval.

    With at least three runs on each side, the estimator uses the variation between runs. With fewer, it uses the batches within the runs, or the
    intervals that single runs logged; such an interval ignores the variation between runs.

    Args:
        numerator: Positive values.
        denominator: Positive values.
        estimator: A key of `ESTIMATORS`.
        confidence: Of the interval.

    Returns:
        None if some value is not positive, so that the ratio is meaningless.

    Raises:
        LogError: The estimator is unknown, or numpy or scipy is not installed.
    """
    function = registered(ESTIMATORS, estimator, "estimator")
    sides = (numerator, denominator)
    if any(value <= 0 for side in sides for value in side.values):
        return None
    if all(side.runs >= FEWEST_RUNS for side in sides):
        ratio, interval = function(numerator.values, denominator.values, confidence)
        return Estimate(ratio, interval, "runs")
    statistic = STATISTICS[estimator]
    if all(len(side.series) == side.runs for side in sides) and all(
        len(times) >= FEWEST_BATCHES for side in sides for times in side.series
    ):
        from dlbs.results.statistics.batches import batch_interval

        return Estimate(numerator.mean() / denominator.mean(), batch_interval(*sides, confidence), "batches")
    ratio = statistic(numerator) / statistic(denominator)
    return Estimate(ratio, interval, "queries") if (interval := _of_logged(*sides, confidence)) else Estimate(ratio)


def _of_logged(numerator: Sample, denominator: Sample, confidence: float) -> Interval | None:
    """Interval of a ratio from those of its two values, each of a single run (MOVER: Donner and Zou, Statistical Methods in Medical Research
    21(4):347, 2012, on logarithms, since values are positive); None if a value has none, or for another confidence level."""
    if numerator.runs != 1 or denominator.runs != 1 or confidence != USUAL_CONFIDENCE:
        return None
    above, below = (next(iter(sample.intervals), None) for sample in (numerator, denominator))
    if above is None or below is None:
        return None
    (one,), (other,) = numerator.values, denominator.values
    middle = math.log(one / other)
    down = math.hypot(math.log(one / above.low), math.log(below.high / other))
    up = math.hypot(math.log(above.high / one), math.log(other / below.low))
    return Interval(factor(middle - down), factor(middle + up), confidence)
