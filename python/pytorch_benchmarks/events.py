"""Interface of events in a device's stream of work, independent of the framework."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Event"]


class Event(Protocol):
    """A marker in the device's stream of work, with the time at which the device reached it."""

    def record(self) -> Any: ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to a later one."""
