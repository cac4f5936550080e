"""Measure the noise of this machine with a short A/A run: equal work on all CPUs, timed repeatedly."""

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

# Quantiles of Student's distribution at 0.975 and 0.80 for 2n-2 degrees of freedom, n runs per side: a two-sided test at 5 % that
# finds the difference in 80 % of the cases (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2).
_QUANTILES = {3: (2.776, 0.941), 5: (2.306, 0.889), 10: (2.101, 0.862), 20: (2.024, 0.851)}


@dataclass(frozen=True, slots=True)
class Noise:
    """The times of runs with equal work.

    Attributes:
        seconds: The time of each run, in order.
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
        """How much the medians of even and odd runs differ, as a share; the runs are equal, so the difference is noise."""
        a, b = statistics.median(self.seconds[::2]), statistics.median(self.seconds[1::2])
        return abs(a / b - 1)


def detectable(variation: float, runs: int = 5) -> float:
    """The smallest difference of means that this number of runs per side detects with 80 % power, at 5 % false alarms.

    Args:
        variation: The coefficient of variation of runs.
        runs: Runs per side: 3, 5, 10 or 20.

    Returns:
        A share: 0.02 is 2 %.
    """
    alarm, power = _QUANTILES[runs]
    return (alarm + power) * variation * math.sqrt(2 / runs)


def measure_noise(seconds: float = 5.0, tell: Callable[[int, int], None] | None = None) -> Noise:
    """Time the same work on all usable CPUs repeatedly. A run ends with its last thread, as a batch does.

    Args:
        seconds: Approximate total time in seconds.
        tell: Called with the number of the run and the number of runs.
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
    """Number of blocks per thread for runs of about `_RUN_SECONDS`."""
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
        hashlib.blake2b(_BLOCK).digest()  # releases the interpreter's lock, so all threads compute
