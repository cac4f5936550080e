"""Sample a running experiment from another process: its processes, its GPUs, and the energy of the CPUs."""

from __future__ import annotations

import glob
import statistics
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmark_core.doubts import gpu_contention, gpu_throttling
from benchmark_core.gpus import Gpu, cuda_name, named_gpu, open_nvml, reasons_of
from dlbs.core.experiment import Experiment
from dlbs.core.text import text
from dlbs.machine.resources import gpu_ids

if TYPE_CHECKING:
    import resource

_BLOCK = 512  # bytes: the unit of ru_inblock and ru_oublock
PROCESS_SERIES = ("cpu", "mem_res", "mem_virt", "mem_shrd", "threads", "io_read", "io_write")


# Seconds. Searching for processes reads every process of the machine, which may take longer than a short experiment; reading
# known ones is cheap.
_FIRST_SEARCH, _SEARCH = 0.01, 1.0


class ProcessTree:
    """The processes of an experiment."""

    def __init__(self, container: str, docker: str) -> None:
        import psutil

        self._psutil = psutil
        self._roots: list[Any] = []
        self._container, self._docker = container, docker
        self._known: dict[int, Any] = {}
        self._look_at = 0.0
        self._ended = dict.fromkeys(("cpu", "io_read", "io_write"), 0.0)  # of processes that have ended
        self._last: dict[int, dict[str, float]] = {}

    def watch(self, pid: int, now: float) -> None:
        """Count this process, which has just started, and all its descendants."""
        process = self._psutil.Process(pid)
        self._roots.append(process)
        self._known[pid] = process
        self._look_at = now + _FIRST_SEARCH

    def used(self, now: float) -> dict[str, float]:
        """Resources used by all processes so far (CPU seconds, bytes read and written) and occupied now (bytes, threads)."""
        if now >= self._look_at:
            self._look()
            self._look_at = now + _SEARCH
        self._look_near()
        total = dict.fromkeys(PROCESS_SERIES, 0.0)
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
        """Find new children of the main threads of known processes, if the kernel lists them.

        Called at every sample, since it costs one file read each: otherwise, CPU time used before a process is found counts for one sample.
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
            completed = subprocess.run(command, capture_output=True, errors="replace", timeout=10, check=False)
            pid = int(completed.stdout)
            if pid > 0:
                self._roots.append(self._psutil.Process(pid))
        except (OSError, ValueError, subprocess.TimeoutExpired, self._psutil.Error):
            return  # not started yet, or the daemon runs on another machine


class CpuState:
    """Clock and temperature of the CPUs, where readable; read at most once per second, since each CPU costs a file access."""

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


class CpuEnergy:
    """The energy counters of CPU packages (RAPL), where readable."""

    def __init__(self) -> None:
        self._files = []
        for path in sorted(glob.glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")):
            if path.count(":") == 1:  # not parts of packages
                try:
                    # psys is the whole machine, its packages included.
                    if self._read(path, "name").startswith("package"):
                        self._files.append((open(path), int(self._read(path, "max_energy_range_uj"))))
                except OSError:
                    continue
        self._last = [0] * len(self._files)
        self._turns = [0] * len(self._files)

    @staticmethod
    def _read(path: str, name: str) -> str:
        with open(path.replace("energy_uj", name)) as stream:
            return stream.read()

    @property
    def found(self) -> bool:
        return bool(self._files)

    def joules(self) -> float:
        """Energy of all packages in joules, since an arbitrary time."""
        total = 0.0
        for number, (stream, size) in enumerate(self._files):
            stream.seek(0)
            value = int(stream.read())
            if value < self._last[number]:
                self._turns[number] += 1  # the counter has wrapped around
            self._last[number] = value
            total += (value + self._turns[number] * size) / 1e6
        return total


GPU_SERIES = ("gpu_util", "gpu_mem", "gpu_power", "gpu_temp", "gpu_clock")

_PERIOD = 1_000_000  # microseconds: the driver measures the shares of programs up to once per second
_SERVERS = ("nvidia-cuda-mps",)  # programs that run the kernels of others


@dataclass(slots=True)
class _Seen:
    """Disturbances of a GPU during an experiment.

    Attributes:
        others: Process IDs of the programs that used it before the experiment.
        asked: When the share of the others was last asked for, in microseconds since 1970, which NVML counts in.
        shares: Their share of it in percent, about once per second.
        reasons: Reason of a lowered clock → number of samples.
        checked: When the clock was last checked, in microseconds since 1970.
        lowered: Time with any of these reasons, in microseconds: samples are closer to each other at the start.
        known: Time with known reasons.
    """

    others: set[int] = field(default_factory=set)
    asked: int = 0
    shares: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    lowered: int = 0
    known: int = 0


class Gpus:
    """NVIDIA GPUs through their driver's library (the package nvidia-ml-py).

    Args:
        numbers: Their numbers, of `visible_gpus`.
        shared: Whether programs that run already belong to the experiment, such as the server that it queries.
    """

    def __init__(self, numbers: list[int], *, shared: bool = False) -> None:
        self._names = [cuda_name(number) for number in numbers]
        self._gpus: list[Gpu | None] = []
        self._seen: list[_Seen] = []
        if not numbers:
            return
        nvml = open_nvml()
        if nvml is None:
            return
        gpus = [named_gpu(nvml, name) for name in self._names]
        if not any(gpus):
            return
        self._gpus = gpus  # None for a GPU that is missing
        now = _microseconds()
        self._seen = [_Seen(set() if shared else _programs(gpu), asked=now, checked=now) for gpu in gpus]

    @property
    def count(self) -> int:
        return len(self._gpus)

    def sample(self) -> list[list[float | None]]:
        """Utilisation (%), memory (bytes), power (W), temperature (degrees Celsius) and clock (MHz), a list with a value per GPU for each."""
        for gpu, seen in zip(self._gpus, self._seen, strict=True):
            if gpu is not None:
                _look_at_clock(gpu, seen)
                _look_at_others(gpu, seen)
        rows = [_values(gpu) for gpu in self._gpus]
        return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in GPU_SERIES]

    def warnings(self) -> list[str]:
        """Warnings about lowered clocks and other programs, as `problem: figures; advice`."""
        found = []
        for name, seen in zip(self._names, self._seen, strict=False):
            found += gpu_throttling(seen.lowered / max(1, seen.known), name, list(seen.reasons))
            found += gpu_contention(sum(seen.shares) / max(1, len(seen.shares)) / 100, name, sorted(seen.others))
        return found


def _values(gpu: Gpu | None) -> list[float | None]:
    """The values of `Gpus.sample` of one GPU; None for each that it does not report."""
    if gpu is None:
        return [None] * len(GPU_SERIES)
    use = gpu.ask("nvmlDeviceGetUtilizationRates")
    memory = gpu.ask("nvmlDeviceGetMemoryInfo")
    milliwatts = gpu.ask("nvmlDeviceGetPowerUsage")
    temperature = gpu.ask("nvmlDeviceGetTemperature", gpu.nvml.NVML_TEMPERATURE_GPU)
    clock = gpu.ask("nvmlDeviceGetClockInfo", gpu.nvml.NVML_CLOCK_SM)
    return [
        None if use is None else float(use.gpu),
        None if memory is None else float(memory.used),
        None if milliwatts is None else milliwatts / 1000,
        None if temperature is None else float(temperature),
        None if clock is None else float(clock),
    ]


def _look_at_clock(gpu: Gpu, seen: _Seen) -> None:
    bits = gpu.lowered_clock()
    if bits is None:
        return
    reasons = reasons_of(bits)
    now = _microseconds()
    passed = max(0, now - seen.checked)
    seen.checked = now
    seen.known += passed
    seen.lowered += passed if reasons else 0
    seen.reasons.update(reasons)


def _look_at_others(gpu: Gpu, seen: _Seen) -> None:
    if not seen.others:  # the usual case costs nothing
        return
    now = _microseconds()
    if now < seen.asked + _PERIOD:
        return
    used = gpu.ask("nvmlDeviceGetProcessUtilization", seen.asked) or []  # an error if nothing was used
    shares = {one.pid: float(one.smUtil) for one in used if one.pid in seen.others}
    seen.shares.append(min(100.0, sum(shares.values())))
    seen.asked = now


def _programs(gpu: Gpu | None) -> set[int]:
    """Process IDs of the programs that use a GPU."""
    running = [] if gpu is None else gpu.ask("nvmlDeviceGetComputeRunningProcesses") or []
    return {pid for pid in (int(one.pid) for one in running) if not _command(pid).startswith(_SERVERS)}


def _microseconds() -> int:
    return time.time_ns() // 1000


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as stream:
            return stream.read().strip()
    except OSError:  # it has ended, or is outside this container
        return ""


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
        # A server that the experiment did not start may be on these GPUs.
        shared = bool(text(experiment.get("serving.url"))) and not text(experiment.get("serving.command"))
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

    def end(self, usage: resource.struct_rusage | None) -> None:
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

    def _at_the_end(self, last: _Look, now: float, joules: float, usage: resource.struct_rusage | None) -> _Look:
        """Add a sample for an experiment that was too short for one; return its observation."""
        seen = self._early or last
        cpu = usage.ru_utime + usage.ru_stime if usage is not None else 0.0
        if self._early is None or cpu > seen.used["cpu"]:
            used = dict(seen.used)
            if usage is not None:
                ended = {"cpu": cpu, "io_read": usage.ru_inblock * _BLOCK, "io_write": usage.ru_oublock * _BLOCK}
                used |= {name: max(used[name], float(value)) for name, value in ended.items()}
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
