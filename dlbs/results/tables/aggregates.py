"""What becomes of several values in a cell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from dlbs.results.registry import Registry

__all__ = ["AGGREGATES", "count", "deviation"]

AGGREGATES: Registry = {
    "median": ("statistics:median", "the median, with its interval"),
    "mean": ("statistics:fmean", "the mean"),
    "min": ("builtins:min", "the least"),
    "max": ("builtins:max", "the greatest"),
    "std": ("dlbs.results.tables.aggregates:deviation", "the standard deviation (n - 1)"),
    "sum": ("math:fsum", "the sum"),
    "count": ("dlbs.results.tables.aggregates:count", "how many there are"),
}


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1); NaN for a single value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def count(values: Sequence[float]) -> float:
    """How many values there are."""
    return float(len(values))
