"""Work of the operating system during timed batches: page faults, context switches, and CPU time of other programs. Families of processes."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

_SHORTEST = 0.5  # seconds; the kernel counts CPU time in hundredths of a second


class _Sample(NamedTuple):
    """Monotonic counters."""

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
        self._total = self._last = _Sample(*[0.0] * 7)

    def start(self) -> None:
        self._before = _sample()

    def stop(self) -> None:
        assert self._before is not None
        self._last = _Sample(*(end - begin for begin, end in zip(self._before, _sample())))  # noqa: B905 - Python 3.9
        self._total = _sum(self._total, self._last)

    def add(self, other: CompetingLoad) -> None:
        """Include the counts of another process."""
        self._total = _sum(self._total, other._total)

    @property
    def share(self) -> float | None:
        """The share of the allowed CPUs, 0 to 1, that other programs used; None if unknown."""
        return None if self._total.seconds < _SHORTEST else _share(self._total)

    @property
    def last_share(self) -> float | None:
        """The share in the last interval, however short: the kernel counts hundredths of a second."""
        return _share(self._last)

    def metrics(self, batches: int) -> dict[str, float | None]:
        """Log values: page faults per batch (minor: memory provided by the kernel; major: read from a disk), voluntary and involuntary
        context switches, and the share of the CPUs that other programs used.
        """
        return {
            "results.page_faults": self._total.faults / batches,
            "results.page_faults_major": self._total.faults_major / batches,
            "results.context_switches": int(self._total.switches),
            "results.context_switches_involuntary": int(self._total.switches_involuntary),
            "results.competing_load": self.share,
        }


def _share(used: _Sample) -> float | None:
    if used.busy <= 0.0:
        return None
    return round(max(0.0, (used.busy - used.own) / (used.seconds * len(allowed_cpus()))), 4)


def _sum(first: _Sample, second: _Sample) -> _Sample:
    return _Sample(*map(sum, zip(first, second)))  # noqa: B905 - Python 3.9


def _sample() -> _Sample:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return _Sample(
        time.perf_counter(),
        _busy_seconds(),
        _own_seconds(),
        usage.ru_minflt,
        usage.ru_majflt,
        usage.ru_nvcsw,
        usage.ru_nivcsw,
    )


def allowed_cpus() -> tuple[int, ...]:
    """Numbers of the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _busy_seconds() -> float:
    """Seconds that the allowed CPUs were busy, for any process or stolen by the hypervisor; 0 if unknown."""
    wanted = {f"cpu{number}" for number in allowed_cpus()}
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
    """CPU time of this process, its descendants, and the processes that work with it."""
    roots = {os.getpid()}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        roots.add(os.getppid())
    processes = _processes()
    ticks = sum(processes[pid].ticks for pid in _family(roots, processes))
    return ticks / os.sysconf("SC_CLK_TCK")


class _Process(NamedTuple):
    """A row of /proc: its parent, and its CPU time with that of its ended children, in ticks."""

    parent: int
    ticks: int
    has_ended: bool


def _processes() -> dict[int, _Process]:
    """All processes; none without /proc."""
    with contextlib.suppress(OSError):
        return dict(_rows(os.listdir("/proc")))
    return {}


def _rows(names: Collection[str]) -> Iterator[tuple[int, _Process]]:
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                    state, parent, *fields = stream.read().rpartition(")")[2].split()
            except (OSError, ValueError):
                continue  # it has ended since
            yield int(name), _Process(int(parent), sum(map(int, fields[9:13])), state in "XZ")


def _family(roots: Collection[int], processes: dict[int, _Process]) -> set[int]:
    """These processes and their descendants, of those that exist."""
    found: set[int] = set()
    level = {pid for pid in roots if pid in processes}
    while level:
        found |= level
        level = {pid for pid, process in processes.items() if process.parent in level} - found
    return found


def end_family(root: int, grace: float) -> None:
    """Terminate a process and all its descendants; kill those that remain after some seconds."""
    deadline = time.monotonic() + grace
    family = {root} | _family([root], _processes())
    _signal(family, signal.SIGTERM)
    while time.monotonic() < deadline and (family := _running(family)):
        time.sleep(0.05)
    _signal(_running(family), signal.SIGKILL)


def _running(pids: Collection[int]) -> set[int]:
    processes = dict(_rows(list(map(str, pids))))
    return {pid for pid, process in processes.items() if not process.has_ended}


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.kill(pid, number)
