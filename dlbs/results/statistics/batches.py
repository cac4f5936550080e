"""Ratio of two sides with only one or two runs each, from the batches within the runs.

Batch times are autocorrelated, so the variance of the mean is estimated from the low frequencies of the series: its projections on the first few
cosines, each of which is about as variable as the mean. This needs no model of the correlation, and the number of cosines is the number of degrees
of freedom. docs/statistics.md has the simulation that selected it among block bootstraps, batch means and others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlbs.extras import require
from dlbs.results.statistics.intervals import Interval, factor
from dlbs.results.statistics.samples import Sample
from dlbs.results.statistics.student import student_quantile, welch_freedom

__all__ = ["batch_interval", "variance_of_mean"]

_MOST_FREEDOM = 50.0  # there, Student's t hardly differs from the normal distribution, and fewer cosines tolerate longer correlations


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


def variance_of_mean(series: Sequence[float]) -> tuple[float, float]:
    """Variance of the mean of an autocorrelated series, and its degrees of freedom.

    The equal-weighted cosine estimator (Müller 2007; Lazarus, Lewis, Stock and Watson 2018). The authors recommend 0.4 n^(2/3) degrees of freedom
    for hundreds of values or more; with 0.3 n^(2/3), rounded up, the interval keeps its coverage with ten values as well.

    Raises:
        LogError: numpy is not installed.
    """
    np = require("numpy", "reports")
    values = np.array(series, dtype=float)
    count = len(values)
    if float(np.ptp(values)) == 0.0:  # otherwise, sums of cosines leave rounding errors
        return 0.0, 1.0
    freedom = min(_MOST_FREEDOM, max(1.0, 0.3 * count ** (2 / 3)))
    angles = math.pi * (np.arange(count) + 0.5) / count
    centred = values - values.mean()
    cosines = math.ceil(freedom)
    squares = sum(float(centred @ np.cos(order * angles)) ** 2 for order in range(1, cosines + 1))
    return 2 * squares / count**2 / cosines, freedom
