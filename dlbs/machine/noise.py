"""How much does the same work vary on this machine? A short A/A run: the work of all CPUs, timed again and again."""

from __future__ import annotations

import hashlib
import math
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dlbs.machine.devices import usable_cpus

__all__ = ["Noise", "detectable", "measure_noise"]

_BLOCK = bytes(1 << 20)
_RUN_SECONDS = 0.25  # of one run: as long as a few dozen batches of a small model
_FEWEST_RUNS = 6

# Quantiles of Student's distribution at 0.975 and 0.80 for 2n-2 degrees of freedom, n runs a side: a two-sided test at 5 % that
# finds the difference in 80 % of the cases (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2).
_QUANTILES = {3: (2.776, 0.941), 5: (2.306, 0.889), 10: (2.101, 0.862), 20: (2.024, 0.851)}


@dataclass(frozen=True, slots=True)
class Noise:
    """The times of equal runs.

    Attributes:
        seconds: The time of each run, in the order of the runs.
    """

    seconds: tuple[float, ...]

    @property
    def variation(self) -> float:
        """The coefficient of variation: standard deviation over mean."""
        return statistics.stdev(self.seconds) / statistics.fmean(self.seconds)

    @property
    def spread(self) -> float:
        """The slowest run over the fastest."""
        return max(self.seconds) / min(self.seconds)

    @property
    def difference(self) -> float:
        """How much the medians of even and odd runs differ, as a share: no difference was made, so all of it is noise."""
        a, b = statistics.median(self.seconds[::2]), statistics.median(self.seconds[1::2])
        return abs(a / b - 1)


def detectable(variation: float, runs: int = 5) -> float:
    """The smallest difference of means that so many runs a side find in 80 % of the cases, at 5 % false alarms.

    Args:
        variation: The coefficient of variation of runs.
        runs: Of each side: 3, 5, 10 or 20.

    Returns:
        A share: 0.02 is 2 %.
    """
    alarm, power = _QUANTILES[runs]
    return (alarm + power) * variation * math.sqrt(2 / runs)


def measure_noise(seconds: float = 5.0, tell: Callable[[int, int], None] | None = None) -> Noise:
    """Time the same work on all usable CPUs again and again. A run ends when its last thread does, as a batch does.

    Args:
        seconds: How long all of it may take, about.
        tell: Is called with the number of the run and of all runs.
    """
    count = len(usable_cpus())
    rounds = _calibrated(count)
    runs = max(_FEWEST_RUNS, round(seconds / _RUN_SECONDS))
    times = []
    for number in range(1, runs + 1):
        times.append(_run(count, rounds))
        if tell is not None:
            tell(number, runs)
    return Noise(tuple(times))


def _calibrated(count: int) -> int:
    """Blocks for each thread so that a run takes about `_RUN_SECONDS`."""
    blocks = 4
    while (took := _run(count, blocks)) < _RUN_SECONDS / 4:
        blocks *= 2
    return max(1, round(blocks * _RUN_SECONDS / took))


def _run(count: int, blocks: int) -> float:
    threads = [threading.Thread(target=_work, args=(blocks,)) for _ in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _work(blocks: int) -> None:
    for _ in range(blocks):
        hashlib.blake2b(_BLOCK).digest()  # without the interpreter's lock, so all threads compute
