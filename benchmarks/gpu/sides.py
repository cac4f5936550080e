"""Measure several implementations of the same work, alternating in one process."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from benchmark_core.timing import Schedule, time_batches
from pytorch_benchmarks.devices import event_maker, synchronizer


class NotHereError(Exception):
    """A package that a measurement needs is not installed; the message names it."""


Side = Callable[[int], float]  # number of batches → seconds per batch


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort of a measurement.

    Attributes:
        device: The device.
        rounds: Number of rounds of all sides, each in random order.
        seconds: Duration of a side in a round; 0 runs each side and measures nothing.
    """

    device: torch.device
    rounds: int
    seconds: float

    @property
    def measures(self) -> bool:
        """Whether the figures mean anything."""
        return self.seconds > 0

    @property
    def tiny(self) -> bool:
        """Whether only the code is tested, with tiny sizes, since figures of a CPU are useless here."""
        return self.device.type == "cpu"

    @classmethod
    def of(cls, device: torch.device) -> Effort:
        """The default effort: three rounds of 0.4 s on a GPU."""
        return cls(device, 1, 0.0) if device.type == "cpu" else cls(device, 3, 0.4)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement, one line of the report.

    Attributes:
        name: Its name.
        run: Function of the effort that measures and returns figures; raises `NotHereError` if a package is missing.
    """

    name: str
    run: partial[Mapping[str, Any]]


def ours(step: Callable[[Any], Any], batches: Iterator[Any], device: torch.device, sync: str = "end") -> Side:
    """Batches timed by the harness, as benchmarks.py reports them."""

    def side(count: int) -> float:
        timing = time_batches(
            step,
            batches,
            Schedule(count, 0, sync=sync),
            synchronize=synchronizer(device),
            make_event=event_maker(device),
        )
        return timing.total / count

    return side


def bare(step: Callable[[], Any], device: torch.device) -> Side:
    """A handwritten loop: synchronise, read the clock, work, synchronise, read the clock."""
    synchronize = synchronizer(device)

    def side(count: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        synchronize()
        return (time.perf_counter() - start) / count

    return side


def compare(sides: Mapping[str, Side], effort: Effort, warmup: int = 3) -> dict[str, list[float]]:
    """Seconds per batch of each side in each round.

    Each side warms up, and runs as many batches as take `effort.seconds`.
    """
    counts = {}
    for name, side in sides.items():
        side(1)
        once = side(1 if effort.tiny else warmup)
        counts[name] = max(1, min(5000, math.ceil(effort.seconds / once)))
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(effort.rounds):
        for name in random.sample(list(sides), len(sides)):
            found[name].append(sides[name](counts[name]))
    return found


def ratio(found: Mapping[str, list[float]], of: str, to: str) -> float:
    """The speed-up of `of` over `to`: the median of the rounds' ratios, since drift of the machine exceeds the difference of two sides."""
    return statistics.median(b / a for a, b in zip(found[of], found[to], strict=True))


@cache
def matrix_rate(device: torch.device, arithmetic: str, size: int = 8192) -> float:
    """Measured operations per second of a product of two square matrices on this device, the upper bound for a model."""
    kind = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(arithmetic, torch.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if arithmetic == "tf32" else "highest")
    size = 128 if device.type == "cpu" else size
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    side = bare(lambda: left @ right, device)
    side(3)
    seconds = statistics.median(side(5) for _ in range(3))
    torch.set_float32_matmul_precision(before)
    return 2.0 * size**3 / seconds
