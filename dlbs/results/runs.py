"""Meaning of keys in a run: its status, numbers, times and digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from benchmark_core.log import STATUSES
from dlbs.text import finite

Record = dict[str, Any]


_NOT_CONTENT = ("exp.log_file", "db.tags", "db.added", "db.id")  # the path of a log does not identify the run


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
