"""Change points: known answers, the rate of false alarms, and the power, by simulation with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy
import pytest

from dlbs.results.statistics.series import FEWEST, _energies, change_points

Draw = Callable[[numpy.random.Generator, int], Sequence[float]]


def energy(left: Sequence[float], right: Sequence[float]) -> float:
    """The statistic as the paper defines it, pair by pair."""
    n, m = len(left), len(right)
    across = 2 / (n * m) * sum(abs(x - y) for x in left for y in right)
    within = [
        sum(abs(side[i] - side[k]) for i in range(len(side)) for k in range(i)) / (len(side) * (len(side) - 1) / 2)
        for side in (left, right)
    ]
    return n * m / (n + m) * (across - sum(within))


def test_the_statistic_is_that_of_the_paper() -> None:
    source = numpy.random.default_rng(3)
    values = source.lognormal(size=9)
    orders = numpy.array([range(9), source.permutation(9), source.permutation(9)])
    found = _energies(numpy, numpy.abs(values[:, None] - values[None, :]), orders)
    for row, order in zip(found, orders, strict=True):
        permuted = list(values[order])
        expected = [energy(permuted[:at], permuted[at:]) for at in range(FEWEST, 9 - FEWEST + 1)]
        assert row == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ([], []),
        ([1.0], []),
        ([1.0, 2.0, 1.0], []),
        ([5.0] * 30, []),
        ([100.0 + n % 3 for n in range(12)] + [80.0 + n % 3 for n in range(12)], [12]),
        ([100.0 + n % 3 for n in range(12)] + [80.0 + n % 3 for n in range(12)] + [120.0 + n % 3 for n in range(12)], [12, 24]),
    ],
    ids=["none", "one", "few", "constant", "one change", "two changes"],
)  # fmt: skip
def test_known_answers(values: list[float], changes: list[int]) -> None:
    assert change_points(values) == changes


def test_the_scale_of_the_values_does_not_matter() -> None:
    values = [100.0 + n % 4 for n in range(15)] + [103.0 + n % 4 for n in range(15)]
    assert change_points(values) == change_points([value / 1e6 for value in values])


@pytest.mark.integration
def test_of_long_series_the_last_values_are_looked_at() -> None:
    values = (
        [200.0 + n % 3 for n in range(300)] + [100.0 + n % 3 for n in range(390)] + [50.0 + n % 3 for n in range(10)]
    )
    assert change_points(values) == [690]


# Series without any change: what benchmarks give, far from normal, and rounded.
STEADY: dict[str, Draw] = {
    "normal": lambda source, n: source.normal(100, 2, n),
    "heavy tails": lambda source, n: 100 + 2 * source.standard_t(2, n),
    "two modes": lambda source, n: source.choice([100.0, 110.0], n) + source.normal(0, 0.5, n),
    "rounded": lambda source, n: numpy.round(source.normal(100, 1, n)),
}


@pytest.mark.integration
@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("kind", STEADY)
@pytest.mark.parametrize("length", [8, 25])
def test_false_alarms_are_as_rare_as_promised(kind: str, length: int, level: float) -> None:
    source = numpy.random.default_rng(7)
    series = 200
    alarms = sum(
        bool(change_points(list(STEADY[kind](source, length)), false_alarms=level, seed=number))
        for number in range(series)
    )
    # Four standard errors above the level: what a binomial count exceeds in 1 of 30,000 cases. The seeds are fixed, so this never flickers.
    assert alarms / series <= level + 4 * (level * (1 - level) / series) ** 0.5


@pytest.mark.integration
@pytest.mark.parametrize(("step", "length", "power"), [(3.0, 20, 0.95), (2.0, 30, 0.9), (4.0, 12, 0.8)])
def test_changes_are_found_where_they_are(step: float, length: int, power: float) -> None:
    """A step in the middle, in standard deviations of the noise."""
    source = numpy.random.default_rng(11)
    series, found, near = 60, 0, 0
    for number in range(series):
        values = source.normal(100, 1, length)
        values[length // 2 :] -= step
        changes = change_points(list(values), seed=number)
        found += bool(changes)
        near += any(abs(at - length // 2) <= 2 for at in changes)
    assert found / series >= power
    assert near >= 0.9 * found
