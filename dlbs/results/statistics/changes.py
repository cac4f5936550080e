"""Change points of a time series with a known rate of false alarms: E-divisive with a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.errors import require

if TYPE_CHECKING:
    import numpy


FALSE_ALARMS = 0.01  # share of series without a change in which one is reported
FEWEST = 2  # values between two changes
_PERMUTATIONS = 999
_ENOUGH = 10  # permutations at least as extreme, after which the result is certain
_MOST = 400  # values that are analysed: the cost is quadratic


def change_points(values: Sequence[float], *, false_alarms: float = FALSE_ALARMS, seed: int = 1) -> list[int]:
    """Find changes in the distribution of a series: the indices of the first values after each change, in order.

    The split with the largest energy distance between both sides is tested by permuting the values. If it is significant, both sides are searched
    in the same way (Matteson and James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", JASA 109, 2014, with
    exponent 1; as used by MongoDB and Hunter for benchmarks). Permutations stop as soon as ten are at least as extreme, and the test stays exact
    (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).

    In a series of exchangeable values of any distribution, the probability of a reported change is at most `false_alarms`. Pass positive values
    as measured: distances are those of their logarithms. Of longer series, only the last 400 values are analysed.

    Args:
        values: In chronological order.
        false_alarms: Significance level of each test; below 1/1000, nothing is ever found.
        seed: Seed of the permutations, so that the same series always has the same changes.

    Raises:
        LogError: NumPy is not installed.
    """
    numpy = require("numpy", "reports")
    offset = max(0, len(values) - _MOST)
    series = numpy.asarray(values[offset:], dtype=float)
    if (series > 0).all():
        series = numpy.log(series)
    source = numpy.random.default_rng(seed)
    found: list[int] = []
    todo = [(0, len(series))]
    while todo:
        first, end = todo.pop()
        at = _split(numpy, series[first:end], false_alarms, source)
        if at is not None:
            found.append(offset + first + at)
            todo += [(first, first + at), (first + at, end)]
    return sorted(found)


def _split(numpy: Any, values: numpy.ndarray, level: float, source: Any) -> int | None:
    """Index of the most significant change; None if none is significant."""
    count = len(values)
    if count < 2 * FEWEST:
        return None
    distances = numpy.abs(values[:, None] - values[None, :])
    if not distances.any():
        return None
    statistics = _energies(numpy, distances, numpy.arange(count)[None, :])[0]
    at = int(statistics.argmax())
    # Sums of the same numbers in another order differ in the last bits.
    largest = statistics[at] * (1 - 1e-9)
    extreme = done = 0
    while done < _PERMUTATIONS:
        # As many at once as the test needs at least, so that their order alone decides where it stops.
        several = min(_ENOUGH - extreme, _PERMUTATIONS - done)
        orders = numpy.array([source.permutation(count) for _ in range(several)])
        extreme += int((_energies(numpy, distances, orders).max(axis=1) >= largest).sum())
        done += several
        if extreme >= _ENOUGH:
            return at + FEWEST if extreme / done <= level else None
    return at + FEWEST if (extreme + 1) / (_PERMUTATIONS + 1) <= level else None


def _energies(numpy: Any, distances: numpy.ndarray, orders: numpy.ndarray) -> Any:
    """Scaled energy distance of both sides of each split with enough values on either side.

    Args:
        numpy: The module.
        distances: Of each value to each; shape (values, values).
        orders: Permutations of the values; shape (permutations, values).

    Returns:
        Shape (permutations, splits).
    """
    count = len(distances)
    # Distances of a value to those before it and to those after it, summed over the first k values, and over the last count - k.
    before = numpy.einsum("pij,ij->pi", distances[orders[:, :, None], orders[:, None, :]], numpy.tri(count))
    after = distances.sum(axis=1)[orders] - before
    inner = before.cumsum(axis=1)
    outer = after[:, ::-1].cumsum(axis=1)[:, ::-1]
    left = numpy.arange(FEWEST, count - FEWEST + 1)
    right = count - left
    within_left, within_right = inner[:, left - 1], outer[:, left]
    across = inner[:, -1:] - within_left - within_right
    mean_left = within_left / (left * (left - 1) / 2)
    mean_right = within_right / (right * (right - 1) / 2)
    return left * right / count * (2 * across / (left * right) - mean_left - mean_right)
