"""Results of inference under load (`exp.phase=serving`): usual quantities, and the confidence intervals that single runs log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.statistics.intervals import Interval
from dlbs.text import short_number

__all__ = [
    "FAMILY",
    "HIGHEST_RATE",
    "PERCENTILES",
    "is_served",
    "logged_interval",
    "search_lines",
    "served_metric",
    "served_values",
]

FAMILY = "results.serving."
HIGHEST_RATE = f"{FAMILY}max_qps"
PERCENTILES = ("p50", "p90", "p99")
_LEVEL = 0.95
_MOST_SEARCHES = 10


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


def search_lines(records: Iterable[Record]) -> list[str]:
    """The limits of the processes of each search, from the highest rate to the lowest: `Highest rate 95.2: 2 processes, 90.1, 100.5`."""
    found = []
    for record in records:
        rate, limits = number(record, HIGHEST_RATE), record.get(f"{HIGHEST_RATE}_per_process")
        if rate is None or not isinstance(limits, list):
            continue
        numbers = [value for limit in limits if (value := number({"limit": limit}, "limit")) is not None]
        if numbers:
            each = ", ".join(map(short_number, numbers))
            found.append(
                (
                    rate,
                    f"Highest rate {short_number(rate)}: {'1 process' if len(numbers) == 1 else f'{len(numbers)} processes'}, {each}",
                )
            )
    found.sort(reverse=True)
    lines = [line for _, line in found[:_MOST_SEARCHES]]
    return lines if len(found) <= _MOST_SEARCHES else [*lines, f"and {len(found) - _MOST_SEARCHES} more searches"]
