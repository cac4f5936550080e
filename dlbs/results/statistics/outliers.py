"""Find batches that took much longer or shorter than adjacent ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dlbs.results.statistics.steady import noise_of, smoothed

__all__ = ["Outlier", "outliers"]

_FAR = 5.0  # robust standard deviations from the local median


@dataclass(frozen=True, slots=True)
class Outlier:
    """A batch that took much longer or shorter than adjacent ones.

    Attributes:
        batch: Its number among the timed batches, from 1.
        time: Milliseconds.
        times_median: Its time as a multiple of the local median.
    """

    batch: int
    time: float
    times_median: float


def outliers(times: Sequence[float]) -> list[Outlier]:
    """Find outliers with the Hampel identifier: by distance from the running median, in robust standard deviations of all distances."""
    if len(times) < 10:
        return []
    medians = smoothed(times)
    noise = max(
        noise_of([time - median for time, median in zip(times, medians, strict=True)]), 0.01 * statistics.median(times)
    )
    return [
        Outlier(at + 1, time, time / median)
        for at, (time, median) in enumerate(zip(times, medians, strict=True))
        if median > 0 and abs(time - median) > _FAR * noise
    ]
