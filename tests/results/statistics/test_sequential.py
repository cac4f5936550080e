"""Looks at a ratio after each round: levels that add up, and intervals that assume nothing about the noise."""

from __future__ import annotations

import itertools
import math
import random
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from dlbs.results.statistics.ratio import Interval, rank_interval
from dlbs.results.statistics.sequential import (
    Rounds,
    first_look,
    is_enough,
    look_level,
    needed_runs,
    repeated_interval,
    signed_rank_interval,
)

_quantile = NormalDist().inv_cdf


def _ever_crosses(error: float, most: int, points: int = 121) -> float:
    """The probability that a random walk ever crosses the bounds of the looks: recursion of Armitage, McPherson and Rowe (1969)."""
    from scipy.special import ndtr, ndtri  # here, because every process of pytest imports this file

    def grid(count: int) -> tuple[Any, Any, float]:
        bound = -ndtri(look_level(count, error) / 2) * math.sqrt(count)
        at = np.linspace(-bound, bound, points)
        weights = np.full(points, at[1] - at[0])
        weights[[0, -1]] /= 2
        return at, weights, bound

    count = 5
    at, weights, bound = grid(count)
    crossed = 2 * ndtr(-bound / math.sqrt(count))
    density = np.exp(-(at**2) / 2 / count) / math.sqrt(2 * math.pi * count)
    while count < most:
        later = count + 1 if count < 40 else int(count * 1.04) + 1
        step, count = math.sqrt(later - count), later
        mass, before = weights * density, at
        at, weights, bound = grid(count)
        crossed += float((mass * (ndtr((before - bound) / step) + ndtr((-before - bound) / step))).sum())
        density = np.exp(-(((at[:, None] - before[None, :]) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi)) @ mass
    return float(crossed)


@pytest.mark.parametrize("error", [0.2, 0.1, 0.05, 0.025, 0.01, 0.001, 0.0001])
def test_all_looks_together_are_wrong_with_the_promised_probability_at_most(error: float) -> None:
    assert 0.8 * error < _ever_crosses(error, most=10_000) <= error


def test_later_looks_have_smaller_errors_and_pairs_share_theirs() -> None:
    levels = [look_level(runs, 0.05) for runs in range(5, 200)]
    assert levels == sorted(levels, reverse=True)
    assert look_level(10, 0.025) < look_level(10, 0.05)


@pytest.mark.parametrize(
    ("pairs", "runs", "in_rounds"),
    [(1, 5, True), (2, 6, True), (10, 8, True), (1, 5, False), (2, 6, False), (10, 7, False)],
)
def test_the_first_verdict_needs_runs_that_cannot_lie_apart_by_chance(pairs: int, runs: int, in_rounds: bool) -> None:
    error = 0.05 / pairs
    assert first_look(error, in_rounds=in_rounds) == runs
    slow, fast = [2.0 + at / 100 for at in range(runs)], [1.0 + at / 100 for at in range(runs)]
    rounds = [Rounds(slow[:count], fast[:count]) if in_rounds else None for count in (runs - 1, runs)]
    assert repeated_interval(slow[:-1], fast[:-1], error, 0.95, rounds[0])[1] is None
    interval = repeated_interval(slow, fast, error, 0.95, rounds[1])[1]
    assert interval is not None
    assert interval.low > 1


def test_an_interval_is_wider_than_that_of_a_single_look_and_keeps_its_label() -> None:
    source = random.Random(1)
    a, b = ([source.gauss(100, 2) for _ in range(12)] for _ in range(2))
    ratio, interval = repeated_interval(a, b, 0.05, 0.95)
    once_ratio, once = rank_interval(a, b, 0.95)
    assert interval is not None
    assert ratio == once_ratio
    assert interval.low < once.low < once.high < interval.high
    assert interval.confidence == 0.95


def test_exchanging_the_sides_inverts_the_interval() -> None:
    source = random.Random(2)
    a, b = ([source.gauss(100, 2) for _ in range(count)] for count in (9, 12))
    ratio, interval = repeated_interval(a, b, 0.05, 0.95)
    inverse, inverted = repeated_interval(b, a, 0.05, 0.95)
    assert interval is not None
    assert inverted is not None
    assert inverse == pytest.approx(1 / ratio)
    assert (inverted.low, inverted.high) == pytest.approx((1 / interval.high, 1 / interval.low))


def test_what_both_sides_of_a_round_have_in_common_cancels_out() -> None:
    source = random.Random(3)
    machine = [source.uniform(1, 2) for _ in range(12)]
    a, b = ([side * speed * source.gauss(1, 0.01) for speed in machine] for side in (1.05, 1.0))
    apart, together = (repeated_interval(a, b, 0.05, 0.95, rounds) for rounds in (None, Rounds(a, b)))
    assert apart[1] is not None
    assert apart[1].low < 1 < apart[1].high
    assert apart[1].method == "ranks"
    assert together[1] is not None
    assert 1.03 < together[1].low < together[0] < together[1].high < 1.08
    assert together[1].method == "signed ranks"


def test_without_changes_between_rounds_the_interval_is_nearly_that_of_all_runs() -> None:
    source = random.Random(4)
    a, b = ([source.gauss(100, 2) for _ in range(12)] for _ in range(2))
    _, apart = repeated_interval(a, b, 0.05, 0.95)
    _, together = repeated_interval(a, b, 0.05, 0.95, Rounds(a, b))
    assert apart is not None
    assert together is not None
    assert math.log(together.high / together.low) < 1.3 * math.log(apart.high / apart.low)


def test_rounds_in_which_a_side_has_no_value_are_no_rounds() -> None:
    a, b = [2.0 + at / 100 for at in range(9)], [1.0 + at / 100 for at in range(9)]
    assert repeated_interval(a, b, 0.05, 0.95, Rounds(a[:3], b[:3]))[1] == repeated_interval(a, b, 0.0275, 0.95)[1]


@pytest.mark.parametrize("rounds", [5, 8, 11])
@pytest.mark.parametrize("confidence", [0.7, 0.9, 0.95])
def test_an_interval_of_rounds_holds_its_confidence_exactly(rounds: int, confidence: float) -> None:
    source = random.Random(rounds)
    sizes = [source.expovariate(1) for _ in range(rounds)]
    held, found = 0, None
    for signs in itertools.product((-1, 1), repeat=rounds):  # each as probable as the others if there is no difference
        found = signed_rank_interval(
            [math.exp(sign * size) for sign, size in zip(signs, sizes, strict=True)], [1.0] * rounds, confidence
        )
        if found is None:
            break
        held += found[1].low <= 1 <= found[1].high
    assert (found is None) == (not is_enough(rounds, 1 - confidence))
    if found is not None:
        assert held / 2**rounds == pytest.approx(found[1].confidence)
        assert found[1].confidence >= confidence


def test_no_spread_is_no_error() -> None:
    assert repeated_interval([2.0] * 5, [1.0] * 5, 0.05, 0.95) == (2.0, Interval(2.0, 2.0, 0.95))


@pytest.mark.parametrize(
    ("ratio", "half", "threshold"), [(1.10, 0.10, 0.03), (0.90, 0.10, 0.03), (1.00, 0.06, 0.03), (1.10, 0.2, 0.0)]
)
def test_the_outlook_is_the_number_of_runs_at_which_the_interval_is_narrow_enough(
    ratio: float, half: float, threshold: float
) -> None:
    runs, error = 10, 0.05
    needed = needed_runs(ratio, Interval(ratio - half, ratio + half, 0.95), threshold, runs, error)
    assert needed is not None

    def width(count: int) -> float:
        z = _quantile(look_level(count, error) / 2) / _quantile(look_level(runs, error) / 2)
        return float(half * z * math.sqrt(runs / count))

    distance = abs(abs(ratio - 1) - threshold)
    assert width(needed) <= distance < width(needed - 1)


def test_a_ratio_at_the_threshold_has_no_outlook() -> None:
    assert needed_runs(1.03, Interval(1.0, 1.06, 0.95), 0.03, 10, 0.05) is None
    assert needed_runs(1.0, Interval(0.97, 1.03, 0.95), 0.0, 10, 0.05) is None
