"""Ratio of two sides measured in rounds, by signed ranks: changes between rounds that affect both sides cancel out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from dlbs.results.statistics.intervals import Interval

__all__ = ["is_enough", "signed_rank_interval"]


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
    depth, outside = _depth(len(logs), (1 - confidence) / 2)
    if depth == 0:
        return None
    means = sorted((logs[at] + other) / 2 for at in range(len(logs)) for other in logs[at:])
    count = len(means)
    ratio = (means[(count - 1) // 2] + means[count // 2]) / 2
    low, high = means[depth - 1], means[-depth]
    return math.exp(ratio), Interval(math.exp(low), math.exp(high), 1 - 2 * outside, "signed ranks")


@functools.lru_cache(maxsize=4096)
def _depth(rounds: int, tail: float) -> tuple[int, float]:
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
