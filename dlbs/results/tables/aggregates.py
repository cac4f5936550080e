"""Aggregates of several values in a cell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from dlbs.results.registry import Registry

__all__ = ["AGGREGATES", "count", "deviation"]

AGGREGATES: Registry = {
    "median": ("statistics:median", "median with its confidence interval"),
    "mean": ("statistics:fmean", "mean"),
    "min": ("builtins:min", "minimum"),
    "max": ("builtins:max", "maximum"),
    "std": ("dlbs.results.tables.aggregates:deviation", "standard deviation (n - 1)"),
    "sum": ("math:fsum", "sum"),
    "count": ("dlbs.results.tables.aggregates:count", "number of values"),
}


def deviation(values: Sequence[float]) -> float:
    """Standard deviation (n - 1); NaN for a single value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def count(values: Sequence[float]) -> float:
    """Number of values."""
    return float(len(values))
