"""Intervals, percentiles and drift of batch times."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pytorch_benchmarks.measure.bootstrap import block_length, mean_interval
from pytorch_benchmarks.measure.metrics import drift, time_metrics


def autoregressive(count: int, correlation: float, seed: int) -> list[float]:
    """Values around 100 of which each depends on the one before."""
    source = random.Random(seed)
    value, values = 0.0, []
    for index in range(count + 100):
        value = correlation * value + source.gauss(0, 1)
        if index >= 100:
            values.append(100 + value)
    return values


@pytest.mark.parametrize(("correlation", "count", "least"), [(0.0, 10, 0.90), (0.0, 100, 0.91), (0.5, 300, 0.85)])
def test_the_interval_holds_the_mean_as_often_as_promised(correlation: float, count: int, least: float) -> None:
    held = 0
    for seed in range(200):
        bounds = mean_interval(autoregressive(count, correlation, seed))
        assert bounds is not None
        held += bounds[0] <= 100 <= bounds[1]
    assert least <= held / 200 <= 0.99


def test_blocks_are_as_long_as_the_correlation_asks_for() -> None:
    alone = np.asarray(autoregressive(2000, 0.0, 1))
    together = np.asarray(autoregressive(2000, 0.9, 1))
    assert block_length(alone) <= 3
    assert block_length(together) > 20
    assert block_length(np.ones(50)) == 1


def test_an_interval_that_ignores_correlation_would_be_too_narrow() -> None:
    values = autoregressive(400, 0.9, 2)
    shuffled = random.Random(0).sample(values, len(values))
    (low, high), (narrow_low, narrow_high) = mean_interval(values) or (0, 0), mean_interval(shuffled) or (0, 0)
    assert high - low > 2 * (narrow_high - narrow_low)


def test_too_few_values_have_no_interval() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) is None
    assert time_metrics([0.1, 0.1], 1)["results.throughput_ci95"] is None


def test_throughput_lies_in_its_interval_and_is_no_whole_number() -> None:
    found = time_metrics([1.1, 1.2, 1.0, 1.1, 1.15, 1.05], instances=1)
    low, high = found["results.throughput_ci95"]  # type: ignore[misc]
    assert low < found["results.throughput"] < high  # type: ignore[operator]
    assert 0 < found["results.throughput"] < 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("times", "steady"),
    [([1.0] * 9, True), ([1.0] * 6 + [1.04] * 3, False), ([1.05] * 3 + [1.0] * 6, False), ([1.0] * 5, None)],
)
def test_a_run_whose_ends_differ_is_not_steady(times: list[float], steady: bool | None) -> None:
    assert time_metrics(times, 1)["results.steady"] is steady


def test_drift_has_a_sign() -> None:
    assert drift([1.0] * 4 + [1.5] * 2) == pytest.approx(0.5)
