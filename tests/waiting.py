"""How tests wait: for events, never for times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

# Seconds after which something hangs. At rest nothing takes a tenth of it, and no assertion is about it.
PATIENCE = 1200.0

# Seconds for a limit that has to come after something has begun: the first with which it has is enough.
LIMITS = (0.5, 5.0, 50.0, 500.0)


def wait_until(condition: Callable[[], T], event: str = "what the test waits for", seconds: float = PATIENCE) -> T:
    """Return the first true value of `condition`.

    Args:
        condition: Asked every 20 ms.
        event: What is waited for, for the message of the failure.
        seconds: How long at most.

    Raises:
        AssertionError: It never came.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"after {seconds:.0f} s: {event} did not happen")


def has_ended(pid: int) -> bool:
    """Whether a process has ended; its parent may not have asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
