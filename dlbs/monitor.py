"""Look at the processes of a running experiment from outside: CPU and memory of its process group."""

from __future__ import annotations

import time
from typing import Any

from dlbs.processor import Experiment

__all__ = ["Monitor"]


class Monitor:
    """Samples of one experiment's processes.

    Args:
        pid: The launcher's process; it and all its descendants are counted.
        frequency: Samples a second.
    """

    def __init__(self, pid: int, frequency: float) -> None:
        import psutil

        self._psutil = psutil
        self._root = psutil.Process(pid)
        self._interval = 1.0 / frequency
        self._next = time.monotonic()
        self._series: dict[str, list[float]] = {"time": [], "cpu": [], "mem_res": [], "mem_virt": []}
        self._cpu_before: tuple[float, float] | None = None

    @classmethod
    def of(cls, experiment: Experiment, pid: int) -> Monitor | None:
        """The monitor that an experiment asks for; None if it asks for none."""
        frequency = float(experiment.get("monitor.frequency") or 0)
        return cls(pid, frequency) if frequency > 0 else None

    def sample_if_due(self) -> float:
        """Take a sample if it is time to; return the moment (`time.monotonic()`) of the next one."""
        now = time.monotonic()
        if now >= self._next:
            self._sample(now)
            self._next = now + self._interval
        return self._next

    def _sample(self, now: float) -> None:
        cpu, resident, virtual = 0.0, 0, 0
        try:
            processes = [self._root, *self._root.children(recursive=True)]
        except self._psutil.Error:
            return
        for process in processes:
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except self._psutil.Error:  # it ended between being listed and being looked at
                continue
            cpu += times.user + times.system + times.children_user + times.children_system
            resident += memory.rss
            virtual += memory.vms
        if self._cpu_before is not None:
            before, cpu_before = self._cpu_before
            self._series["time"].append(round(time.time(), 3))
            self._series["cpu"].append(round(100 * max(0.0, cpu - cpu_before) / (now - before), 1))
            self._series["mem_res"].append(resident)
            self._series["mem_virt"].append(virtual)
        self._cpu_before = (now, cpu)

    def results(self) -> dict[str, Any]:
        """Log values: time (seconds since 1970), CPU (percent of one core), memory (bytes)."""
        return {f"results.use.{name}": values for name, values in self._series.items()}
