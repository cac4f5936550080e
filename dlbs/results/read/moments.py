"""Timestamps in records: parse `2026-11-21T10:00:00+0100`, and chronological order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

__all__ = ["moment", "order_of", "start_order", "timestamp", "utc"]


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
