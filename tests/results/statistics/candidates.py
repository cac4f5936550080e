"""Estimators of the ratio of two sides that were tried beside those of the program, and the one that it had at commit 8c0f0d6."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark_core.intervals import student_quantile
from dlbs.results.statistics.ratio import FEWEST_BATCHES, FEWEST_RUNS, Interval, Sample, rank_interval, welch_freedom
from tests.results.statistics.block_bootstrap import RESAMPLES, block_resampled

__all__ = ["CANDIDATES", "Values", "mean_of_8c0f0d6"]

# The value of a run from its time for each instance and its batch times; the interval of the ratio of two sides.
Values = Callable[[float, Sequence[float]], float]
Ratio = Callable[[Sequence[float], Sequence[float]], Interval]

_BLOCK = 10  # batches
_TRIMMED = 0.2  # on each side
_QUANTILE = 0.25  # disturbances only make runs slower


def mean_of_8c0f0d6(above: Sample, below: Sample) -> Interval | None:
    """The ratio of the means: runs are drawn with replacement, and batches in blocks where there are fewer than three runs."""
    sides = (above, below)
    if all(side.runs >= FEWEST_RUNS for side in sides):
        return _widened([_mean(side.values, seed) for seed, side in enumerate(sides)], above.mean() / below.mean())
    if any(len(times) < FEWEST_BATCHES for side in sides for times in side.series):
        return None
    drawn = []
    for seed, side in enumerate(sides):
        spread, freedom = np.zeros(RESAMPLES), 0.0
        for index, (times, mean) in enumerate(zip(side.series, side.values, strict=True)):
            series = np.array(times) * (mean / (math.fsum(times) / len(times)))
            one, free = block_resampled(series, (seed, len(times), index))
            spread, freedom = spread + one / side.runs, freedom + free
        drawn.append((np.log(np.maximum(1e-9, 1 + spread / side.mean())), freedom))
    return _widened(drawn, above.mean() / below.mean())


def _mean(values: Sequence[float], seed: int) -> tuple[NDArray[Any], float]:
    count = len(values)
    logs = np.log(_shares(count, seed) @ np.array(values) / statistics.fmean(values))
    return logs * math.sqrt(count / (count - 1)), count - 1.0


@functools.cache
def _shares(count: int, seed: int) -> NDArray[Any]:
    """The share of each run in each of the resampled means; the same draws for all comparisons of so many runs."""
    drawn = np.random.Generator(np.random.PCG64((seed, count))).integers(count, size=(RESAMPLES, count))
    return np.stack([(drawn == run).mean(axis=1) for run in range(count)], axis=1)


def _widened(drawn: Sequence[tuple[NDArray[Any], float]], ratio: float) -> Interval:
    (above, freedom_above), (below, freedom_below) = drawn
    variances = [float(above.var()), float(below.var())]
    if sum(variances) == 0.0:
        return Interval(ratio, ratio, 0.95)
    widening = student_quantile(0.975, welch_freedom(variances, [freedom_above, freedom_below])) / 1.959964
    low, high = (float(bound) * widening for bound in np.quantile(above - below, [0.025, 0.975]))
    return Interval(ratio * math.exp(low), ratio * math.exp(high), 0.95)


def _mean_time(time: float, _: Sequence[float]) -> float:
    return time


def _median_of_block_medians(time: float, batches: Sequence[float]) -> float:
    """In the unit of the run's time."""
    blocks = [batches[at : at + _BLOCK] for at in range(0, len(batches), _BLOCK)]
    middle = statistics.median(statistics.median(block) for block in blocks)
    return time * middle / statistics.fmean(batches)


def _lower_quartile_of_batches(time: float, batches: Sequence[float]) -> float:
    return time * float(np.quantile(np.array(batches), _QUANTILE)) / statistics.fmean(batches)


def _ranks(above: Sequence[float], below: Sequence[float]) -> Interval:
    return rank_interval(above, below)[1]


def _means(above: Sequence[float], below: Sequence[float]) -> Interval:
    drawn = [_mean(side, seed) for seed, side in enumerate((above, below))]
    return _widened(drawn, statistics.fmean(above) / statistics.fmean(below))


def _by(location: Callable[[NDArray[Any]], tuple[float, float, float]]) -> Ratio:
    """Student's interval from a function that estimates location, its variance and degrees of freedom, of sorted logarithms."""

    def interval(above: Sequence[float], below: Sequence[float]) -> Interval:
        found = [location(np.sort(np.log(np.array(side)))) for side in (above, below)]
        difference = found[0][0] - found[1][0]
        variances = [one[1] for one in found]
        if sum(variances) == 0.0:
            return Interval(math.exp(difference), math.exp(difference), 0.95)
        half = student_quantile(0.975, welch_freedom(variances, [one[2] for one in found])) * math.sqrt(sum(variances))
        return Interval(math.exp(difference - half), math.exp(difference + half), 0.95)

    return interval


def _trimmed(values: NDArray[Any]) -> tuple[float, float, float]:
    """The trimmed mean with its winsorised variance (Yuen 1974)."""
    count = len(values)
    cut = math.floor(_TRIMMED * count)
    kept = count - 2 * cut
    winsorised = values.clip(values[cut], values[count - 1 - cut])
    variance = (count - 1) * float(winsorised.var(ddof=1)) / (kept * (kept - 1))
    return float(values[cut : count - cut].mean()), variance, kept - 1.0


def _median(values: NDArray[Any]) -> tuple[float, float, float]:
    """The median with its standard error from two order statistics (Price and Bonett 2001)."""
    count = len(values)
    depth = max(1, round((count + 1) / 2 - math.sqrt(count)))
    outside = sum(math.comb(count, at) for at in range(depth)) / 2**count
    error = float(values[count - depth] - values[depth - 1]) / (2 * statistics.NormalDist().inv_cdf(1 - outside))
    return float(np.median(values)), error**2, count - 1.0


def _quartile(values: NDArray[Any]) -> tuple[float, float, float]:
    """The lower quartile (Harrell and Davis 1982) with its standard error (after Maritz and Jarrett 1978)."""
    from scipy.special import betainc  # here, because every process of pytest imports this file

    count = len(values)
    edges = betainc((count + 1) * _QUANTILE, (count + 1) * (1 - _QUANTILE), np.arange(count + 1) / count)
    weights = np.diff(edges)
    middle = float(weights @ values)
    return middle, float(weights @ (values - middle) ** 2), count - 1.0


CANDIDATES: dict[str, tuple[Values, Ratio]] = {
    "mean": (_mean_time, _means),
    "rank": (_mean_time, _ranks),
    "trimmed mean": (_mean_time, _by(_trimmed)),
    "quantile ratio": (_mean_time, _by(_quartile)),
    "median of block medians": (_median_of_block_medians, _by(_median)),
    "rank of block medians": (_median_of_block_medians, _ranks),
    "rank of lower quartiles of batches": (_lower_quartile_of_batches, _ranks),
}
