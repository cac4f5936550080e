"""Warnings about the times of a command: competing load, drift, outliers."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Sequence

__all__ = ["Load", "doubts", "drift", "outliers", "short_number"]

_SHORTEST = 0.5  # seconds; the kernel counts CPU time in hundredths of a second
_CONTENDED_FROM = 0.05  # share of the CPUs used by other processes from which times are doubtful
_DRIFT_FROM = 0.03
_FAR_OUT = 14.826  # modified z-score of an outlier (Iglewicz and Hoaglin 1993): ten median absolute deviations
_OUTLIER_FROM = 0.05  # minimum share above the median, since smaller differences are outliers too if times hardly vary
_FEWEST = 5  # times that the detection of outliers requires


class Load:
    """CPU time of all processes and of the command since the construction of this object."""

    def __init__(self) -> None:
        self._cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._begin = time.perf_counter()
        self._busy, self._own = self._busy_seconds(), _own_seconds()

    def others(self) -> float | None:
        """The share of the usable CPUs, 0 to 1, that other processes used since then; None if unknown."""
        seconds = time.perf_counter() - self._begin
        busy = self._busy_seconds()
        if seconds < _SHORTEST or busy <= 0:
            return None
        used = (busy - self._busy) - (_own_seconds() - self._own)
        return round(max(0.0, used / (seconds * len(self._cpus))), 4)

    def _busy_seconds(self) -> float:
        """Seconds that the usable CPUs were busy or stolen by the hypervisor; 0 if unknown."""
        wanted = {f"cpu{number}" for number in self._cpus}
        ticks = 0
        try:
            with open("/proc/stat") as lines:
                for line in lines:
                    name, *counts = line.split()
                    if name in wanted:
                        user, nice, system, _idle, _wait, hard, soft, steal = map(int, counts[:8])
                        ticks += user + nice + system + hard + soft + steal
        except (OSError, ValueError):
            return 0.0
        return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU time of this process and its ended descendants."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def doubts(times: Sequence[float], load: float | None, preemptions: int, ignored: int, runs: int) -> list[str]:
    """Warnings about the times, as `kind: figures; remedy`.

    Args:
        times: Times in ms, in order; empty if there are none.
        load: Share of the CPUs that other processes used.
        preemptions: Involuntary context switches of all runs.
        ignored: Runs that failed and are counted anyway.
        runs: Number of timed runs.
    """
    found = []
    if load is not None and load >= _CONTENDED_FROM:
        found.append(f"CPU contention: {100 * load:.0f} %, {preemptions:,} preemptions; rerun on an idle machine")
    moved = drift(times)
    if moved is not None and abs(moved[0]) > max(_DRIFT_FROM, 3 * moved[1]):
        found.append(
            f"drift: times {100 * moved[0]:+.0f} % from the first third of the runs to the last; "
            "warm up longer (exp.num_warmup_batches)"
        )
    far = outliers(times)
    median = f"the median is {short_number(statistics.median(times))} ms" if times else ""
    if far and far == [times[0]]:
        found.append(
            f"slow first run: {short_number(times[0])} ms, {median}; "
            "warm up (exp.num_warmup_batches), or clear caches before each run (command.prepare)"
        )
    elif far:
        found.append(
            f"outliers: {len(far)} of {len(times)} runs, up to {short_number(max(far))} ms, {median}; rerun on an idle machine"
        )
    if ignored:
        found.append(f"failures: {ignored} of {runs} runs exited with a nonzero code (command.ignore_failure)")
    return found


def short_number(value: float) -> str:
    """Format a number with four digits, without an exponent: `12.35`, `12,345`."""
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:.4g}"


def drift(times: Sequence[float]) -> tuple[float, float] | None:
    """The relative difference of the last third to the first, and its standard error; None for fewer than nine times."""
    third = len(times) // 3
    if third < 3 or not statistics.fmean(times[:third]) > 0:
        return None
    first, last = times[:third], times[-third:]
    mean = statistics.fmean(first)
    error = math.sqrt((statistics.variance(first) + statistics.variance(last)) / third)
    return statistics.fmean(last) / mean - 1, error / mean


def outliers(times: Sequence[float]) -> list[float]:
    """Times far above the median, measured by the median absolute deviation."""
    if len(times) < _FEWEST:
        return []
    middle = statistics.median(times)
    spread = statistics.median(abs(one - middle) for one in times)
    limit = max(_FAR_OUT * spread / 0.6745, _OUTLIER_FROM * middle)
    return [one for one in times if one - middle > limit]
