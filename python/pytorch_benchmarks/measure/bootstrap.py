"""A confidence interval for the mean of values that depend on the ones before them, as batch times do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_length", "mean_interval"]

RESAMPLES = 2000
MOST_BLOCKS = 1000  # longer blocks do no harm where there are so many, and memory stays bounded


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean by the circular block bootstrap (Politis and Romano 1992), percentile method.

    Blocks of neighbouring values are drawn instead of single ones, so that slow drifts widen the interval as they should. The
    random numbers are seeded: the same values give the same interval.

    Args:
        values: In the order in which they were measured.
        confidence: Share of repetitions in which the interval holds the mean of the process.

    Returns:
        Lower and upper bound; None for fewer than four values, which say nothing of how much they vary.
    """
    count = len(values)
    if count < 4:
        return None
    series = np.asarray(values, dtype=np.float64)
    length = max(block_length(series), math.ceil(count / MOST_BLOCKS))
    blocks = math.ceil(count / length)
    generator = np.random.default_rng(count)
    # Sums of `length` values from each start on, round the end to the beginning: a resample's mean is a mean of such blocks.
    ends = np.concatenate([[0.0], np.concatenate([series, series[: length - 1]]).cumsum()])
    sums = ends[length:] - ends[:-length]
    starts = generator.integers(count, size=(RESAMPLES, blocks))
    means = sums[starts].mean(axis=1) / length
    # A resample may hold a few more values than the series, and blocks around the series' own mean vary too little.
    spread = (means - series.mean()) * math.sqrt(blocks * length / max(1, count - length))
    tail = (1 - confidence) / 2
    spread *= _student_over_normal(1 - tail, max(1.0, count / length - 1))
    low, high = np.quantile(spread, [tail, 1 - tail]).tolist()
    mean = float(series.mean())
    return mean + low, mean + high


def _student_over_normal(probability: float, freedom: float) -> float:
    """How much wider Student's distribution is than the normal one: few blocks tell little of how much they vary.

    Its quantile by the first terms of its expansion in 1 / degrees of freedom (Fisher and Cornish 1960).
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**2 + 1) / (4 * freedom)
    second = (5 * z**4 + 16 * z**2 + 3) / (96 * freedom**2)
    return 1 + first + second


def block_length(series: NDArray[np.float64]) -> int:
    """Length of blocks that suits the correlation of a series (Politis and White 2004, with the correction of Patton et al. 2009).

    At least 1, at most a third of the series.
    """
    count = len(series)
    most = max(1, math.ceil(count / 3))
    centred = series - series.mean()
    variance = float(np.square(centred).mean())
    if variance == 0.0:
        return 1
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    lags = min(math.ceil(math.sqrt(count)) + run, count - 1)
    covariances = [variance] + [float((centred[lag:] * centred[:-lag]).sum()) / count for lag in range(1, lags + 1)]
    small = 2 * math.sqrt(math.log10(count) / count)
    last = _last_large([value / variance for value in covariances], small, run)
    width = min(2 * last, lags)
    if width == 0:
        return 1
    # Weights of the flat-top window: 1 in its first half, then falling to 0.
    weights = [min(1.0, 2 * (1 - lag / width)) for lag in range(width + 1)]
    spectrum = variance + 2 * sum(weights[lag] * covariances[lag] for lag in range(1, width + 1))
    slope = 2 * sum(weights[lag] * lag * covariances[lag] for lag in range(1, width + 1))
    if spectrum <= 0.0:
        return 1
    return max(1, min(most, round((2 * slope**2 / (4 / 3 * spectrum**2)) ** (1 / 3) * count ** (1 / 3))))


def _last_large(correlations: Sequence[float], small: float, run: int) -> int:
    """The lag behind which `run` correlations in a row are small; 0 if all of the first ones are."""
    for lag in range(1, len(correlations) - run + 1):
        if all(abs(value) < small for value in correlations[lag : lag + run]):
            return lag - 1
    large = [lag for lag in range(1, len(correlations)) if abs(correlations[lag]) >= small]
    return max(large, default=0)
