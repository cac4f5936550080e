"""Batch times in the page: few numbers for each run, as exact as a plot needs them."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.results.page.report import ALPHABET, batch_times
from dlbs.results.runs import Runs
from tests.made_logs import make_record


def unpacked(packed: list[Any]) -> list[float]:
    """The points, as the page's script reads them."""
    _, _, low, high, words = packed
    places = [ALPHABET.index(letter) for letter in words]
    codes = [64 * first + second for first, second in zip(places[::2], places[1::2], strict=True)]
    return [low + (high - low) * code / 4095 for code in codes]


def test_every_batch_of_a_few_runs_is_there() -> None:
    times = [10.0, 12.5, 11.0, 30.0]
    (packed,) = batch_times(Runs.of([{**make_record(), "results.time_data": times}]))
    assert packed is not None
    assert packed[:4] == [1, 4, 10.0, 30.0]
    assert unpacked(packed) == pytest.approx(times, abs=20 / 4095)


def test_a_point_of_many_batches_is_their_median() -> None:
    times = [float(number // 10 + (100 if number % 10 == 3 else 0)) for number in range(10_000)]
    (packed,) = batch_times(Runs.of([{**make_record(), "results.time_data": times}]))
    assert packed is not None
    assert packed[:2] == [10, 10_000]
    assert unpacked(packed) == pytest.approx(range(1000), abs=1), "an outlier in each ten moves nothing"


@pytest.mark.integration
def test_those_of_ten_thousand_runs_are_small() -> None:
    record = {**make_record(), "results.time_data": [1.0, 2.0] * 500}
    found = batch_times(Runs.of([record] * 10_000))
    assert sum(len(packed[4]) for packed in found if packed) < 1_000_000
    assert all(packed and len(unpacked(packed)) >= 20 for packed in found)


def test_equal_times_are_a_flat_line() -> None:
    (packed,) = batch_times(Runs.of([{**make_record(), "results.time_data": [7.0, 7.0, 7.0]}]))
    assert packed is not None
    assert unpacked(packed) == [7.0] * 3


@pytest.mark.parametrize("times", [None, [], [1.0], "x", [1.0, "x"], [1.0, None], [1.0, float("nan")], [1.0, 1e308]])
def test_what_is_no_list_of_times_is_left_out(times: Any) -> None:
    assert batch_times(Runs.of([{**make_record(), "results.time_data": times}])) == [None]


def test_failed_runs_are_left_out() -> None:
    assert batch_times(Runs.of([{**make_record(status="failure"), "results.time_data": [1.0, 2.0]}])) == [None]
