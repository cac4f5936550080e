"""The one function that times batches, whatever they do."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

__all__ = ["Timing", "time_batches"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall times of batches, in seconds.

    Attributes:
        batches: Each timed batch, from before its data are asked for until the device has finished it.
        data_waits: The part of it that went by until the data were there.
        warmup: Each batch before them; the first of all pays for allocation, tuning and compilation.
        result: What the last step returned.
    """

    batches: array[float]
    data_waits: array[float]
    warmup: array[float]
    result: Any


def time_batches(
    step: Callable[[Any], Any],
    batches: Iterator[Any],
    *,
    count: int,
    warmup: int,
    synchronize: Callable[[], Any],
) -> Timing:
    """Run `warmup` batches, then time `count` more.

    The device is synchronised before and after every batch, so that a batch is charged with all of its work and nothing else.
    Garbage is collected beforehand and not while timing; the loop allocates nothing and prints nothing.

    Args:
        step: Does the work of one batch.
        batches: Gives the data.
        count: Timed batches, at least one.
        warmup: Batches before them, may be zero.
        synchronize: Waits until the device has done what was asked of it.
    """
    before, _, result = _run(step, batches, warmup, synchronize)
    with _no_garbage_collection():
        times, waits, result = _run(step, batches, count, synchronize)
    return Timing(times, waits, before, result)


def _run(
    step: Callable[[Any], Any], batches: Iterator[Any], count: int, synchronize: Callable[[], Any]
) -> tuple[array[float], array[float], Any]:
    times = array("d", bytes(8 * count))
    waits = array("d", bytes(8 * count))
    result = None
    for index in range(count):
        synchronize()
        start = perf_counter()
        batch = next(batches)
        ready = perf_counter()
        result = step(batch)
        synchronize()
        end = perf_counter()
        times[index] = end - start
        waits[index] = ready - start
    return times, waits, result


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
