"""How sure a number is: intervals of medians, and of the ratio of two means whose values vary or depend on each other.

docs/statistics.md says why these methods, and what simulations showed of them. numpy is imported where it is used: tables of medians do not need it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from dlbs.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Interval", "Sample", "median_interval", "ratio_interval", "student_quantile"]

RESAMPLES = 4000

FEWEST_RUNS = 3  # two runs say next to nothing of how much runs vary

FEWEST_BATCHES = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        confidence: Share of repetitions in which an interval made like this holds the true value.
    """

    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Interval of the median from order statistics: exact whatever the distribution (Thompson 1936).

    With fewer than six values even the whole range falls short of 95 %; then the range is given with the confidence that it has.

    Returns:
        None for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    tail = 0.5**count  # chance that all values lie on one side of the median
    depth = 0
    while True:
        further = tail + math.comb(count, depth + 1) * 0.5**count
        if 2 * further > 1 - confidence:
            break
        tail, depth = further, depth + 1
    return Interval(ordered[depth], ordered[count - 1 - depth], 1 - 2 * tail)


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one side of a comparison.

    Attributes:
        series: One series of values for each run: batch times in their order, or a single value.
        scale: What the mean value of a run is multiplied with, a number for each run; 1 unless runs count other things.
    """

    series: tuple[tuple[float, ...], ...]
    scale: tuple[float, ...] = ()

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.series)

    def means(self) -> list[float]:
        """The mean of each run."""
        scale = self.scale or (1.0,) * self.runs
        return [factor * math.fsum(values) / len(values) for values, factor in zip(self.series, scale, strict=True)]

    def mean(self) -> float:
        """The mean of the runs' means."""
        return math.fsum(self.means()) / self.runs


def ratio_interval(numerator: Sample, denominator: Sample, confidence: float = 0.95) -> tuple[Interval | None, str]:
    """Interval of the ratio of two means, and what it was made from: `runs`, `batches`, or nothing.

    With three runs on each side or more, runs are resampled: how much one run differs from the next is what counts. With fewer, batches within runs
    are, in blocks (Politis and Romano 1992), since a batch's time depends on those before it; such an interval knows nothing of how runs differ.
    The spread of the logarithm is widened as Student's distribution is wider than the normal one, with Welch's degrees of freedom.

    Raises:
        LogError: numpy is not installed.
    """
    np = require("numpy", "reports")
    sides = (numerator, denominator)
    if any(min(side.means(), default=0.0) <= 0 for side in sides):
        return None, ""
    if all(side.runs >= FEWEST_RUNS for side in sides):
        resampled = [_resampled_runs(np.array(side.means()), seed) for seed, side in enumerate(sides)]
        source = "runs"
    elif all(len(values) >= FEWEST_BATCHES for side in sides for values in side.series):
        resampled = [_resampled_batches(side, seed) for seed, side in enumerate(sides)]
        source = "batches"
    else:
        return None, ""
    (above, freedom_above), (below, freedom_below) = resampled
    spread = above - below
    variances = float(above.var()), float(below.var())
    total = sum(variances)
    ratio = numerator.mean() / denominator.mean()
    if total == 0.0:
        return Interval(ratio, ratio, confidence), source
    freedom = total**2 / (variances[0] ** 2 / freedom_above + variances[1] ** 2 / freedom_below)
    tail = (1 - confidence) / 2
    widening = student_quantile(1 - tail, freedom) / NormalDist().inv_cdf(1 - tail)
    low, high = (float(bound) * widening for bound in np.quantile(spread, [tail, 1 - tail]))
    return Interval(ratio * math.exp(low), ratio * math.exp(high), confidence), source


def _resampled_runs(means: NDArray[Any], seed: int) -> tuple[NDArray[Any], float]:
    """Resampled logarithms of the mean, less the logarithm of the mean, with the right variance; degrees of freedom."""
    np = require("numpy", "reports")
    count = len(means)
    drawn = means[_generator(seed, count).integers(count, size=(RESAMPLES, count))].mean(axis=1)
    # Resampling n values spreads as if the variance were divided by n, not n - 1.
    return np.log(drawn / means.mean()) * math.sqrt(count / (count - 1)), count - 1.0


def _resampled_batches(side: Sample, seed: int) -> tuple[NDArray[Any], float]:
    np = require("numpy", "reports")
    total = np.zeros(RESAMPLES)
    freedom = 0.0
    for index, (values, mean) in enumerate(zip(side.series, side.means(), strict=True)):
        series = np.array(values) * (mean / (math.fsum(values) / len(values)))
        count = len(series)
        # Few batches hide their correlation, so blocks are never shorter than that.
        length = max(block_length(series), math.ceil(count ** (1 / 3)), math.ceil(count / 1000))
        blocks = math.ceil(count / length)
        ends = np.concatenate([[0.0], np.concatenate([series, series[: length - 1]]).cumsum()])
        sums = ends[length:] - ends[:-length]
        starts = _generator(seed, count, index).integers(count, size=(RESAMPLES, blocks))
        spread = sums[starts].mean(axis=1) / length - series.mean()
        total += spread * math.sqrt(blocks * length / max(1, count - length))
        freedom += max(1.0, count / length - 1)
    mean = side.mean()
    return np.log(np.maximum(1e-9, 1 + total / side.runs / mean)), freedom


def _generator(*seeds: int) -> Any:
    """Seeded, so that the same logs give the same interval; differently on both sides, which are drawn independently."""
    np = require("numpy", "reports")
    return np.random.Generator(np.random.PCG64(seeds))


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


@functools.lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution for a probability above one half (Hill 1970, algorithm 396).

    Exact for one and two degrees of freedom, else within a thousandth for probabilities up to 0.9999.
    """
    tails = 2 * (1 - probability)
    freedom = max(1.0, freedom)
    if freedom < 1.5:
        return math.cos(tails * math.pi / 2) / math.sin(tails * math.pi / 2)
    if freedom < 2.5:
        return math.sqrt(2 / (tails * (2 - tails)) - 2)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * tails) ** (2 / freedom)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(1 - tails / 2)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = a * y**2
        y = math.expm1(y) if y > 0.002 else 0.5 * y**2 + y
    else:
        y = (
            (1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3) + 0.5 / (freedom + 4)) * y
            - 1
        ) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)
