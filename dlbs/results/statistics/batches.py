"""The ratio of two sides that ran only once or twice, from the batches within their runs.

A batch's time depends on those before it, so the variance of the mean is estimated from the slow movements of the series: its projections on the
first few cosines, of which each is about as variable as the mean. That needs no model of the correlation, and the number of cosines is that of
the degrees of freedom. docs/statistics.md has the simulation that chose it among block bootstraps, batch means and others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlbs.extras import require
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.samples import Sample
from dlbs.results.statistics.student import student_quantile, welch_freedom

__all__ = ["batch_interval", "variance_of_mean"]

_MOST_FREEDOM = (
    50.0  # Student's distribution hardly differs from the normal one there, and fewer cosines bear longer correlations
)


def batch_interval(numerator: Sample, denominator: Sample, confidence: float = 0.95) -> Interval:
    """The confidence interval of the ratio of two means, from the batch times of each run.

    Raises:
        LogError: numpy or scipy is not installed.
    """
    variances, freedoms = [], []
    for side in (numerator, denominator):
        for times, value in zip(side.series, side.values, strict=True):
            variance, freedom = variance_of_mean(times)
            # The share of this run in the logarithm of the side's mean, whose unit may be another one than that of the batch times.
            share = value / side.runs / side.mean() / (math.fsum(times) / len(times))
            variances.append(variance * share**2)
            freedoms.append(freedom)
    ratio = numerator.mean() / denominator.mean()
    if sum(variances) == 0.0:
        return Interval(ratio, ratio, confidence)
    widest = student_quantile((1 + confidence) / 2, welch_freedom(variances, freedoms))
    factor = math.exp(widest * math.sqrt(sum(variances)))
    return Interval(ratio / factor, ratio * factor, confidence)


def variance_of_mean(series: Sequence[float]) -> tuple[float, float]:
    """The variance of the mean of a series whose values depend on those before them, and its degrees of freedom.

    The equal-weighted cosine estimator (Müller 2007; Lazarus, Lewis, Stock and Watson 2018). They advise 0.4 n^(2/3) degrees of freedom for some
    hundred values and more; with 0.3 n^(2/3) and the next whole number of cosines the interval holds with ten as well.

    Raises:
        LogError: numpy is not installed.
    """
    np = require("numpy", "reports")
    values = np.array(series, dtype=float)
    count = len(values)
    if float(np.ptp(values)) == 0.0:  # sums of cosines leave rounding errors
        return 0.0, 1.0
    freedom = min(_MOST_FREEDOM, max(1.0, 0.3 * count ** (2 / 3)))
    angles = math.pi * (np.arange(count) + 0.5) / count
    centred = values - values.mean()
    cosines = math.ceil(freedom)
    squares = sum(float(centred @ np.cos(order * angles)) ** 2 for order in range(1, cosines + 1))
    return 2 * squares / count**2 / cosines, freedom
