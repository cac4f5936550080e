"""Values of one side of a comparison, and the quantity that is usually compared."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlbs.results.runs import Record, Runs, number, status_of
from dlbs.results.statistics.intervals import Interval
from dlbs.text import are_positive

FAMILY = "results.serving."
RATE = f"{FAMILY}qps"  # logged by experiments that measured inference under load
HIGHEST_RATE = f"{FAMILY}max_qps"
PERCENTILES = ("p50", "p90", "p99")
_LEVEL = 0.95


def is_served(record: Record) -> bool:
    """Whether an experiment measured inference under load."""
    return number(record, RATE) is not None


def served_values(records: Iterable[Record]) -> list[str]:
    """Quantities of inference under load for tables, as far as the records have them."""
    keys = ("max_qps", "qps", "latency_p50", "latency_p99", "ttft_p99", "tpot_p99", "tokens_per_second", "valid")
    runs = Runs.of(records)
    return [key for key in map(FAMILY.__add__, keys) if any(value is not None for value in runs.distinct(key))]


def served_metric(records: Iterable[Record]) -> str:
    """Default metric of inference under load: the highest rate if all runs searched for it, the latency percentile of the scenario if all have a
    rate or wait for answers; empty for the throughput (offline)."""
    runs = Runs.of(records)
    if not runs or None in runs.numbers(RATE):
        return ""
    if None not in runs.numbers(f"{FAMILY}max_qps"):
        return f"{FAMILY}max_qps"
    return "" if "offline" in runs.distinct(f"{FAMILY}scenario") else f"{FAMILY}latency_target"


def logged_interval(record: Record, key: str) -> Interval | None:
    """95 % confidence interval of a value that a run logged as `KEY_ci95`; None if it or one of its bounds is missing."""
    bounds = record.get(f"{key}_ci95")
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    if not all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds):
        return None
    low, high = map(float, bounds)
    return Interval(low, high, _LEVEL) if 0 < low <= high < math.inf else None


THROUGHPUT, TIME = "results.throughput", "results.time"


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one side of a comparison.

    Attributes:
        values: The value of each run.
        series: The batch times of each run, in order; empty for a run that did not log them.
        intervals: The confidence interval of its value that each run logged; None for a run that logged none.
    """

    values: tuple[float, ...]
    series: tuple[tuple[float, ...], ...] = ()
    intervals: tuple[Interval | None, ...] = ()

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.values)

    def mean(self) -> float:
        """Mean of the runs."""
        return math.fsum(self.values) / self.runs

    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.values)


def has_value(record: Record, metric: str) -> bool:
    """Whether a run succeeded and logged a value that can be compared."""
    value = number(record, metric) if status_of(record) == "ok" else None
    return value is not None and (metric != THROUGHPUT or value > 0)


def usual_metric(records: Iterable[Record]) -> str:
    """Default metric: the throughput, or the time if no experiment logged a throughput; for inference under load, see `served_metric`."""
    runs = Runs.of(records)
    if served := served_metric(runs.ok):
        return served
    return TIME if runs.having(TIME) and not runs.having(THROUGHPUT) else THROUGHPUT


def none_ended_well(records: Iterable[Record]) -> str:
    """Message that no experiment succeeded, with their statuses: `no experiment succeeded: 2 failure`; empty if one did, or there is none."""
    counts = Counter(Runs.of(records).statuses)
    if not counts or "ok" in counts:
        return ""
    return f"no experiment succeeded: {', '.join(f'{count} {status}' for status, count in counts.most_common())}"


def sample_of(records: Sequence[Record], metric: str) -> Sample | None:
    """Make the sample of the runs that have a value; None if none has.

    A throughput is converted to the time per instance, which can be averaged.
    """
    values, series, intervals = [], [], []
    for record in records:
        value = number(record, metric)
        if value is None or not has_value(record, metric):
            continue
        times = record.get("results.time_data") if metric in (THROUGHPUT, TIME) else None
        values.append(1 / value if metric == THROUGHPUT else value)
        series.append(tuple(map(float, times)) if times and are_positive(times) else ())
        intervals.append(None if metric == THROUGHPUT else logged_interval(record, metric))
    return Sample(tuple(values), tuple(series), tuple(intervals)) if values else None
