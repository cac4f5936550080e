"""Ratio of the means of two sides with a bootstrap interval: narrow if runs vary little, but sensitive to outliers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.extras import require
from dlbs.results.statistics.intervals import Interval, factor
from dlbs.results.statistics.student import student_quantile, welch_freedom

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mean_interval"]

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
