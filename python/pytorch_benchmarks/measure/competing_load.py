"""What the operating system did while batches were timed: page faults, context switches, and who else used the processors."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from time import perf_counter

__all__ = ["CompetingLoad"]

COMPETING_FROM = 0.05  # of the processors: from here on the numbers are doubtful
_SHORTEST = 0.5  # seconds; the kernel counts processor time in hundredths of a second


@dataclass(frozen=True, slots=True)
class _Sample:
    when: float
    busy: float
    own: float
    usage: resource.struct_rusage


class CompetingLoad:
    """Two looks at the counters of this process and of the processors that it may use, just before and just after the timed batches."""

    def __init__(self) -> None:
        self._before: _Sample | None = None
        self._after: _Sample | None = None

    def start(self) -> None:
        self._before = _sample()

    def stop(self) -> None:
        self._after = _sample()

    def metrics(self, batches: int) -> dict[str, float | None]:
        """Log values.

        Returns:
            Page faults per batch (minor: memory handed out; major: read from a disk), voluntary and involuntary context switches,
            and the share of our processors, 0 to 1, that others used; None if that cannot be known.
        """
        before, after = self._before, self._after
        assert before is not None
        assert after is not None
        seconds = after.when - before.when
        competing = None
        if seconds >= _SHORTEST and after.busy > 0.0:
            others = (after.busy - before.busy) - (after.own - before.own)
            competing = round(max(0.0, others / (seconds * len(_processors()))), 4)
        return {
            "results.page_faults": (after.usage.ru_minflt - before.usage.ru_minflt) / batches,
            "results.page_faults_major": (after.usage.ru_majflt - before.usage.ru_majflt) / batches,
            "results.context_switches": after.usage.ru_nvcsw - before.usage.ru_nvcsw,
            "results.context_switches_involuntary": after.usage.ru_nivcsw - before.usage.ru_nivcsw,
            "results.competing_load": competing,
        }


def _sample() -> _Sample:
    return _Sample(perf_counter(), _busy_seconds(), _own_seconds(), resource.getrusage(resource.RUSAGE_SELF))


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _busy_seconds() -> float:
    """Seconds that our processors have worked for anybody, or were taken away by the hypervisor; 0 if that is not told."""
    wanted = {f"cpu{number}" for number in _processors()}
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
    """Processor time of this process, of the processes that it started and of those that work with it."""
    own = os.getpid()
    family = {own} if os.environ.get("TORCHELASTIC_RUN_ID") is None else {own, os.getppid()}
    ticks = 0
    for pid, (parent, used) in sorted(_processes().items()):
        if pid in family or parent in family:
            family.add(pid)
            ticks += used
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and processor time, in ticks, of every process."""
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
                continue  # it has ended meanwhile
            found[int(name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    return found
