"""Percentiles of latencies and their intervals."""

from __future__ import annotations

import math
import random

import pytest

from benchmark_core.intervals import latency_quantile, quantile_interval


def test_a_percentile_is_that_of_loadgen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert latency_quantile(values, 0.90) == 91.0
    assert latency_quantile(values, 0.99) == 100.0
    assert latency_quantile([7.0], 0.99) == 7.0


def test_the_interval_holds_the_percentile_as_often_as_it_says() -> None:
    chance = random.Random(1)
    true = -math.log(0.1)
    held = 0
    for _ in range(100):
        bounds = quantile_interval([chance.expovariate(1.0) for _ in range(500)], 0.9)
        assert bounds is not None
        held += bounds[0] <= true <= bounds[1]
    assert held >= 90  # 95 are expected; fewer than 90 have a probability of 1 %


def test_values_that_depend_on_the_ones_before_give_a_wider_interval() -> None:
    chance = random.Random(1)
    independent = [chance.gauss(0.0, 1.0) for _ in range(3000)]
    dependent, value = [], 0.0
    for one in independent:
        value = 0.95 * value + math.sqrt(1 - 0.95**2) * one
        dependent.append(value)
    widths = []
    for values in (independent, dependent):
        bounds = quantile_interval(values, 0.9)
        assert bounds is not None
        widths.append(bounds[1] - bounds[0])
    assert widths[1] > 2.5 * widths[0]  # a walk of 20 steps' memory holds about as much as 3000 / 39 values


@pytest.mark.parametrize(("count", "share", "is_bounded"), [(50, 0.99, False), (1000, 0.99, True), (20, 0.5, True)])
def test_too_few_values_have_no_upper_bound(count: int, share: float, is_bounded: bool) -> None:
    chance = random.Random(2)
    bounds = quantile_interval([chance.random() for _ in range(count)], share)
    assert bounds is not None
    assert math.isfinite(bounds[1]) == is_bounded


def test_fewer_than_four_values_have_no_interval() -> None:
    assert quantile_interval([1.0, 2.0, 3.0], 0.5) is None


def test_equal_values_have_an_interval_without_width() -> None:
    assert quantile_interval([2.0] * 100, 0.5) == (2.0, 2.0)


def test_what_was_never_answered_is_above_all() -> None:
    bounds = quantile_interval([1.0] * 90 + [math.inf] * 10, 0.95)
    assert bounds is not None
    assert bounds[1] == math.inf
