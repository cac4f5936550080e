"""Statistics of batch times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pytorch_benchmarks.measure.confidence import mean_interval
from pytorch_benchmarks.measure.drift import STEADY_WITHIN, drift

__all__ = ["percentile", "time_metrics"]


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The value below which a fraction of sorted values lies, with linear interpolation (Hyndman and Fan 1996, type 7)."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def time_metrics(seconds: Sequence[float], instances: int, total: float | None = None) -> dict[str, object]:
    """Compute the log values of timed batches.

    Args:
        seconds: Wall time of each batch.
        instances: Instances in one batch, on all devices together.
        total: Wall time of all batches, if it is not the sum of their times.

    Returns:
        Times in milliseconds; `results.throughput` in instances per second, all instances over the total time, with its 95 % confidence
        interval; `results.steady`, whether the last third of batches took as long as the first within 3 %.
    """
    times = [1000.0 * value for value in seconds]
    ordered = sorted(times)
    mean = statistics.fmean(times)
    whole = 1000.0 * total / len(times) if total is not None else mean
    interval = mean_interval(times)
    moved = drift(seconds)
    return {
        "results.time_data": [round(value, 6) for value in times],
        "results.time_std": statistics.stdev(times) if len(times) > 1 else 0.0,
        "results.time_min": ordered[0],
        "results.time_max": ordered[-1],
        "results.time_median": statistics.median(ordered),
        "results.time_p50": statistics.median(ordered),
        "results.time_p90": percentile(ordered, 0.90),
        "results.time_p99": percentile(ordered, 0.99),
        "results.time": mean,
        "results.throughput": 1000.0 * instances / whole,
        "results.throughput_ci95": [1000.0 * instances / (whole * bound / mean) for bound in reversed(interval)]
        if interval
        else None,
        "results.drift": moved,
        "results.steady": None if moved is None else abs(moved) <= STEADY_WITHIN,
    }
