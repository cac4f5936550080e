"""The circular block bootstrap of a series that commit 8c0f0d6 used for single runs, for comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "block_length", "block_resampled"]

RESAMPLES = 4000


def block_resampled(series: NDArray[Any], seed: tuple[int, ...]) -> tuple[NDArray[Any], float]:
    """Resampled means less the mean (Politis and Romano 1992), and degrees of freedom: the number of blocks less one."""
    count = len(series)
    # Few batches hide their correlation, so blocks are never shorter than that.
    length = max(block_length(series), math.ceil(count ** (1 / 3)), math.ceil(count / 1000))
    blocks = math.ceil(count / length)
    ends = np.concatenate([[0.0], np.concatenate([series, series[: length - 1]]).cumsum()])
    sums = ends[length:] - ends[:-length]
    starts = np.random.Generator(np.random.PCG64(seed)).integers(count, size=(RESAMPLES, blocks))
    spread = sums[starts].mean(axis=1) / length - series.mean()
    return spread * math.sqrt(blocks * length / max(1, count - length)), max(1.0, count / length - 1)


def block_length(series: NDArray[Any]) -> int:
    """Length of blocks that suits the correlation in a series (Politis and White 2004, corrected by Patton et al. 2009)."""
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
