"""Steady state of a series: running median, noise, and end of the warm-up."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["WINDOW", "noise_of", "smoothed", "steady_from"]

WINDOW = 11  # batches


def smoothed(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Running median, which ignores single slow batches."""
    half = window // 2
    return [statistics.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def steady_from(times: Sequence[float]) -> int:
    """Number of warm-up batches at the beginning: without them, the mean of the rest is most precise.

    The marginal standard error rule (White 1997): the truncation with the smallest variance of the mean of the rest, in batches of five if there
    are enough, and at most half of them: a series that still changes then never became steady. The rule is applied to the running median, so
    that a single slow batch late in the series does not count as warm-up.
    """
    count = len(times)
    if count < 6:
        return 0
    values = smoothed(times, 5)
    # Cumulative sums from the end, so that each truncation has constant cost.
    best, found = math.inf, 0
    total = squares = 0.0
    shift = values[-1]  # near the mean, for exact sums of squares
    for start in range(count - 1, -1, -1):
        value = values[start] - shift
        total += value
        squares += value**2
        left = count - start
        if start > count // 2 or left < 3:
            continue
        error = max(0.0, squares - total**2 / left) / left**2
        if error <= best * (1 + 1e-9):
            best, found = error, start
    rest = statistics.median(values[found:])
    # Values within the noise of the rest need no truncation, whatever the rule prefers.
    noise = max(noise_of(values[found:]), 0.01 * rest)
    while found > 0 and abs(values[found - 1] - rest) <= 3 * noise:
        found -= 1
    return found


def noise_of(values: Sequence[float]) -> float:
    """Robust standard deviation: the median absolute deviation, scaled for the normal distribution."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)
