"""Confidence intervals from ranks: of a median, of a ratio of two sides, and of paired rounds."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmark_core.intervals import student_quantile


def welch_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a difference with these variances of its sides (Welch 1947)."""
    parts = [variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True)]
    return sum(variances) ** 2 / sum(parts)


def welch_interval(first: Sequence[float], second: Sequence[float], confidence: float) -> Interval:
    """Confidence interval of the difference of two means with unequal variances.

    Args:
        first: At least two values.
        second: At least two values.
        confidence: Confidence level of the interval.
    """
    difference = statistics.fmean(first) - statistics.fmean(second)
    variances = [statistics.variance(side) / len(side) for side in (first, second)]
    if sum(variances) == 0.0:
        return Interval(difference, difference, confidence)
    freedom = welch_freedom(variances, [len(first) - 1, len(second) - 1])
    half = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(sum(variances))
    return Interval(difference - half, difference + half, confidence)


# Methods for the interval of a ratio of runs.
METHODS = {
    "signed ranks": "bounds of Wilcoxon's signed-rank test",
    "ranks": "bounds of the Mann-Whitney test",
    "student": "Student's t (Welch) of the logarithms, because ranks of so few runs cannot reach the confidence level",
    "bootstrap": "bootstrap over runs",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        confidence: Share of repetitions in which such an interval contains the true value.
        method: Method of the interval of a ratio, a key of `METHODS`; empty for other intervals.
        depth: Number of sorted values outside each bound of the interval of a median.
    """

    low: float
    high: float
    confidence: float
    method: str = field(default="", compare=False)
    depth: int = field(default=0, compare=False)


_LARGEST = 700.0  # logarithm of a factor; the exponential of a much larger one is not a floating-point number


def factor(logarithm: float) -> float:
    """Exponential of a bound, limited in size: a few runs that differ by orders of magnitude have bounds beyond floating-point numbers."""
    return math.exp(max(-_LARGEST, min(logarithm, _LARGEST)))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Confidence interval of the median from order statistics, exact for any distribution (Thompson 1936).

    With fewer than six values, even the whole range does not reach 95 %; then the result is the range with its lower confidence level.

    Returns:
        None for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    depth, outside = _median_depth(count, 1 - confidence)
    return Interval(ordered[depth], ordered[count - 1 - depth], 1 - outside, depth=depth)


@functools.lru_cache(maxsize=4096)
def _median_depth(count: int, error: float) -> tuple[int, float]:
    """Number of values outside each bound of the interval of a median, and the probability that the median is outside."""
    # Integers: beyond 1,000 values, the binomials exceed floating-point numbers, and the probabilities are smaller than any.
    halves = 2 ** (count - 1)
    depth, outside, binomial = 0, 1, 1
    while True:
        binomial = binomial * (count - depth) // (depth + 1)
        if (outside + binomial) / halves > error:
            return depth, outside / halves
        outside += binomial
        depth += 1


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


def is_enough(rounds: int, error: float) -> bool:
    """Whether this number of rounds can give an interval: if one side is faster in all of them."""
    return math.ldexp(1.0, 1 - rounds) <= error


def signed_rank_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float
) -> tuple[float, Interval] | None:
    """Hodges-Lehmann ratio of pairs: the median of the means of two rounds' log ratios, with the bounds of Wilcoxon's signed-rank test (1945).

    The coverage is guaranteed if the two runs of a round are exchangeable except for the side, however rounds differ and depend on each other.

    Args:
        numerator: Positive values, one per round.
        denominator: Positive values of the same rounds.
        confidence: Minimum confidence level of the interval.

    Returns:
        None for too few rounds.
    """
    logs = [math.log(above / below) for above, below in zip(numerator, denominator, strict=True)]
    depth, outside = _signed_depth(len(logs), (1 - confidence) / 2)
    if depth == 0:
        return None
    means = sorted((logs[at] + other) / 2 for at in range(len(logs)) for other in logs[at:])
    count = len(means)
    ratio = (means[(count - 1) // 2] + means[count // 2]) / 2
    low, high = means[depth - 1], means[-depth]
    return math.exp(ratio), Interval(math.exp(low), math.exp(high), 1 - 2 * outside, "signed ranks")


@functools.lru_cache(maxsize=4096)
def _signed_depth(rounds: int, tail: float) -> tuple[int, float]:
    """Number of means outside each bound of the interval, including the bound, and the probability that the true ratio is outside."""
    depth, outside = 0, 0
    for count in _counts(rounds):
        if (outside + count) / 2**rounds > tail:
            break
        outside += count
        depth += 1
    return depth, outside / 2**rounds


@functools.lru_cache(maxsize=64)
def _counts(rounds: int) -> tuple[int, ...]:
    """Numbers of the 2^n choices of signs for which the ranks of one sign sum to 0, 1, ..., up to the middle."""
    most = rounds * (rounds + 1) // 4
    counts = [1] + [0] * most
    for rank in range(1, rounds + 1):
        for at in range(most, rank - 1, -1):
            counts[at] += counts[at - rank]
    return tuple(counts)
