"""The ratio of two sides: how many times the values of one are those of the other, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dlbs.results.registry import registered
from dlbs.results.statistics.estimators import ESTIMATORS, FEWEST_BATCHES, FEWEST_RUNS
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.samples import Sample

__all__ = ["STATISTICS", "Estimate", "estimate_ratio"]

USUAL_CONFIDENCE = 0.95  # of the intervals that runs log

# Estimator → the statistic of one side that is shown beside it.
STATISTICS: dict[str, Callable[[Sample], float]] = {"rank": Sample.median, "mean": Sample.mean}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio of two sides.

    Attributes:
        ratio: Numerator over denominator.
        interval: Its confidence interval; None if there are too few values.
        source: What the interval is from: `runs`, `batches`, `queries`, or empty.
    """

    ratio: float
    interval: Interval | None = None
    source: str = ""


def estimate_ratio(
    numerator: Sample, denominator: Sample, estimator: str = "rank", confidence: float = 0.95
) -> Estimate | None:
    """The ratio of two sides with its interval.

    With three runs on each side or more, the estimator looks at runs: how much one run differs from the next is what counts. With fewer, batches
    within the runs have to do, or the intervals that single runs logged; such an interval knows nothing of how runs differ.

    Args:
        numerator: Positive values.
        denominator: Positive values.
        estimator: A key of `ESTIMATORS`.
        confidence: Of the interval.

    Returns:
        None if some value is not positive, so that there is no ratio to speak of.

    Raises:
        LogError: There is no such estimator, or numpy or scipy is not installed.
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
    """The interval of a ratio from those of its two values, each of a single run (MOVER: Donner and Zou, Statistical Methods in Medical Research
    21(4):347, 2012, on logarithms, since values are positive); None if one has none, or another confidence is asked for."""
    if numerator.runs != 1 or denominator.runs != 1 or confidence != USUAL_CONFIDENCE:
        return None
    above, below = (next(iter(sample.intervals), None) for sample in (numerator, denominator))
    if above is None or below is None:
        return None
    (one,), (other,) = numerator.values, denominator.values
    middle = math.log(one / other)
    down = math.hypot(math.log(one / above.low), math.log(below.high / other))
    up = math.hypot(math.log(above.high / one), math.log(other / below.low))
    return Interval(math.exp(middle - down), math.exp(middle + up), confidence)
