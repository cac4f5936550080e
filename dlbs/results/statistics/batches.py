"""The ratio of two sides that ran only once or twice, from the batches within their runs.

A batch's time depends on those before it, so batches are drawn in blocks. scipy has no block bootstrap: `scipy.stats.bootstrap` takes its values
for independent, which makes intervals of correlated batches half as wide as they should be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dlbs.extras import require
from dlbs.results.statistics.bootstrap import RESAMPLES, widened
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["batch_interval", "block_length"]


def batch_interval(numerator: Sample, denominator: Sample, confidence: float = 0.95) -> Interval:
    """The interval of the ratio of two means, by a circular block bootstrap of batch times (Politis and Romano 1992).

    Raises:
        LogError: numpy or scipy is not installed.
    """
    (above, freedom_above), (below, freedom_below) = (
        _resampled(side, seed) for seed, side in enumerate((numerator, denominator))
    )
    ratio = numerator.mean() / denominator.mean()
    return widened(ratio, [above, below], [freedom_above, freedom_below], confidence)


def _resampled(side: Sample, seed: int) -> tuple[NDArray[Any], float]:
    """Resampled logarithms of the mean, less the logarithm of the mean; degrees of freedom."""
    np = require("numpy", "reports")
    total = np.zeros(RESAMPLES)
    freedom = 0.0
    for index, (times, mean) in enumerate(zip(side.series, side.values, strict=True)):
        series = np.array(times) * (mean / (math.fsum(times) / len(times)))
        count = len(series)
        # Few batches hide their correlation, so blocks are never shorter than that.
        length = max(block_length(series), math.ceil(count ** (1 / 3)), math.ceil(count / 1000))
        blocks = math.ceil(count / length)
        ends = np.concatenate([[0.0], np.concatenate([series, series[: length - 1]]).cumsum()])
        sums = ends[length:] - ends[:-length]
        # Seeded, so that the same logs give the same interval; differently on both sides, which are drawn independently.
        starts = np.random.default_rng((seed, count, index)).integers(count, size=(RESAMPLES, blocks))
        spread = sums[starts].mean(axis=1) / length - series.mean()
        total += spread * math.sqrt(blocks * length / max(1, count - length))
        freedom += max(1.0, count / length - 1)
    return np.log(np.maximum(1e-9, 1 + total / side.runs / side.mean())), freedom


def block_length(series: NDArray[Any]) -> int:
    """Length of blocks that suits the correlation in a series (Politis and White 2004, corrected by Patton et al. 2009)."""
    np = require("numpy", "reports")
    count = len(series)
    centred = series - series.mean()
    variance = float((centred**2).mean())
    if variance <= 1e-18 * float(series.mean()) ** 2:
        return 1
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    lags = min(math.ceil(math.sqrt(count)) + run, count - 1)
    covariance = np.array([float((centred[lag:] * centred[: count - lag]).sum()) / count for lag in range(lags + 1)])
    is_large = np.abs(covariance[1:] / variance) >= 2 * math.sqrt(math.log10(count) / count)
    last = next((lag for lag in range(lags - run + 1) if not is_large[lag : lag + run].any()), None)
    if last is None:
        last = int(np.flatnonzero(is_large).max()) + 1
    width = min(2 * last, lags)
    if width == 0:
        return 1
    lag = np.arange(1, width + 1)
    weight = np.minimum(1.0, 2 * (1 - lag / width)) * covariance[1 : width + 1]
    spectrum = variance + 2 * float(weight.sum())
    if spectrum <= 0.0:
        return 1
    optimal = (2 * (2 * float((weight * lag).sum())) ** 2 / (4 / 3 * spectrum**2)) ** (1 / 3) * count ** (1 / 3)
    return int(max(1, min(math.ceil(count / 3), round(optimal))))
