"""A confidence interval for the mean of autocorrelated values, such as batch times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["cosine_power", "mean_interval", "student_quantile"]

_MOST_FREEDOM = 50.0  # Student's t is almost normal there, and fewer cosines tolerate longer correlations
_STEPS = 4000


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the mean, by Student's t with the equal-weighted cosine estimate of its variance.

    The variance is estimated from the low frequencies of the series, its projections on the first few cosines (Müller 2007; Lazarus, Lewis,
    Stock and Watson 2018): slow drifts widen the interval as they should. docs/statistics.md documents the simulation that selected it.

    Args:
        values: Positive, in the order of measurement.
        confidence: Share of repetitions in which the interval contains the mean of the process.

    Returns:
        Lower and upper bound, both positive; None for fewer than four values, too few to estimate the variance.
    """
    count = len(values)
    if count < 4:
        return None
    series = np.asarray(values, dtype=np.float64)
    mean = float(series.mean())
    if float(series.max()) == float(series.min()):  # sums of cosines have rounding errors
        return mean, mean
    freedom = min(_MOST_FREEDOM, max(1.0, 0.3 * count ** (2 / 3)))
    error = math.sqrt(cosine_power(series, range(1, math.ceil(freedom) + 1)) / count)
    # On the logarithm, because times and throughputs are positive.
    factor = math.exp(student_quantile((1 + confidence) / 2, freedom) * error / mean)
    return mean / factor, mean * factor


def cosine_power(series: NDArray[np.float64], orders: Sequence[int]) -> float:
    """Mean power of a series in cosines of these orders: for low orders, the variance of its mean times the number of values."""
    count = len(series)
    centred = series - series.mean()
    angles = math.pi * (np.arange(count) + 0.5) / count
    return sum(2 / count * float(centred @ np.cos(order * angles)) ** 2 for order in orders) / len(orders)


def student_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution for a probability of at least one half; NumPy has none, and the benchmarks do not need SciPy.

    With t = √freedom · tan(angle), the density of the angle is proportional to cos(angle)^(freedom - 1).
    """
    angles = (np.arange(_STEPS) + 0.5) * (math.pi / 2 / _STEPS)
    area = np.cumsum(np.cos(angles) ** (freedom - 1))
    wanted = (2 * probability - 1) * float(area[-1])
    step = min(int(np.searchsorted(area, wanted)), _STEPS - 1)
    before = float(area[step - 1]) if step > 0 else 0.0
    within = (wanted - before) / (float(area[step]) - before)
    return math.sqrt(freedom) * math.tan((step + within) * math.pi / 2 / _STEPS)
