"""Runs, a table of results, and the meaning of their keys: status, numbers, usual quantity, times and digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from benchmark_core.doubts import DOUBT_KEYS, doubts_of
from benchmark_core.log import STATUSES
from dlbs.core.text import finite
from dlbs.results.columns import Columns, ColumnTable, merged, of_records

if TYPE_CHECKING:
    from dlbs.config.declarations import Parameter

    Declared = Mapping[str, Parameter] | None

Record = Mapping[str, Any]

_NOT_CONTENT = ("exp.log_file", "db.tags", "db.added", "db.id")  # the path of a log does not identify the run

_BLOCK = 1 << 13  # rows of a table that is divided into blocks

THROUGHPUT, TIME = "results.throughput", "results.time"
FAMILY = "results.serving."
RATE = f"{FAMILY}qps"  # logged by experiments that measured inference under load
HIGHEST_RATE = f"{FAMILY}max_qps"
PERCENTILES = ("p50", "p90", "p99")


class Runs(Columns):
    """Results of runs: a sequence of read-only records, whose keys are columns.

    Args:
        table: The stored rows.
        rows: Which of them, in which order; None for all.
        declarations: Declared parameters: they say which keys identify an experiment, and in which order.
    """

    __slots__ = ("declarations",)

    def __init__(self, table: ColumnTable, rows: Sequence[int] | None = None, declarations: Declared = None) -> None:
        super().__init__(table, rows)
        self.declarations: Mapping[str, Parameter] = declarations or {}

    def _like(self, table: ColumnTable, rows: Sequence[int] | None = None) -> Runs:
        return Runs(table, rows, self.declarations)

    @classmethod
    def of(cls, records: Iterable[Record], declarations: Declared = None) -> Runs:
        """Records as runs; runs are returned as they are, or with these declarations."""
        made = records if isinstance(records, Runs) else cls.together(blocks_of(records))
        return made if declarations is None else cls(made.table, made.rows, declarations)

    @classmethod
    def together(cls, blocks: Iterable[Runs]) -> Runs:
        """The runs of all blocks, in order."""
        parts = list(blocks)
        return parts[0] if len(parts) == 1 else cls(merged(parts), None, parts[0].declarations if parts else None)

    def numbers(self, name: str) -> list[float | None]:
        """The value of each run if it is a finite number, else None."""
        column = self.table.column(name)
        if column is None:
            return [None] * len(self)
        numbers = self.table.kept(("numbers", name), lambda: [*map(finite, column.values), None])
        return list(map(numbers.__getitem__, self.codes(column)))

    def having(self, name: str) -> Runs:
        """The runs in which a key is a finite number."""
        return self.where([value is not None for value in self.numbers(name)])

    @property
    def statuses(self) -> list[str]:
        """The status of each run, as `status_of` has it."""
        kept = self.table.kept("statuses", lambda: _statuses(Runs(self.table)))
        return list(map(kept.__getitem__, self.rows))

    def comparable(self, metric: str) -> list[float | None]:
        """The value of each run that succeeded and logged one that can be compared, else None: a throughput must be positive."""
        kept = self.table.kept(("comparable", metric), lambda: _comparable(Runs(self.table), metric))
        return list(map(kept.__getitem__, self.rows))

    @property
    def digests(self) -> list[str]:
        """The digest of each run, as `digest_of` has it."""
        lines = self.json_lines(without=_NOT_CONTENT, sort_keys=True)
        return [hashlib.sha256(line.encode()).hexdigest() for line in lines]

    @property
    def ok(self) -> Runs:
        """The successful runs."""
        return self.where([status == "ok" for status in self.statuses])

    @property
    def doubts(self) -> list[Sequence[str]]:
        """The kinds of the warnings of each run about its own numbers."""
        kept = self.table.kept("doubts", lambda: Runs(self.table).each(DOUBT_KEYS, doubts_of))
        return list(map(kept.__getitem__, self.rows))


def blocks_of(records: Iterable[Record]) -> Iterator[Runs]:
    """Records as blocks of runs: tables of a limited size, in order."""
    if isinstance(records, Runs):
        # Tables of their own: what is worked out for each value of a column must not be worked out for those of the other blocks.
        return (Runs(merged([records[at : at + _BLOCK]])) for at in range(0, len(records), _BLOCK))
    return (Runs(table, rows) for table, rows in of_records(records))


def _comparable(runs: Runs, metric: str) -> list[float | None]:
    positive = metric == THROUGHPUT
    found = zip(runs.numbers(metric), runs.statuses, strict=True)
    return [
        value if value is not None and status == "ok" and (value > 0 or not positive) else None
        for value, status in found
    ]


def _statuses(runs: Runs) -> list[str]:
    given, codes = runs.classes("exp.status")
    has = runs.table.has
    return [
        _status(given[code], value, lambda row=row: has(TIME, row) or has(THROUGHPUT, row))  # type: ignore[misc]
        for code, value, row in zip(codes, runs.numbers(THROUGHPUT), runs.rows, strict=True)
    ]


def _status(status: Any, throughput: float | None, has_result: Callable[[], bool]) -> str:
    if status == "ok":
        return "failure" if throughput is not None and throughput <= 0 else "ok"
    if status in STATUSES or status == "unfinished":
        return str(status)
    return "ok" if has_result() else "unfinished"


def digest_of(record: Record) -> str:
    """Digest of a run as 64 hexadecimal digits."""
    content = {name: value for name, value in record.items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def status_of(record: Record) -> str:
    """Status of an experiment: one of the log protocol, or `unfinished`.

    A log without a status, such as the plain output of `benchmarks.py`, is ok if it has a result. The original DLBS wrote a throughput of -1
    for failed experiments and left their status at ok.
    """
    return _status(record.get("exp.status"), number(record, THROUGHPUT), lambda: TIME in record or THROUGHPUT in record)


def number(record: Record, key: str) -> float | None:
    """Value of a key if it is a finite number, else None."""
    return finite(record.get(key))


def moment(value: Any) -> datetime | None:
    """Parse a timestamp, with a time zone only if the value has one; None if it is not a timestamp."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    try:  # Python 3.10 does not parse `+0100` above
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None


def utc(value: Any) -> datetime | None:
    """Timestamp in UTC, without time zone information; unchanged if its time zone is unknown."""
    found = moment(value)
    if found is None or found.tzinfo is None:
        return found
    try:
        return found.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:  # in the year 1 or 9999
        return None


def timestamp(value: Any) -> float | None:
    """Seconds since 1970; a timestamp without a time zone is in local time."""
    found = moment(value)
    try:
        return None if found is None else found.timestamp()
    except (ValueError, OverflowError):
        return None


def order_of(value: Any) -> float:
    """Sort key for the chronological order of timestamps, whatever their time zones; other values come first."""
    seconds = timestamp(value)
    return -math.inf if seconds is None else seconds


def start_order(record: Mapping[str, Any]) -> float:
    """Sort key for the order in which experiments began; those without a start time are placed by the time at which a store added them."""
    added = record.get("db.added")
    return order_of(record.get("exp.start_time") or (f"{added}+00:00" if added else None))


def served_values(runs: Runs) -> list[str]:
    """Quantities of inference under load for tables, as far as the runs have them."""
    keys = ("max_qps", "qps", "latency_p50", "latency_p99", "ttft_p99", "tpot_p99", "tokens_per_second", "valid")
    return [key for key in map(FAMILY.__add__, keys) if any(value is not None for value in runs.distinct(key))]


def has_value(record: Record, metric: str) -> bool:
    """Whether a run succeeded and logged a value that can be compared."""
    value = number(record, metric) if status_of(record) == "ok" else None
    return value is not None and (metric != THROUGHPUT or value > 0)


def usual_metric(runs: Runs) -> str:
    """Default metric: the throughput, or the time if no experiment logged a throughput.

    For inference under load, it is the highest rate if all runs searched for it, else the latency percentile of the scenario if all have a rate and
    none is offline.
    """
    fine = runs.ok
    if fine and None not in fine.numbers(RATE):
        if None not in fine.numbers(HIGHEST_RATE):
            return HIGHEST_RATE
        if "offline" not in fine.distinct(f"{FAMILY}scenario"):
            return f"{FAMILY}latency_target"
    return THROUGHPUT if runs.having(THROUGHPUT) or not runs.having(TIME) else TIME


def none_ended_well(runs: Runs) -> str:
    """Message that no experiment succeeded, with their statuses: `no experiment succeeded: 2 failure`; empty if one did, or there is none."""
    counts = Counter(runs.statuses)
    if not counts or "ok" in counts:
        return ""
    return f"no experiment succeeded: {', '.join(f'{count} {status}' for status, count in counts.most_common())}"
