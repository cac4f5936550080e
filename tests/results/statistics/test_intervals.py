"""The interval of a median, and Student's distribution, against published tables."""

from __future__ import annotations

import pytest

from benchmark_core.intervals import student_quantile
from dlbs.results.statistics.ratio import median_interval, welch_interval


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


@pytest.mark.parametrize("count", [1029, 1035, 1100, 10_000])
def test_the_interval_of_many_runs_is_that_of_the_binomial_distribution(count: int) -> None:
    """Their binomials exceed floating-point numbers, and 0.5^1100 is 0."""
    from scipy.stats import binom

    interval = median_interval(list(range(count)))
    assert interval is not None
    outside = 2 * binom.cdf(interval.depth, count, 0.5)
    assert (interval.low, interval.high) == (interval.depth, count - 1 - interval.depth)
    assert interval.confidence == pytest.approx(1 - outside)
    assert outside <= 0.05 < 2 * binom.cdf(interval.depth + 1, count, 0.5)


def test_bounds_beyond_floating_point_numbers_are_limited() -> None:
    """Three runs that differ by orders of magnitude, at the confidence level of many comparisons."""
    from dlbs.results.statistics.ratio import rank_interval

    values = [1e-100, 1.0, 1e100]
    ratio, interval = rank_interval(values, values, 1 - 1e-6)
    assert interval.low < 1e-300
    assert ratio == pytest.approx(1)
    assert interval.high > 1e300


def test_signed_ranks_of_many_rounds_do_not_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^1100 exceeds floating-point numbers. All counts of 1,100 rounds would take half a minute; the first ones suffice here."""
    from dlbs.results.statistics import sequential

    monkeypatch.setattr(sequential, "_counts", lambda _: (1, 1, 1, 2, 2))
    assert sequential._signed_depth(1100, 1e-300) == (5, 0.0)


def test_one_value_has_no_interval() -> None:
    assert median_interval([1.0]) is None
