"""Times of day in records: `2026-11-21T10:00:00+0100` as a moment."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

__all__ = ["moment", "timestamp", "utc"]


def moment(value: Any) -> datetime | None:
    """The moment that a value is, with a time zone only if it has one; None if it is none."""
    if not isinstance(value, str):
        return None
    try:  # Python 3.10 reads no `+0100` in ISO format
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z") if "+" in value else datetime.fromisoformat(value)
    except ValueError:
        return None


def utc(value: Any) -> datetime | None:
    """The moment in UTC, without saying so; as it is if its time zone is not known."""
    found = moment(value)
    if found is None or found.tzinfo is None:
        return found
    try:
        return found.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:  # in the year 1 or 9999
        return None


def timestamp(value: Any) -> float | None:
    """Seconds since 1970; a moment without a time zone is in that of this machine."""
    found = moment(value)
    try:
        return None if found is None else found.timestamp()
    except (ValueError, OverflowError):
        return None
