"""Confidence intervals of a ratio that are valid after every round of runs (sequential analysis).

An ordinary interval that is checked repeatedly until it excludes 1 will exclude it eventually, even without a difference: twenty checks of 95 %
intervals of the same code end in a false verdict in one of five cases. Here, each look has a separate level, so that all looks together, without
a limit, have the promised error (repeated confidence intervals, Jennison and Turnbull 1989). Any stopping rule is allowed.

Two intervals share the error: one of all runs, which detects a large difference after five, and one of the ratios within rounds, which is narrower
if the machine changes between rounds. Since both hold simultaneously, the narrower one may be used. docs/statistics.md has the reasons for this
procedure, and simulations.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from dlbs.results.statistics.ratio import Interval, PairRatio, pairs_interval, rank_interval

FIRST_LOOK = 5  # runs per side; with fewer, even completely separated runs are too likely by chance
# Share of the error for the interval of all runs, if there is one of rounds too: with less, one pair could not be decided after five rounds.
_OF_ALL_RUNS = 0.55
_TOO_MANY = 1000  # runs per side beyond which no estimate is given


def look_level(runs: float, error: float) -> float:
    """Error of one look, so that all looks from five runs per side on have a total error of at most `error`.

    Under the null hypothesis, the standardised rank statistic is nearly a stationary process in the logarithm of the number of runs, so errors
    accumulate over that logarithm. They are distributed as 1 / (1 + ln(n / 5))^2, whose sum is finite, so there is no last look. The divisor was
    determined numerically: the probability that a random walk ever crosses these bounds, by recursion (Armitage, McPherson and Rowe 1969).

    Args:
        runs: Number of runs per side; the harmonic mean if they differ, which corresponds to their information.
        error: Error of all looks together.
    """
    divisor = 3.2 + 0.32 * math.log(0.05 / error)
    return error / divisor / (1 + math.log(max(runs, FIRST_LOOK) / FIRST_LOOK)) ** 2


@dataclass(frozen=True, slots=True)
class Rounds:
    """Values of rounds in which both sides have one.

    Attributes:
        numerator: Positive values, one per round.
        denominator: Positive values of the same rounds.
    """

    numerator: Sequence[float] = ()
    denominator: Sequence[float] = ()


def can_tell(first: int, second: int, error: float, rounds: int | None = None) -> bool:
    """Whether these numbers of runs can give a verdict: if all runs of one side are faster than all of the other.

    Args:
        first: Number of runs on one side.
        second: Number of runs on the other.
        error: Error of all looks together.
        rounds: Number of rounds in which both sides have a value; None if ratios within rounds are not used.
    """
    of_runs, of_rounds = _shares(error, rounds is not None)
    if rounds is not None and rounds >= FIRST_LOOK and is_enough(rounds, look_level(rounds, of_rounds)):
        return True
    if min(first, second) < FIRST_LOOK:
        return False
    by_chance = 2 / math.comb(first + second, first)  # probability of complete separation of the sides
    return by_chance <= look_level(_information(first, second), of_runs)


def first_look(error: float, *, in_rounds: bool) -> int:
    """Smallest number of runs per side that can give a verdict."""
    runs = FIRST_LOOK
    while not can_tell(runs, runs, error, runs if in_rounds else None):
        runs += 1
    return runs


def repeated_interval(
    numerator: Sequence[float],
    denominator: Sequence[float],
    error: float,
    confidence: float,
    rounds: Rounds | None = None,
) -> tuple[float, Interval | None]:
    """Hodges-Lehmann ratio with its interval at this look: that of all runs, or that of rounds if it is narrower.

    The bounds are those of the Mann-Whitney test and of Wilcoxon's signed-rank test, and distribution-free. With too few runs for both, there is
    no interval; other methods are not used.

    Args:
        numerator: Positive values, one per run, all runs so far.
        denominator: Positive values.
        error: Error of all looks together.
        confidence: Confidence level for the label of the interval: that of all looks of all comparisons together.
        rounds: The runs by rounds; None if ratios within rounds must not be used, because the sides have unequal numbers of runs in a round. This
            choice must not depend on the results.
    """
    first, second = len(numerator), len(denominator)
    of_runs, of_rounds = _shares(error, rounds is not None)
    found: list[tuple[float, Interval]] = []
    if can_tell(first, second, of_runs):
        found.append(rank_interval(numerator, denominator, 1 - look_level(_information(first, second), of_runs)))
    if rounds is not None and (count := len(rounds.numerator)) >= FIRST_LOOK:
        by_rounds = signed_rank_interval(rounds.numerator, rounds.denominator, 1 - look_level(count, of_rounds))
        found += [by_rounds] if by_rounds is not None else []
    if not found:
        return _ratio(numerator, denominator), None
    ratio, interval = min(found, key=lambda one: one[1].high / one[1].low)
    return ratio, replace(interval, confidence=confidence)


def repeated_pairs_interval(
    pairs: Sequence[PairRatio], error: float, confidence: float
) -> tuple[float, Interval | None]:
    """Ratio of pairs of processes that took turns, with its interval at this look: Student's, from the fifth pair on.

    Args:
        pairs: At least one.
        error: Error of all looks together.
        confidence: Confidence level for the label of the interval: that of all looks of all comparisons together.
    """
    if len(pairs) < FIRST_LOOK:
        return math.exp(statistics.fmean(pair.log for pair in pairs)), None
    ratio, interval = pairs_interval(pairs, 1 - look_level(len(pairs), error))
    return ratio, replace(interval, confidence=confidence)


def needed_runs(ratio: float, interval: Interval, threshold: float, runs: float, error: float) -> int | None:
    """Estimate the number of runs per side for a verdict if ratio and noise do not change.

    Args:
        ratio: Ratio after these runs.
        interval: Its interval at this look.
        threshold: Largest relative difference that counts as the same.
        runs: Number of runs per side so far.
        error: Error of all looks together.

    Returns:
        None if the ratio is too close to the threshold for a reasonable number.
    """
    low, high = 1 - threshold, 1 + threshold
    # The largest share of its width that each half of the interval may keep.
    above, below = interval.high - ratio, ratio - interval.low
    if ratio > high:
        share = _share(ratio - high, below)
    elif ratio < low:
        share = _share(low - ratio, above)
    else:
        share = min(_share(high - ratio, above), _share(ratio - low, below))
    width = _width(runs, error)
    needed = math.floor(runs) + 1
    while needed <= _TOO_MANY:
        if _width(needed, error) <= share * width:
            return needed
        needed += 1
    return None


def _shares(error: float, in_rounds: bool) -> tuple[float, float]:
    """Errors of the interval of all runs and of that of rounds."""
    return (_OF_ALL_RUNS * error, (1 - _OF_ALL_RUNS) * error) if in_rounds else (error, 0.0)


def _information(first: int, second: int) -> float:
    """Runs per side of a balanced comparison with the same information."""
    return 2 * first * second / (first + second)


def _ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    logarithms = sorted(math.log(above / below) for above in numerator for below in denominator)
    count = len(logarithms)
    return math.exp((logarithms[(count - 1) // 2] + logarithms[count // 2]) / 2)


def _share(distance: float, half: float) -> float:
    return distance / half if half > 0 else math.inf


def _width(runs: float, error: float) -> float:
    """Width of an interval at this look, up to a factor."""
    return -NormalDist().inv_cdf(look_level(runs, error) / 2) / math.sqrt(runs)


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
