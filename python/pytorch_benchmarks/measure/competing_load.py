"""Activity of the operating system during timed batches: page faults, context switches, and CPU time of other processes."""

from __future__ import annotations

import os
import resource
from time import perf_counter
from typing import NamedTuple

__all__ = ["CompetingLoad"]

COMPETING_FROM = 0.05  # share of the CPUs above which a warning is logged
_SHORTEST = 0.5  # seconds; the kernel counts CPU time in hundredths of a second


class _Sample(NamedTuple):
    """Monotonic counters; the counts of ended processes are lost."""

    seconds: float
    busy: float
    own: float
    faults: float
    faults_major: float
    switches: float
    switches_involuntary: float


class CompetingLoad:
    """Reads counters of this process and of its allowed CPUs just before and just after timed batches; sums several intervals."""

    def __init__(self) -> None:
        self._before: _Sample | None = None
        self._total = _Sample(*[0.0] * 7)

    def start(self) -> None:
        self._before = _sample()

    def stop(self) -> None:
        after = _sample()
        assert self._before is not None
        used = [end - begin for begin, end in zip(self._before, after, strict=True)]
        self._total = _Sample(*(sum(pair) for pair in zip(self._total, used, strict=True)))

    def add(self, other: CompetingLoad) -> None:
        """Include the counts of another process."""
        self._total = _Sample(*(sum(pair) for pair in zip(self._total, other._total, strict=True)))

    def metrics(self, batches: int) -> dict[str, float | None]:
        """Return log values.

        Returns:
            Page faults per batch (minor: memory provided by the kernel; major: read from a disk), voluntary and involuntary context switches,
            and the share of the process's CPUs, 0 to 1, that other processes used; None if unknown.
        """
        total = self._total
        competing = None
        if total.seconds >= _SHORTEST and total.busy > 0.0:
            competing = round(max(0.0, (total.busy - total.own) / (total.seconds * len(_allowed_cpus()))), 4)
        return {
            "results.page_faults": total.faults / batches,
            "results.page_faults_major": total.faults_major / batches,
            "results.context_switches": int(total.switches),
            "results.context_switches_involuntary": int(total.switches_involuntary),
            "results.competing_load": competing,
        }


def _sample() -> _Sample:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return _Sample(
        perf_counter(),
        _busy_seconds(),
        _own_seconds(),
        usage.ru_minflt,
        usage.ru_majflt,
        usage.ru_nvcsw,
        usage.ru_nivcsw,
    )


def _allowed_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _busy_seconds() -> float:
    """Seconds that the allowed CPUs were busy, for any process or stolen by the hypervisor; 0 if unknown."""
    wanted = {f"cpu{number}" for number in _allowed_cpus()}
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
    """CPU time of this process, its children, and the processes that work with it."""
    own = os.getpid()
    family = {own} if os.environ.get("TORCHELASTIC_RUN_ID") is None else {own, os.getppid()}
    ticks = 0
    for pid, (parent, used) in sorted(_processes().items()):
        if pid in family or parent in family:
            family.add(pid)
            ticks += used
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and CPU time, in ticks, of every process."""
    found: dict[int, tuple[int, int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stream:
                    fields = stream.read().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended since
            found[int(name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    return found
