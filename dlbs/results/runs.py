"""Runs, a table of results, and the meaning of their keys: status, numbers, times and digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from benchmark_core.doubts import MONITOR_WARNINGS, doubts_of
from benchmark_core.log import STATUSES
from dlbs.results.columns import Columns, merged, of_records
from dlbs.text import finite

Record = Mapping[str, Any]

_NOT_CONTENT = ("exp.log_file", "db.tags", "db.added", "db.id")  # the path of a log does not identify the run


class Runs(Columns):
    """Results of runs: a sequence of read-only records, whose keys are columns."""

    __slots__ = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> Runs:
        """Records as runs; runs are returned as they are."""
        return records if isinstance(records, Runs) else cls.together(blocks_of(records))

    @classmethod
    def together(cls, blocks: Iterable[Runs]) -> Runs:
        """The runs of all blocks, in order."""
        parts = list(blocks)
        return parts[0] if len(parts) == 1 else cls(merged(parts))

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
        keys = "exp.status", "results.time", "results.throughput"
        kept = self.table.kept("statuses", lambda: _statuses(Runs(self.table), *keys))
        return list(map(kept.__getitem__, self.rows))

    @property
    def ok(self) -> Runs:
        """The successful runs."""
        return self.where([status == "ok" for status in self.statuses])

    @property
    def doubts(self) -> list[Sequence[str]]:
        """The kinds of the warnings of each run about its own numbers."""
        kept = self.table.kept(
            "doubts", lambda: Runs(self.table).each(("results.warnings", MONITOR_WARNINGS), doubts_of)
        )
        return list(map(kept.__getitem__, self.rows))


def blocks_of(records: Iterable[Record]) -> Iterator[Runs]:
    """Records as blocks of runs: tables of a limited size, in order."""
    return (Runs(table, rows) for table, rows in of_records(records))


def _statuses(runs: Runs, status: str, time: str, throughput: str) -> list[str]:
    given, codes = runs.classes(status)
    values = runs.numbers(throughput)
    found = []
    for code, value, row in zip(codes, values, runs.rows, strict=True):
        word = given[code]
        if word == "ok":
            found.append("failure" if value is not None and value <= 0 else "ok")
        elif word in STATUSES or word == "unfinished":
            found.append(word)
        else:
            found.append("ok" if any(runs.table.has(name, row) for name in (time, throughput)) else "unfinished")
    return found


def digest_of(record: Record) -> str:
    """Digest of a run as 64 hexadecimal digits."""
    content = {name: value for name, value in record.items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def status_of(record: Record) -> str:
    """Status of an experiment: one of the log protocol, or `unfinished`.

    A log without a status, such as the plain output of `benchmarks.py`, is ok if it has a result. The original DLBS wrote a throughput of -1
    for failed experiments and left their status at ok.
    """
    status = record.get("exp.status")
    throughput = number(record, "results.throughput")
    if status == "ok" and throughput is not None and throughput <= 0:
        return "failure"
    if status in STATUSES or status == "unfinished":
        return str(status)
    return "ok" if "results.time" in record or "results.throughput" in record else "unfinished"


def is_ok(record: Record) -> bool:
    return status_of(record) == "ok"


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
