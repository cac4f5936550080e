"""Look at a ratio after each round of runs, as often as one likes: intervals that all hold together.

An interval that is looked at again and again until it excludes 1 excludes it sooner or later, whatever the truth is: twenty looks at 95 %
intervals of the same code end in a false verdict every fifth time. Here each look gets a level of its own, and all looks together, without an end,
are wrong no more often than promised (repeated confidence intervals, Jennison and Turnbull 1989). Any rule may decide when to stop.

Two intervals share the error: one of all runs, which tells a large difference after five, and one of the ratios within rounds, which is narrower where
the machine changes from round to round. Since both hold together, the narrower one may be taken. docs/statistics.md says why it is this procedure, and
what simulations showed of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.ranks import rank_interval
from dlbs.results.statistics.signed_ranks import is_enough, signed_rank_interval

__all__ = ["Rounds", "can_tell", "first_look", "look_level", "needed_runs", "repeated_interval"]

_FIRST = 5  # runs a side; with fewer, even runs that do not overlap at all happen too often by chance
# The share of the error that is spent on the interval of all runs, where there is one of rounds too: with less, one pair could not be decided after
# five rounds.
_OF_ALL_RUNS = 0.55
_TOO_MANY = 1000  # runs a side that nobody waits for


def look_level(runs: float, error: float) -> float:
    """The error of one look, so that all looks from five runs a side on are wrong with a probability of at most `error` together.

    Under the null hypothesis, the rank statistic over its standard deviation is nearly a stationary process in the logarithm of the number of runs, so
    errors add up over that logarithm. They are spread as 1 / (1 + ln(n / 5))^2, whose sum is finite: there is no last look. The divisor was found
    numerically: the probability that a random walk ever crosses these bounds, by recursion (Armitage, McPherson and Rowe 1969).

    Args:
        runs: On each side; the harmonic mean if they differ, which is their information.
        error: Of all looks together.
    """
    divisor = 3.2 + 0.32 * math.log(0.05 / error)
    return error / divisor / (1 + math.log(max(runs, _FIRST) / _FIRST)) ** 2


@dataclass(frozen=True, slots=True)
class Rounds:
    """The values of those rounds in which both sides have one.

    Attributes:
        numerator: Positive values, one a round.
        denominator: Those of the same rounds.
    """

    numerator: Sequence[float] = ()
    denominator: Sequence[float] = ()


def can_tell(first: int, second: int, error: float, rounds: int | None = None) -> bool:
    """Whether so many runs on the two sides can come to a verdict: if all runs of one side are faster than all of the other.

    Args:
        first: Runs on one side.
        second: Runs on the other.
        error: Of all looks together.
        rounds: In which both sides have a value; None if ratios within rounds are not looked at.
    """
    of_runs, of_rounds = _shares(error, rounds is not None)
    if rounds is not None and rounds >= _FIRST and is_enough(rounds, look_level(rounds, of_rounds)):
        return True
    if min(first, second) < _FIRST:
        return False
    by_chance = 2 / math.comb(first + second, first)  # that no run of one side lies among those of the other
    return by_chance <= look_level(_information(first, second), of_runs)


def first_look(error: float, *, in_rounds: bool) -> int:
    """The least number of runs a side that can come to a verdict."""
    runs = _FIRST
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
    """The Hodges-Lehmann ratio with its interval at this look: that of all runs, or that of rounds where it is narrower.

    The bounds are those of the Mann-Whitney test and of Wilcoxon's signed-rank test, and assume no distribution. With too few runs for both there is no
    interval, not another method.

    Args:
        numerator: Positive values, one a run, all runs so far.
        denominator: Positive values.
        error: Of all looks together.
        confidence: What the interval is labelled with: that of all looks of all comparisons together.
        rounds: The runs by rounds; None if ratios within rounds must not be looked at, because the sides have unequal numbers of runs in a round. It
            must not depend on the results.
    """
    first, second = len(numerator), len(denominator)
    of_runs, of_rounds = _shares(error, rounds is not None)
    found: list[tuple[float, Interval]] = []
    if can_tell(first, second, of_runs):
        found.append(rank_interval(numerator, denominator, 1 - look_level(_information(first, second), of_runs)))
    if rounds is not None and (count := len(rounds.numerator)) >= _FIRST:
        by_rounds = signed_rank_interval(rounds.numerator, rounds.denominator, 1 - look_level(count, of_rounds))
        found += [by_rounds] if by_rounds is not None else []
    if not found:
        return _ratio(numerator, denominator), None
    ratio, interval = min(found, key=lambda one: one[1].high / one[1].low)
    return ratio, replace(interval, confidence=confidence)


def needed_runs(ratio: float, interval: Interval, threshold: float, runs: float, error: float) -> int | None:
    """How many runs a side would come to a verdict, if the ratio and the noise stay as they are.

    Args:
        ratio: After so many runs.
        interval: At this look.
        threshold: Share by which a ratio may differ from 1 and count as the same.
        runs: On each side so far.
        error: Of all looks together.

    Returns:
        None if it is too close to the threshold for a reasonable number.
    """
    low, high = 1 - threshold, 1 + threshold
    # The share of its width that each half of the interval may have at most.
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
    """The errors of the interval of all runs and of that of rounds."""
    return (_OF_ALL_RUNS * error, (1 - _OF_ALL_RUNS) * error) if in_rounds else (error, 0.0)


def _information(first: int, second: int) -> float:
    """The runs a side of an equal comparison that says as much."""
    return 2 * first * second / (first + second)


def _ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    logarithms = sorted(math.log(above / below) for above in numerator for below in denominator)
    count = len(logarithms)
    return math.exp((logarithms[(count - 1) // 2] + logarithms[count // 2]) / 2)


def _share(distance: float, half: float) -> float:
    return distance / half if half > 0 else math.inf


def _width(runs: float, error: float) -> float:
    """How wide an interval is at this look, up to a factor."""
    return -NormalDist().inv_cdf(look_level(runs, error) / 2) / math.sqrt(runs)
