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


def mean_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Ratio of the means with an interval from resampling the runs of each side with replacement.

    Raises:
        LogError: scipy is not installed.
    """
    ratio = statistics.fmean(numerator) / statistics.fmean(denominator)
    logs = [_resampled(values, seed) for seed, values in enumerate((numerator, denominator))]
    return ratio, _widened(ratio, logs, [len(numerator) - 1, len(denominator) - 1], confidence)


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


def _widened(ratio: float, logs: Sequence[NDArray[Any]], freedoms: Sequence[float], confidence: float) -> Interval:
    """Interval of a ratio from resampled logarithms of both sides.

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
    return Interval(ratio * factor(low), ratio * factor(high), confidence, "bootstrap")
