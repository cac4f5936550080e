"""Timestamps in records: parse `2026-11-21T10:00:00+0100`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

__all__ = ["moment", "timestamp", "utc"]


def moment(value: Any) -> datetime | None:
    """Parse a timestamp, with a time zone only if the value has one; None if it is not a timestamp."""
    if not isinstance(value, str):
        return None
    try:  # Python 3.10 does not parse `+0100`
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z") if "+" in value else datetime.fromisoformat(value)
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
