"""Sentences about ratios: ± stands only where an interval is nearly symmetric."""

from __future__ import annotations

import pytest

from dlbs.results.statistics.ratio import Estimate, Interval
from dlbs.results.tables.comparison import ratio_words, sentence


@pytest.mark.parametrize(
    ("ratio", "low", "high", "words"),
    [
        (1.31, 1.27, 1.35, "1.31 ± 0.04"),
        (1.31, 1.27, 1.355, "1.31 ± 0.04"),
        (1.31, 1.27, 1.37, "1.31 [1.27, 1.37]"),
        (2.53, 0.4018, 15.88, "2.53 [0.40, 15.9]"),
        (3.641, 2.580, 6.579, "3.64 [2.58, 6.58]"),
        (12.5, 3.0, 150.2, "12.5 [3.00, 150.2]"),
        (1.001, 0.999, 1.003, "1.001 ± 0.002"),
        (2.0, 2.0, 2.0, "2.000 ± 0.000"),
        (0.098, 0.093, 0.104, "0.098 ± 0.005"),
    ],
)
def test_an_interval_that_is_not_symmetric_is_shown_by_its_bounds(
    ratio: float, low: float, high: float, words: str
) -> None:
    assert ratio_words(Estimate(ratio, Interval(low, high, 0.95), "runs")) == words


def test_a_sentence_has_the_ratio_of_the_table() -> None:
    estimate = Estimate(0.5, Interval(0.1, 0.8, 0.95), "runs")
    assert sentence("results.throughput", ("system", "keep"), "slower", estimate, 0.03) == (
        "keep ran 0.50 [0.10, 0.80] times as fast as system"
    )
    assert sentence("results.throughput", ("system", "keep"), "inconclusive", estimate, 0.03) == (
        "keep against system: inconclusive (0.50 [0.10, 0.80] times as fast)"
    )
    assert sentence("results.time", ("system", "keep"), "faster", estimate, 0.03) == (
        "keep took 0.50 [0.10, 0.80] times as long as system"
    )
