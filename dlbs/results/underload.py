"""Results of inference under load (`exp.phase=serving`): usual quantities, and the confidence intervals that single runs log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.statistics.intervals import Interval

__all__ = ["FAMILY", "PERCENTILES", "is_served", "logged_interval", "served_metric", "served_values"]

FAMILY = "results.serving."
PERCENTILES = ("p50", "p90", "p99")
_LEVEL = 0.95


def is_served(record: Record) -> bool:
    """Whether an experiment measured inference under load."""
    return number(record, f"{FAMILY}qps") is not None


def served_values(records: Sequence[Record]) -> list[str]:
    """Quantities of inference under load for tables, as far as the records have them."""
    keys = ("max_qps", "qps", "latency_p50", "latency_p99", "ttft_p99", "tpot_p99", "tokens_per_second", "valid")
    return [f"{FAMILY}{key}" for key in keys if any(one.get(f"{FAMILY}{key}") is not None for one in records)]


def served_metric(records: Iterable[Record]) -> str:
    """Default metric of inference under load: the highest rate if all runs searched for it, the latency percentile of the scenario if all have a
    rate or wait for answers; empty for the throughput (offline)."""
    records = list(records)
    if not records or not all(map(is_served, records)):
        return ""
    if all(number(record, f"{FAMILY}max_qps") is not None for record in records):
        return f"{FAMILY}max_qps"
    return "" if any(record.get(f"{FAMILY}scenario") == "offline" for record in records) else f"{FAMILY}latency_target"


def logged_interval(record: Record, key: str) -> Interval | None:
    """95 % confidence interval of a value that a run logged as `KEY_ci95`; None if it or one of its bounds is missing."""
    bounds = record.get(f"{key}_ci95")
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    if not all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds):
        return None
    low, high = map(float, bounds)
    return Interval(low, high, _LEVEL) if 0 < low <= high < math.inf else None
