"""The Python interpreter during a run: without garbage collection, and with fast switches between threads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["undisturbed"]

_SWITCH = (
    0.0005  # seconds that a thread may keep others waiting; Python's default of 5 ms would be visible in latencies
)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Disable garbage collection, which stops all threads for up to 0.2 s, and let Python threads switch quickly."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        if collects:
            gc.enable()
