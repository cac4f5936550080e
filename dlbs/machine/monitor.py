"""Sample a running experiment from another process: its processes, its GPUs, and the energy of the CPUs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from dlbs.experiment import Experiment
from dlbs.machine.cpus import CpuEnergy, CpuState
from dlbs.machine.gpus import GPU_SERIES, Gpus
from dlbs.machine.processes import PROCESS_SERIES, ProcessTree
from dlbs.machine.resources import gpu_ids
from dlbs.machine.usage import Usage
from dlbs.text import text

__all__ = ["Monitor"]


_FIRST_LOOK = 0.002  # seconds after the start


@dataclass(frozen=True, slots=True)
class _Look:
    """An observation at one time.

    Attributes:
        moment: `time.monotonic()`.
        time: Seconds since 1970.
        used: Resources that the processes have used so far and occupy now, and the energy of the CPUs so far.
        states: Clock and temperature of the CPUs.
        gpus: For each GPU series, a value of each GPU.
    """

    moment: float
    time: float
    used: dict[str, float]
    states: tuple[float | None, float | None]
    gpus: list[list[float | None]]


class Monitor:
    """Sample one experiment.

    Create it before the experiment starts, because loading the libraries that read processes and GPUs can take longer than a short
    experiment.

    Args:
        interval: Seconds between samples.
        gpus: Numbers of the GPUs to sample.
        container: Name of the container whose processes are counted too; empty for none.
        docker: The docker command.
        shared: Whether programs on the GPUs belong to the experiment although they run already.
    """

    def __init__(
        self,
        interval: float,
        *,
        gpus: list[int] | None = None,
        container: str = "",
        docker: str = "docker",
        shared: bool = False,
    ) -> None:
        self._tree = ProcessTree(container, docker)
        self._gpus = Gpus(gpus or [], shared=shared)
        self._cpus = CpuEnergy()
        self._state = CpuState()
        self._interval = interval
        self._start = self._next = 0.0
        self._last: _Look | None = None  # of the last sample, the start of the next one
        self._early: _Look | None = None  # the latest one, if there is no sample yet
        self._early_at = 0.0
        self._times: list[float] = []
        self._seconds: list[float] = []  # that each sample covers
        self._joules_before = self._joules = 0.0
        self._series: dict[str, list[float]] = {name: [] for name in PROCESS_SERIES}
        self._power: list[float] = []
        self._states: dict[str, list[float | None]] = {"cpu_mhz": [], "cpu_temp": []}
        self._gpu_series: dict[str, list[list[float | None]]] = {name: [] for name in GPU_SERIES}

    @classmethod
    def of(cls, experiment: Experiment, container: str = "") -> Monitor | None:
        """The monitor that an experiment requests; None if it requests none."""
        interval = float(experiment.get("monitor.interval") or 0)
        if interval <= 0:
            return None
        gpus = text(experiment.get("exp.gpu_ids"))
        docker = text(experiment.get("exp.docker_launcher")) or "docker"
        shared = bool(text(experiment.get("serving.url")))  # its server may be on these GPUs
        return cls(interval, gpus=gpu_ids(gpus), container=container, docker=docker, shared=shared)

    def watch(self, pid: int) -> None:
        """Begin with a first observation of the launcher's process `pid` and all its descendants."""
        self._start = time.monotonic()
        self._tree.watch(pid, self._start)
        self._last = self._look(self._start)
        self._joules_before = self._last.used["energy"]
        self._next = self._start + self._interval
        self._early_at = self._start + _FIRST_LOOK

    def sample_if_due(self) -> float:
        """Take a sample if it is time to; return the time (`time.monotonic()`) of the next one."""
        now = time.monotonic()
        if self._last is not None and now >= self._next:
            look = self._look(now)
            self._record(self._last, look)
            self._last, self._early = look, None
            self._next = now + self._interval
        if self._times:
            return self._next
        # Memory and threads cannot be read after an experiment has ended. An experiment that is too short for a sample is
        # therefore observed before the first sample: at 2 ms, 4 ms, 8 ms, …
        if now >= self._early_at:
            look = self._look(now)
            if look.used["mem_res"]:  # otherwise all its processes have ended
                self._early = look
            self._early_at = self._start + 2 * (now - self._start)
        return min(self._next, self._early_at)

    def _look(self, now: float) -> _Look:
        used = self._tree.used(now)
        used["energy"] = self._cpus.joules()
        return _Look(now, time.time(), used, self._state.at(now), self._gpus.sample())

    def _record(self, last: _Look, look: _Look) -> None:
        """Add a sample to the series: changes between two observations, and resources occupied at the second."""
        seconds = look.moment - last.moment
        self._times.append(round(look.time, 3))
        self._seconds.append(seconds)
        for name in PROCESS_SERIES:
            value = look.used[name]
            if name == "cpu":  # CPU seconds → percent of one CPU
                value = round(100 * max(0.0, value - last.used[name]) / seconds, 1)
            elif name.startswith("io_"):  # bytes since the sample before
                value = max(0.0, value - last.used[name])
            self._series[name].append(value)
        if self._cpus.found:
            self._power.append(round(max(0.0, look.used["energy"] - last.used["energy"]) / seconds, 2))
        for name, state in zip(self._states, look.states, strict=True):
            self._states[name].append(state)
        for name, values in zip(GPU_SERIES, look.gpus, strict=True):
            self._gpu_series[name].append(values)

    def end(self, usage: Usage | None) -> None:
        """Finish after the experiment has ended; add a sample if it was too short for one.

        Args:
            usage: Resource usage of the launcher's process, if known.
        """
        if self._last is None:
            return
        now, joules = time.monotonic(), self._cpus.joules()
        if not self._times:
            self._last = self._at_the_end(self._last, now, joules, usage)
        self._joules = joules - self._joules_before
        self._seconds[-1] += now - self._last.moment
        self._last = None

    def _at_the_end(self, last: _Look, now: float, joules: float, usage: Usage | None) -> _Look:
        """Add a sample for an experiment that was too short for one; return its observation."""
        seen = self._early or last
        if self._early is None or (usage is not None and usage.cpu > seen.used["cpu"]):
            used = dict(seen.used)
            if usage is not None:
                for name in ("cpu", "io_read", "io_write"):
                    used[name] = max(used[name], getattr(usage, name))
            used["threads"] = max(used["threads"], 1.0)
            used["energy"] = joules
            seen = replace(seen, moment=now, time=time.time(), used=used)
        self._record(last, seen)
        return seen

    def warnings(self) -> list[str]:
        """Warnings about the GPUs, as `problem: figures; advice`."""
        return self._gpus.warnings()

    def results(self) -> dict[str, Any]:
        """Log values: series with their time stamps, means, peaks and energy; docs/log-format.md has the units."""
        found: dict[str, Any] = {"time": self._times, **self._series}
        for name in ("cpu", "mem_res"):
            if self._series[name]:
                found[f"{name}_mean"] = statistics.fmean(self._series[name])
                found[f"{name}_peak"] = max(self._series[name])
        found.update({name: values for name, values in self._states.items() if any(values)})
        if self._power:
            found["power"] = self._power
            found["energy"] = round(self._joules, 3)
        if self._gpus.count:
            by_gpu = {name: [list(row) for row in zip(*rows, strict=True)] for name, rows in self._gpu_series.items()}
            found.update(by_gpu)
            found["gpu_energy"] = [_gpu_energy(self._seconds, watts) for watts in by_gpu["gpu_power"]]
            known = [[size for size in one if size is not None] for one in by_gpu["gpu_mem"]]
            found["gpu_mem_peak"] = [max(sizes, default=None) for sizes in known]
        return {f"results.use.{name}": values for name, values in found.items()}


def _gpu_energy(seconds: list[float], watts: list[float | None]) -> float | None:
    """Energy in joules of power samples, each of which covers some seconds; None for a GPU that does not report its power, such as a part of
    one (MIG). A missing sample counts as the mean of the others."""
    known = [(power * covered, covered) for power, covered in zip(watts, seconds, strict=True) if power is not None]
    if not known:
        return None
    joules, covered = map(sum, zip(*known, strict=True))
    return round(joules * sum(seconds) / covered, 3)
