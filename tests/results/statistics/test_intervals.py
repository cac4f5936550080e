"""The interval of a median, and Student's distribution, against published tables."""

from __future__ import annotations

import pytest

from dlbs.results.statistics.intervals import median_interval
from dlbs.results.statistics.student import student_quantile, welch_interval


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_quantiles_of_students_distribution(freedom: float, expected: float) -> None:
    """Published table values for 97.5 %."""
    assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-4)


def test_welchs_interval_is_that_of_scipy() -> None:
    from scipy.stats import ttest_ind

    first, second = [1.0, 2.0, 4.0], [3.0, 5.0, 5.5, 9.0]
    expected = ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    found = welch_interval(first, second, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("count", "low", "high", "confidence"),
    [(2, 0, 1, 0.5), (3, 0, 2, 0.75), (5, 0, 4, 0.9375), (6, 0, 5, 0.96875), (9, 1, 7, 0.9609), (20, 5, 14, 0.9586)],
)
def test_median_interval_from_order_statistics(count: int, low: int, high: int, confidence: float) -> None:
    """Ranks and confidence as in published tables of the sign test."""
    interval = median_interval(list(range(count))[::-1])
    assert interval is not None
    assert (interval.low, interval.high) == (low, high)
    assert interval.confidence == pytest.approx(confidence, abs=1e-3)


def test_one_value_has_no_interval() -> None:
    assert median_interval([1.0]) is None
