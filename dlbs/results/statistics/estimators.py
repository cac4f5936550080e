"""Estimators of a ratio of two sides; docs/statistics.md has the reasons and simulations."""

from __future__ import annotations

from dlbs.results.registry import Registry

__all__ = ["ESTIMATORS", "FEWEST_BATCHES", "FEWEST_RUNS"]

FEWEST_RUNS = 3  # on each side; two runs contain almost no information on the variation between runs
FEWEST_BATCHES = 10

ESTIMATORS: Registry = {
    "rank": (
        "dlbs.results.statistics.ranks:rank_interval",
        "median of the ratios of all pairs of runs (Hodges-Lehmann)",
    ),
    "mean": (
        "dlbs.results.statistics.bootstrap:mean_interval",
        "ratio of the means of the runs",
    ),
}
