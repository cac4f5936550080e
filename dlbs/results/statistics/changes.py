"""Change points of a series over time, with a known rate of false alarms: E-divisive with a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.extras import require

if TYPE_CHECKING:
    import numpy

__all__ = ["FALSE_ALARMS", "FEWEST", "change_points"]

FALSE_ALARMS = 0.01  # share of series without a change in which one is marked
FEWEST = 2  # values between two changes
_PERMUTATIONS = 999
_ENOUGH = 10  # permutations at least as extreme, after which the rest of them can change nothing
_MOST = 400  # values that are looked at: the work grows with the square


def change_points(values: Sequence[float], *, false_alarms: float = FALSE_ALARMS, seed: int = 1) -> list[int]:
    """Where the distribution of a series changes: the positions of the first values after each change, in order.

    The split with the largest energy distance between both sides is tested by permuting the values. If it is significant, both sides are searched
    in the same way (Matteson and James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", JASA 109, 2014, with
    exponent 1; as MongoDB and Hunter use it for benchmarks). Permutations stop as soon as ten are at least as extreme, which leaves the test exact
    (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).

    A series of exchangeable values is marked with a probability of `false_alarms` at most, whatever their distribution. Positive values are best
    given as they are measured: only their logarithms' distances count. Of longer series, the last 400 values are looked at.

    Args:
        values: In the order of time.
        false_alarms: Level of each test; below 1/1000 nothing is ever found.
        seed: Of the permutations, so that the same series has the same changes each time.

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
    """The position of the most significant change; None if none is significant."""
    count = len(values)
    if count < 2 * FEWEST:
        return None
    distances = numpy.abs(values[:, None] - values[None, :])
    if not distances.any():
        return None
    statistics = _energies(numpy, distances)
    at = int(statistics.argmax())
    # Sums of the same numbers in another order differ in their last bits.
    largest = statistics[at] * (1 - 1e-9)
    extreme = 0
    for permutation in range(1, _PERMUTATIONS + 1):
        order = source.permutation(count)
        extreme += bool(_energies(numpy, distances[numpy.ix_(order, order)]).max() >= largest)
        if extreme >= _ENOUGH:
            return at + FEWEST if extreme / permutation <= level else None
    return at + FEWEST if (extreme + 1) / (_PERMUTATIONS + 1) <= level else None


def _energies(numpy: Any, distances: numpy.ndarray) -> Any:
    """The scaled energy distance of both sides, for a split before each position that leaves enough values on either side."""
    count = len(distances)
    # Sums over the square of the first k values, and of the last count - k.
    inner = numpy.tril(distances).sum(axis=1).cumsum()
    outer = numpy.triu(distances).sum(axis=1)[::-1].cumsum()[::-1]
    left = numpy.arange(FEWEST, count - FEWEST + 1)
    right = count - left
    within_left, within_right = inner[left - 1], outer[left]
    across = inner[-1] - within_left - within_right
    mean_left = within_left / (left * (left - 1) / 2)
    mean_right = within_right / (right * (right - 1) / 2)
    return left * right / count * (2 * across / (left * right) - mean_left - mean_right)
