"""The steady state of a series: its running median, its noise, and where the warm-up ends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["WINDOW", "noise_of", "smoothed", "steady_from"]

WINDOW = 11  # batches


def smoothed(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Running median: single slow batches do not move it."""
    half = window // 2
    return [statistics.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def steady_from(times: Sequence[float]) -> int:
    """How many batches at the beginning belong to the warm-up: those without which the mean of the rest is best known.

    The marginal standard error rule (White 1997): the truncation with the least variance of the mean of what is left, over batches in fives
    where there are enough, and never more than half of them: a series that still moves then never came to rest. The rule is used on the running
    median, so that a single slow batch late in the series does not count as warm-up.
    """
    count = len(times)
    if count < 6:
        return 0
    values = smoothed(times, 5)
    # Sums from the end, so that each truncation costs the same.
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
    # What lies within the noise of the rest needs no truncation, whatever the rule prefers.
    noise = max(noise_of(values[found:]), 0.01 * rest)
    while found > 0 and abs(values[found - 1] - rest) <= 3 * noise:
        found -= 1
    return found


def noise_of(values: Sequence[float]) -> float:
    """A robust standard deviation: the median absolute deviation, scaled as for the normal distribution."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)
