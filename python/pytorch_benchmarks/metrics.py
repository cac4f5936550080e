"""Statistics of batch times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["percentile", "time_metrics"]


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The value below which a fraction of sorted values lies, interpolated linearly (Hyndman and Fan 1996, type 7)."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def time_metrics(seconds: Sequence[float], instances: int) -> dict[str, float | list[float]]:
    """Log values of timed batches.

    Args:
        seconds: Wall time of each batch.
        instances: Instances in one batch, on all devices together.

    Returns:
        Times in milliseconds, `results.throughput` in instances per second: all instances over all time.
    """
    times = [1000.0 * value for value in seconds]
    ordered = sorted(times)
    mean = statistics.fmean(times)
    return {
        "results.time_data": [round(value, 6) for value in times],
        "results.time_std": statistics.stdev(times) if len(times) > 1 else 0.0,
        "results.time_min": ordered[0],
        "results.time_max": ordered[-1],
        "results.time_median": statistics.median(ordered),
        "results.time_p90": percentile(ordered, 0.90),
        "results.time_p99": percentile(ordered, 0.99),
        "results.time": mean,
        "results.throughput": 1000.0 * instances / mean,
    }
