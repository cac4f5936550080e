"""Values of one side of a comparison."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlbs.logs import are_positive
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.intervals import Interval
from dlbs.results.underload import logged_interval, served_metric

__all__ = ["THROUGHPUT", "TIME", "Sample", "has_value", "none_ended_well", "sample_of", "usual_metric"]

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
    records = list(records)
    if served := served_metric([record for record in records if status_of(record) == "ok"]):
        return served
    found = {key for record in records for key in (THROUGHPUT, TIME) if number(record, key) is not None}
    return TIME if found == {TIME} else THROUGHPUT


def none_ended_well(records: Iterable[Record]) -> str:
    """Message that no experiment succeeded, with their statuses: `no experiment succeeded: 2 failure`; empty if one did, or there is none."""
    counts = Counter(map(status_of, records))
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
