"""Look at a running experiment from outside: its processes, the GPUs that it got, and the energy of the processors."""

from __future__ import annotations

import glob
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from dlbs.experiment import Experiment
from dlbs.machine.devices import cuda_name
from dlbs.machine.resources import gpu_ids
from dlbs.text import text

__all__ = ["Monitor"]

_LOOK_FOR_PROCESSES = (
    1.0  # seconds: to find the tree costs a look at every process of the machine, to look at those known is cheap
)

_FIRST_LOOK = 0.02  # seconds after the start
_PROCESS_SERIES = ("cpu", "mem_res", "mem_virt", "mem_shrd", "threads", "io_read", "io_write")
_GPU_SERIES = ("gpu_util", "gpu_mem", "gpu_power", "gpu_temp", "gpu_clock")


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one moment.

    Attributes:
        moment: `time.monotonic()`.
        time: Seconds since 1970.
        used: What the processes have used so far and hold now, and the energy of the processors so far.
        states: Clock and temperature of the processors.
        gpus: For each GPU series, a value of each GPU.
    """

    moment: float
    time: float
    used: dict[str, float]
    states: tuple[float | None, float | None]
    gpus: list[list[float | None]]


class Monitor:
    """Samples of one experiment.

    Args:
        pid: The launcher's process; it and all its descendants are counted.
        interval: Seconds between two samples.
        gpus: Numbers of the GPUs to look at.
        container: Name of the container whose processes are counted too; empty for none.
        docker: The docker command.
    """

    def __init__(
        self, pid: int, interval: float, *, gpus: list[int] | None = None, container: str = "", docker: str = "docker"
    ) -> None:
        self._tree = _Tree(pid, container, docker)
        self._gpus = _Gpus(gpus or [])
        self._processors = _ProcessorEnergy()
        self._state = _ProcessorState()
        self._interval = interval
        self._start = self._next = time.monotonic()
        self._last: _Look | None = None  # that of the last sample, from which the next one is counted
        self._early: _Look | None = None  # since then, if there is no sample yet
        self._early_at = self._start + _FIRST_LOOK
        self._times: list[float] = []
        self._series: dict[str, list[float]] = {name: [] for name in _PROCESS_SERIES}
        self._power: list[float] = []
        self._states: dict[str, list[float | None]] = {"cpu_mhz": [], "cpu_temp": []}
        self._gpu_series: dict[str, list[list[float | None]]] = {name: [] for name in _GPU_SERIES}

    @classmethod
    def of(cls, experiment: Experiment, pid: int, container: str = "") -> Monitor | None:
        """The monitor that an experiment asks for; None if it asks for none."""
        interval = float(experiment.get("monitor.interval") or 0)
        if interval <= 0:
            return None
        gpus = text(experiment.get("exp.gpu_ids"))
        docker = text(experiment.get("exp.docker_launcher")) or "docker"
        return cls(pid, interval, gpus=gpu_ids(gpus), container=container, docker=docker)

    def sample_if_due(self) -> float:
        """Take a sample if it is time to; return the moment (`time.monotonic()`) of the next one."""
        now = time.monotonic()
        if now >= self._next:
            look = self._look(now)
            if self._last is not None:
                self._record(self._last, look)
            self._last, self._early = look, None
            self._next = now + self._interval
        if self._times:
            return self._next
        # Nothing can be seen of an experiment that has ended. So that one that is too short for a sample gets one all the same, it
        # is looked at before the first: at 20 ms, 40 ms, 80 ms, …
        if now >= self._early_at:
            self._early = self._look(now)
            self._early_at = self._start + 2 * (now - self._start)
        return min(self._next, self._early_at)

    def _look(self, now: float) -> _Look:
        used = self._tree.used(now)
        used["energy"] = self._processors.joules()
        return _Look(now, time.time(), used, self._state.at(now), self._gpus.sample())

    def _record(self, last: _Look, look: _Look) -> None:
        """Add a sample to the series: what happened between two looks, and what was held at the second."""
        seconds = look.moment - last.moment
        self._times.append(round(look.time, 3))
        for name in _PROCESS_SERIES:
            value = look.used[name]
            if name == "cpu":  # processor seconds → percent of one processor
                value = round(100 * max(0.0, value - last.used[name]) / seconds, 1)
            elif name.startswith("io_"):  # bytes since the sample before
                value = max(0.0, value - last.used[name])
            self._series[name].append(value)
        if self._processors.found:
            self._power.append(round(max(0.0, look.used["energy"] - last.used["energy"]) / seconds, 2))
        for name, state in zip(self._states, look.states, strict=True):
            self._states[name].append(state)
        for name, values in zip(_GPU_SERIES, look.gpus, strict=True):
            self._gpu_series[name].append(values)

    def results(self) -> dict[str, Any]:
        """Log values: series with their time stamps, means, peaks and energy; docs/log-format.md has the units.

        To be called when the experiment has ended.
        """
        if not self._times and self._last is not None and self._early is not None:
            self._record(self._last, self._early)
        found: dict[str, Any] = {"time": self._times, **self._series}
        for name in ("cpu", "mem_res"):
            if self._series[name]:
                found[f"{name}_mean"] = statistics.fmean(self._series[name])
                found[f"{name}_peak"] = max(self._series[name])
        found.update({name: values for name, values in self._states.items() if any(values)})
        if self._power:
            found["power"] = self._power
            found["energy"] = round(_energy(self._times, self._power), 3)
        if self._gpus.count:
            by_gpu = {name: [list(row) for row in zip(*rows, strict=True)] for name, rows in self._gpu_series.items()}
            found.update(by_gpu)
            found["gpu_energy"] = [_gpu_energy(self._times, watts) for watts in by_gpu["gpu_power"]]
            known = [[size for size in one if size is not None] for one in by_gpu["gpu_mem"]]
            found["gpu_mem_peak"] = [max(sizes, default=None) for sizes in known]
        return {f"results.use.{name}": values for name, values in found.items()}


def _energy(times: list[float], watts: list[float]) -> float:
    """Joules: each sample stands for the time since the one before."""
    return sum(power * (end - begin) for begin, end, power in zip(times, times[1:], watts[1:], strict=False))


def _gpu_energy(times: list[float], watts: list[float | None]) -> float | None:
    """Joules; None for a GPU that does not report its power, such as a part of one (MIG)."""
    if all(power is None for power in watts):
        return None
    return round(_energy(times, [power or 0.0 for power in watts]), 3)


class _Tree:
    """The processes of an experiment."""

    def __init__(self, pid: int, container: str, docker: str) -> None:
        import psutil

        self._psutil = psutil
        self._roots = [psutil.Process(pid)]
        self._container, self._docker = container, docker
        self._known: dict[int, Any] = {}
        self._look_at = 0.0
        self._ended = dict.fromkeys(("cpu", "io_read", "io_write"), 0.0)  # of processes that are there no more
        self._last: dict[int, dict[str, float]] = {}

    def used(self, now: float) -> dict[str, float]:
        """What all processes have used so far (processor seconds, bytes read and written) and hold now (bytes, threads)."""
        if now >= self._look_at:
            self._look()
            self._look_at = now + _LOOK_FOR_PROCESSES
        self._look_near()
        total = dict.fromkeys(_PROCESS_SERIES, 0.0)
        for pid, process in list(self._known.items()):
            try:
                one = self._of(process)
            except self._psutil.Error:
                del self._known[pid]
                for name, value in self._last.pop(pid, {}).items():
                    if name in self._ended:
                        self._ended[name] += value
                continue
            self._last[pid] = one
            for name, value in one.items():
                total[name] += value
        for name, value in self._ended.items():
            total[name] += value
        return total

    def _of(self, process: Any) -> dict[str, float]:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            threads = process.num_threads()
        try:
            io = process.io_counters()
            read, written = float(io.read_bytes), float(io.write_bytes)
        except (self._psutil.Error, AttributeError):
            read = written = 0.0
        return {
            "cpu": times.user + times.system,
            "mem_res": float(memory.rss),
            "mem_virt": float(memory.vms),
            "mem_shrd": float(getattr(memory, "shared", 0)),
            "threads": float(threads),
            "io_read": read,
            "io_write": written,
        }

    def _look_near(self) -> None:
        """Find new children of the main threads of known processes, where the kernel lists them.

        At every sample, since it costs a file each: the processor time that a process has used before it is found would all count for one sample.
        """
        waiting = list(self._known)
        while waiting:
            pid = waiting.pop()
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as stream:
                    children = list(map(int, stream.read().split()))
                for child in children:
                    if child not in self._known:
                        self._known[child] = self._psutil.Process(child)
                        waiting.append(child)
            except (OSError, self._psutil.Error):
                continue

    def _look(self) -> None:
        """Find new descendants."""
        if self._container and len(self._roots) == 1:
            self._find_container()
        for root in self._roots:
            try:
                for process in (root, *root.children(recursive=True)):
                    self._known.setdefault(process.pid, process)
            except self._psutil.Error:
                continue

    def _find_container(self) -> None:
        command = [self._docker, "inspect", "--format", "{{.State.Pid}}", self._container]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            pid = int(asked.stdout)
            if pid > 0:
                self._roots.append(self._psutil.Process(pid))
        except (OSError, ValueError, subprocess.TimeoutExpired, self._psutil.Error):
            return  # it has not started yet, or its daemon is elsewhere


class _Gpus:
    """NVIDIA GPUs through their driver's library (the package nvidia-ml-py)."""

    def __init__(self, numbers: list[int]) -> None:
        self._handles: list[Any] = []
        if not numbers:
            return
        try:
            import pynvml
        except ImportError:  # nvidia-ml-py is an extra
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [self._handle(cuda_name(number)) for number in numbers]
        except pynvml.NVMLError:  # no driver, or no such GPU
            self._handles = []

    def _handle(self, name: str) -> Any:
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    @property
    def count(self) -> int:
        return len(self._handles)

    def sample(self) -> list[list[float | None]]:
        """Utilisation (%), memory (bytes), power (W), temperature (degrees Celsius) and clock (MHz), each for every GPU."""
        nvml = getattr(self, "_nvml", None)
        if nvml is None:
            return [[] for _ in _GPU_SERIES]
        asked = (
            lambda handle: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            lambda handle: float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            lambda handle: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            lambda handle: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        )
        return [[self._answer(ask, handle) for handle in self._handles] for ask in asked]

    def _answer(self, ask: Any, handle: Any) -> float | None:
        try:
            return float(ask(handle))
        except self._nvml.NVMLError:
            return None


class _ProcessorState:
    """Clock and temperature of the processors, where they can be read; looked at once a second at most, since it costs a file for each processor."""

    _SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")

    def __init__(self) -> None:
        self._look_at = 0.0
        self._last: tuple[float | None, float | None] = (None, None)

    def at(self, now: float) -> tuple[float | None, float | None]:
        """Mean clock in MHz, and the highest temperature in degrees Celsius."""
        if now >= self._look_at:
            self._last = self._clock(), self._temperature()
            self._look_at = now + 1.0
        return self._last

    def _clock(self) -> float | None:
        import psutil

        try:
            clock = psutil.cpu_freq()
        except (OSError, ValueError, NotImplementedError):
            return None
        return round(clock.current, 1) if clock is not None and clock.current else None

    def _temperature(self) -> float | None:
        import psutil

        try:
            sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
        except (OSError, ValueError):
            return None
        found = [one.current for name in self._SENSORS for one in sensors.get(name, ()) if one.current]
        return max(found, default=None)


class _ProcessorEnergy:
    """The energy counters of processor packages (RAPL), where they may be read."""

    def __init__(self) -> None:
        self._files = []
        for path in sorted(glob.glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")):
            if path.count(":") == 1:  # packages, not parts of them
                try:
                    self._files.append((open(path), self._range(path)))
                except OSError:
                    continue
        self._last = [0] * len(self._files)
        self._turns = [0] * len(self._files)

    @staticmethod
    def _range(path: str) -> int:
        with open(path.replace("energy_uj", "max_energy_range_uj")) as stream:
            return int(stream.read())

    @property
    def found(self) -> bool:
        return bool(self._files)

    def joules(self) -> float:
        """Of all packages, since some moment in the past."""
        total = 0.0
        for number, (stream, size) in enumerate(self._files):
            stream.seek(0)
            value = int(stream.read())
            if value < self._last[number]:
                self._turns[number] += 1  # the counter has begun anew
            self._last[number] = value
            total += (value + self._turns[number] * size) / 1e6
        return total
