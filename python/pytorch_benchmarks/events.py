"""Events in the stream of work of a device, whatever framework makes them."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Event"]


class Event(Protocol):
    """A place in the device's stream of work, with the time at which the device got there."""

    def record(self) -> Any: ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to a later one."""
