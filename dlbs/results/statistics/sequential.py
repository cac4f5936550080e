"""Look at a ratio after each round of runs, as often as one likes: intervals that all hold together.

An interval that is looked at again and again until it excludes 1 excludes it sooner or later, whatever the truth is: twenty looks at 95 %
intervals of the same code end in a false verdict every fifth time. Here each look gets a level of its own, and all looks together, without an end,
are wrong no more often than promised (repeated confidence intervals, Jennison and Turnbull 1989). Any rule may decide when to stop. docs/statistics.md
says why it is this procedure, and what simulations showed of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.ranks import rank_interval

__all__ = ["can_tell", "first_look", "look_level", "needed_runs", "repeated_interval"]

_FIRST = 5  # runs a side; with fewer, even runs that do not overlap at all happen too often by chance
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


def can_tell(first: int, second: int, error: float) -> bool:
    """Whether so many runs on the two sides can come to a verdict: if all runs of one side are faster than all of the other."""
    if min(first, second) < _FIRST:
        return False
    by_chance = 2 / math.comb(first + second, first)  # that no run of one side lies among those of the other
    return by_chance <= look_level(_information(first, second), error)


def first_look(error: float) -> int:
    """The least number of runs a side that can come to a verdict."""
    runs = _FIRST
    while not can_tell(runs, runs, error):
        runs += 1
    return runs


def repeated_interval(
    numerator: Sequence[float], denominator: Sequence[float], error: float, confidence: float
) -> tuple[float, Interval | None]:
    """The Hodges-Lehmann ratio with its interval at this look.

    The bounds are those of the Mann-Whitney test and assume no distribution. With too few runs for that there is no interval, not another method.

    Args:
        numerator: Positive values, one a run, all runs so far.
        denominator: Positive values.
        error: Of all looks together.
        confidence: What the interval is labelled with: that of all looks of all comparisons together.
    """
    first, second = len(numerator), len(denominator)
    if not can_tell(first, second, error):
        return _ratio(numerator, denominator), None
    level = look_level(_information(first, second), error)
    ratio, interval = rank_interval(numerator, denominator, 1 - level)
    return ratio, replace(interval, confidence=confidence)


def needed_runs(ratio: float, interval: Interval, threshold: float, runs: float, error: float) -> int | None:
    """How many runs a side would come to a verdict, if the ratio stays as it is.

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
