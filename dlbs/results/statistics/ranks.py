"""Ratio of two sides by ranks: robust to outliers, with a distribution-free interval."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

from dlbs.results.statistics.intervals import Interval, factor
from dlbs.results.statistics.student import welch_interval

__all__ = ["rank_interval"]

_MOST_EXACT = 2500  # pairs; beyond, the normal approximation of U is accurate enough


def rank_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Hodges-Lehmann ratio: the median of the ratios of all pairs, with the bounds of the Mann-Whitney test (Hodges and Lehmann 1963).

    The bounds are two of these ratios, and the coverage is guaranteed for any distribution. If there are so few runs that even the range of all
    ratios does not reach the confidence level (three on each side: 90 %), it is Student's interval of the logarithms, widened to contain the ratio.

    Args:
        numerator: Positive values, one per run.
        denominator: Positive values.
        confidence: Minimum confidence level; ranks have discrete levels, so the actual one is usually higher.

    Raises:
        LogError: scipy is needed, for few runs, and not installed.
    """
    ratios = sorted(above / below for above in numerator for below in denominator)
    # For an even number, the geometric mean of the middle two: then the ratio of B to A is the inverse of that of A to B.
    middle = ratios[(len(ratios) - 1) // 2 : len(ratios) // 2 + 1]
    ratio = math.exp(statistics.fmean(map(math.log, middle)))
    depth, outside = _depth(len(numerator), len(denominator), (1 - confidence) / 2)
    if depth == 0:
        found = welch_interval(list(map(math.log, numerator)), list(map(math.log, denominator)), confidence)
        low, high = factor(found.low), factor(found.high)
        return ratio, Interval(min(low, ratio), max(high, ratio), confidence, "student")
    return ratio, Interval(ratios[depth - 1], ratios[-depth], 1 - 2 * outside, "ranks")


@functools.lru_cache(maxsize=4096)
def _depth(first: int, second: int, tail: float) -> tuple[int, float]:
    """Number of ratios outside each bound of the interval, including the bound, and the probability that the true ratio is outside.

    It is the quantile of Mann and Whitney's U; scipy has the test, but not the quantiles of its statistic.
    """
    pairs = first * second
    if pairs > _MOST_EXACT:
        spread = math.sqrt(pairs * (first + second + 1) / 12)
        normal = statistics.NormalDist(pairs / 2, spread)
        depth = math.floor(normal.inv_cdf(tail) + 0.5)
        return max(0, depth), normal.cdf(depth - 0.5)
    # Numbers of arrangements of the runs with U = 0, 1, ...: the coefficients of a Gaussian binomial.
    counts = [1] + [0] * (pairs // 2)
    for step in range(1, second + 1):
        for at in range(len(counts) - 1, first + step - 1, -1):
            counts[at] -= counts[at - first - step]
        for at in range(step, len(counts)):
            counts[at] += counts[at - step]
    arrangements = math.comb(first + second, second)
    depth, outside = 0, 0
    while depth < len(counts) and (outside + counts[depth]) / arrangements <= tail * (
        1 + 1e-9
    ):  # with tolerance: three runs on each side reach exactly 1/20 (90 %)
        outside += counts[depth]
        depth += 1
    return depth, outside / arrangements
