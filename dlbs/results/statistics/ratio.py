"""Ratio of two sides with its confidence interval, by the estimators that `compare` offers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark_core.intervals import student_quantile, variance_of_mean
from dlbs.errors import Registry, registered, require
from dlbs.results.statistics.intervals import Interval, factor, welch_freedom
from dlbs.results.statistics.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


def batch_interval(numerator: Sample, denominator: Sample, confidence: float = 0.95) -> Interval:
    """Confidence interval of the ratio of two means, from the batch times of each run.

    Raises:
        LogError: numpy or scipy is not installed.
    """
    variances, freedoms = [], []
    for side in (numerator, denominator):
        for times, value in zip(side.series, side.values, strict=True):
            variance, freedom = variance_of_mean(times)
            # The share of this run in the logarithm of the side's mean, whose unit may differ from that of the batch times.
            share = value / side.runs / side.mean() / (math.fsum(times) / len(times))
            variances.append(variance * share**2)
            freedoms.append(freedom)
    ratio = numerator.mean() / denominator.mean()
    if sum(variances) == 0.0:
        return Interval(ratio, ratio, confidence)
    widest = student_quantile((1 + confidence) / 2, welch_freedom(variances, freedoms))
    half = factor(widest * math.sqrt(sum(variances)))
    return Interval(ratio / half, ratio * half, confidence)


_RESAMPLES = 4000
_MOST_SURE = 0.99  # beyond this confidence level, fewer than twenty resamples are outside each bound


def mean_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Ratio of the means with an interval from resampling the runs of each side with replacement.

    Few runs have few different means, and 4,000 resamples few in the tails. At high confidence levels, those of many simultaneous comparisons, the
    interval is therefore at least as wide as Student's (Welch).

    Raises:
        LogError: scipy is not installed.
    """
    ratio = statistics.fmean(numerator) / statistics.fmean(denominator)
    sides = numerator, denominator
    logs = [_resampled(values, seed) for seed, values in enumerate(sides)]
    least = _student_half(sides, confidence) if confidence > _MOST_SURE else 0.0
    return ratio, _widened(ratio, logs, [len(side) - 1 for side in sides], confidence, least)


def _student_half(sides: Sequence[Sequence[float]], confidence: float) -> float:
    """Half the width of Student's interval of the logarithm of the ratio of the means."""
    variances = [statistics.variance(values) / len(values) / statistics.fmean(values) ** 2 for values in sides]
    if sum(variances) == 0.0:
        return 0.0
    freedom = welch_freedom(variances, [len(values) - 1 for values in sides])
    return student_quantile((1 + confidence) / 2, freedom) * math.sqrt(sum(variances))


def _resampled(values: Sequence[float], seed: int) -> NDArray[Any]:
    """Resampled logarithms of the mean minus the logarithm of the mean; seeded, so that the same logs give the same interval."""
    np = require("numpy", "reports")
    count, mean = len(values), statistics.fmean(values)
    drawn = require("scipy.stats", "reports").bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng((seed, count)),
    )
    # The spread of resampled means corresponds to a variance divided by n, not n - 1.
    logs: NDArray[Any] = np.log(drawn.bootstrap_distribution / mean) * math.sqrt(count / (count - 1))
    return logs


def _widened(
    ratio: float, logs: Sequence[NDArray[Any]], freedoms: Sequence[float], confidence: float, least: float
) -> Interval:
    """Interval of a ratio from resampled logarithms of both sides, each half of which is at least `least` on a logarithmic scale.

    The spread is widened by the ratio of Student's t quantile to the normal one, with Welch's degrees of freedom: bootstraps of few values are
    too narrow (Hesterberg 2015).

    Raises:
        LogError: scipy is not installed.
    """
    np = require("numpy", "reports")
    above, below = logs
    variances = [float(above.var()), float(below.var())]
    if sum(variances) == 0.0:
        return Interval(ratio, ratio, confidence, "bootstrap")
    tail = (1 - confidence) / 2
    freedom = welch_freedom(variances, freedoms)
    widening = student_quantile(1 - tail, freedom) / statistics.NormalDist().inv_cdf(1 - tail)
    low, high = (float(bound) * widening for bound in np.quantile(above - below, [tail, 1 - tail]))
    low, high = min(low, -least), max(high, least)
    return Interval(ratio * factor(low), ratio * factor(high), confidence, "bootstrap")


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


FEWEST_RUNS = 3  # on each side; two runs contain almost no information on the variation between runs
FEWEST_BATCHES = 10

ESTIMATORS: Registry = {
    "rank": (
        "dlbs.results.statistics.intervals:rank_interval",
        "median of the ratios of all pairs of runs (Hodges-Lehmann)",
    ),
    "mean": (
        "dlbs.results.statistics.ratio:mean_interval",
        "ratio of the means of the runs",
    ),
}
