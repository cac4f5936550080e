"""Drift of batch times between the first and the last third of a run, and the drift that noise alone causes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from pytorch_benchmarks.measure.confidence import cosine_power, student_quantile

__all__ = ["STEADY_WITHIN", "drift", "drift_of_noise", "drift_warning"]

STEADY_WITHIN = 0.03

_FAR = 5.0  # robust standard deviations; single slow batches should not hide a drift


def drift(seconds: Sequence[float]) -> float | None:
    """Relative difference of the medians of the last and the first third of batches: 0.03 is 3 % slower. None for fewer than six."""
    third = len(seconds) // 3
    if third < 2:
        return None
    return statistics.median(seconds[-third:]) / statistics.median(seconds[:third]) - 1


def drift_of_noise(seconds: Sequence[float]) -> float:
    """The absolute drift that one run in twenty reaches or exceeds if only noise changes batch times.

    A third of n batches has three times the variance of the mean, which is estimated as for the mean's confidence interval, but from cosines of
    even order: those are symmetric in time, so that a drift adds nothing to them. Medians vary by the factor √(π/2) more than means.

    Args:
        seconds: At least six batch times.
    """
    middle = statistics.median(seconds)
    far = _FAR * 1.4826 * statistics.median(abs(value - middle) for value in seconds)
    series = np.clip(np.asarray(seconds, dtype=np.float64), middle - far, middle + far)
    cosines = max(1, math.ceil(0.3 * len(seconds) ** (2 / 3)))
    power = cosine_power(series, range(2, 2 * cosines + 1, 2))
    error = math.sqrt((3 + 3) * math.pi / 2 * power / len(seconds)) / middle
    return student_quantile(0.975, cosines) * error


def drift_warning(seconds: Sequence[float]) -> str | None:
    """A warning about a drift of more than 3 % that exceeds the drift of noise; None if there is no such drift."""
    moved = drift(seconds)
    if moved is None or abs(moved) <= STEADY_WITHIN or abs(moved) <= (noise := drift_of_noise(seconds)):
        return None
    return (
        f"drift: batch times {100 * moved:+.0f} % from the first third to the last, noise alone {100 * noise:.1f} %; "
        "warm up longer (--num_warmup_batches auto), or rerun on an idle machine with fixed clocks"
    )
