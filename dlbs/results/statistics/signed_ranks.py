"""The ratio of two sides that were measured in rounds, by signed ranks: what changes from round to round, on both sides alike, cancels out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from dlbs.results.statistics.intervals import Interval

__all__ = ["is_enough", "signed_rank_interval"]


def is_enough(rounds: int, error: float) -> bool:
    """Whether so many rounds can come to an interval: if one side is the faster one in all of them."""
    return math.ldexp(1.0, 1 - rounds) <= error


def signed_rank_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float
) -> tuple[float, Interval] | None:
    """The Hodges-Lehmann ratio of pairs: the median of the means of two rounds' log ratios, with the bounds of Wilcoxon's signed-rank test (1945).

    The interval holds what it promises if exchanging the two runs of a round would change nothing but the side, however rounds differ and depend on each
    other.

    Args:
        numerator: Positive values, one a round.
        denominator: Those of the same rounds.
        confidence: The least confidence of the interval.

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
    """How many means lie outside each bound of the interval, the bound included, and the chance that the true ratio does."""
    depth, outside = 0, 0
    for count in _counts(rounds):
        if outside + count > tail * 2**rounds:
            break
        outside += count
        depth += 1
    return depth, outside / 2**rounds


@functools.lru_cache(maxsize=64)
def _counts(rounds: int) -> tuple[int, ...]:
    """In how many of all 2^n ways to choose signs the ranks of one sign add up to 0, 1, ..., as far as the middle."""
    most = rounds * (rounds + 1) // 4
    counts = [1] + [0] * most
    for rank in range(1, rounds + 1):
        for at in range(most, rank - 1, -1):
            counts[at] += counts[at - rank]
    return tuple(counts)
