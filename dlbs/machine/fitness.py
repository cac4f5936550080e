"""Facts about this machine, its settings and load that make times vary, with a remedy for each, and the noise of equal work."""

from __future__ import annotations

import itertools
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.doubts import DISTURBED_FROM
from benchmark_core.gpus import POWER_CAP, THROTTLING, gpu_count, reasons_of
from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment
from dlbs.core.text import text
from dlbs.machine.resources import docker_available, is_nvidia_value, query_nvidia, usable_cpus


def system_facts() -> dict[str, Any]:
    """Facts about the machine: dotted names, sizes in bytes, frequencies in MHz."""
    import shutil

    import psutil

    memory = psutil.virtual_memory()
    frequency = psutil.cpu_freq()
    gpus = _gpu_names()
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "host.name": platform.node(),
        "host.system": f"{platform.system()} {platform.release()}",
        "cpu.model": _cpu_model(),
        "cpu.cores_physical": psutil.cpu_count(logical=False),
        "cpu.cores_logical": psutil.cpu_count(),
        "cpu.cores_usable": len(affinity),
        "cpu.frequency_mhz": round(frequency.current) if frequency else None,
        "cpu.governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory.total_bytes": memory.total,
        "memory.available_bytes": memory.available,
        "gpu.count": gpu_count(),
        "gpu.devices": gpus,
        "gpu.settings": _settings_of_gpus() if gpus else [],
        "docker.available": docker_available(),
        "slurm.available": shutil.which("sbatch") is not None,
        "python.version": platform.python_version(),
        "python.executable": sys.executable,
        "torch.version": _torch_version(),
    }


@lru_cache(maxsize=1)
def _facts_once() -> dict[str, Any]:
    return system_facts()


def selected_facts(experiment: Experiment) -> dict[str, Any]:
    """The facts that `exp.sys_info` selects, as log values: `exp.sys_info=cpu,memory` gives `exp.sys.cpu.model` and so on.

    They are collected once per run.
    """
    wanted = {word for word in re.split(r"[,\s]+", text(experiment.get("exp.sys_info"))) if word}
    if not wanted:
        return {}
    facts = _facts_once()
    return {f"exp.sys.{name}": value for name, value in facts.items() if {"all", name.split(".")[0]} & wanted}


def _first_line(path: str) -> str | None:
    try:
        with open(path) as stream:
            return stream.readline().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor()
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    return [
        f"{name}, {driver}, {memory} MiB" if memory.isdigit() else f"{name}, {driver}, {memory}"
        for name, driver, memory in _query(("name", "driver_version", "memory.total"))
    ]


def _settings_of_gpus() -> list[str]:
    """The settings of each GPU that change its speed, those that it reports: `persistence Enabled, ECC Enabled, power limit 700.00 W`."""
    words = {
        "persistence_mode": "persistence {}",
        "ecc.mode.current": "ECC {}",
        "mig.mode.current": "MIG {}",
        "power.limit": "power limit {} W",
        "clocks.max.sm": "clock up to {} MHz",
    }
    return [
        ", ".join(
            form.format(value) for form, value in zip(words.values(), values, strict=True) if is_nvidia_value(value)
        )
        for values in _query(tuple(words))
    ]


def _query(fields: tuple[str, ...]) -> list[list[str]]:
    try:
        return query_nvidia(fields)
    except LaunchError:  # `dlbs check-machine` reports it
        return []


def _torch_version() -> str | None:
    """The version in the metadata of the installed package: importing torch takes two seconds."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch")
    except PackageNotFoundError:
        return None


_BLOCK = bytes(1 << 20)
_RUN_SECONDS = 0.25  # of one run: as long as a few dozen batches of a small model
_FEWEST_RUNS = 6

# Quantiles of Student's distribution at 0.975 and 0.80 for 2n-2 degrees of freedom, n runs per side: a two-sided test at 5 % that
# finds the difference in 80 % of the cases (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2).
_QUANTILES = {3: (2.776, 0.941), 5: (2.306, 0.889), 10: (2.101, 0.862), 20: (2.024, 0.851)}


class Noise(NamedTuple):
    """The times of runs with equal work.

    Attributes:
        seconds: The time of each run, in order.
    """

    seconds: tuple[float, ...]

    @property
    def variation(self) -> float:
        """The coefficient of variation: standard deviation over mean."""
        import statistics

        return statistics.stdev(self.seconds) / statistics.fmean(self.seconds)

    @property
    def spread(self) -> float:
        """The slowest run over the fastest."""
        return max(self.seconds) / min(self.seconds)

    @property
    def difference(self) -> float:
        """How much the medians of even and odd runs differ, as a share; the runs are equal, so the difference is noise."""
        from statistics import median

        a, b = median(self.seconds[::2]), median(self.seconds[1::2])
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
    import threading

    threads = [threading.Thread(target=_work, args=(blocks,)) for _ in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _work(blocks: int) -> None:
    from hashlib import blake2b

    for _ in range(blocks):
        blake2b(_BLOCK).digest()  # releases the interpreter's lock, so all threads compute


_STOLEN = 0.01  # share of the CPU time that the hypervisor may give to other machines
_COARSE = 1e-6  # seconds between two readings of the clock
_HOT = 0.95  # share of the critical temperature


class Finding(NamedTuple):
    """A property of the machine.

    Attributes:
        name: The property, such as `governor`.
        state: `ok`, `warning` (times vary, or are not those of the hardware), or `unknown` (not available).
        value: The value in a few words.
        remedy: A command or a setting that helps; empty unless the state is a warning.
    """

    name: str
    state: str
    value: str
    remedy: str = ""


class Machine(NamedTuple):
    """The sources of the properties.

    Attributes:
        root: The root of the file system with /proc and /sys.
        seconds: Time in seconds during which CPU load is measured.
        nvidia: Queries the GPUs, as `query_nvidia`: names of nvidia-smi's fields → one list of values for each GPU.
    """

    root: Path = Path("/")
    seconds: float = 1.0
    nvidia: Callable[[tuple[str, ...]], list[list[str]]] = query_nvidia

    def text(self, path: str) -> str:
        """The content of a file without surrounding white space; empty if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def texts(self, pattern: str) -> list[str]:
        """The contents of all files that a pattern matches."""
        return [self.text(str(path.relative_to(self.root))) for path in sorted(self.root.glob(pattern))]


Answer = tuple[
    str, str | None
]  # a property's value, and the remedy: empty if it is as it should be, None if the property is unknown
_UNAVAILABLE: Answer = ("not available", None)


def _finding(name: str, answer: Answer) -> Finding:
    value, remedy = answer
    return Finding(name, "unknown" if remedy is None else "warning" if remedy else "ok", value, remedy or "")


def check_machine(machine: Machine | None = None) -> Iterator[Finding]:
    """Check all properties that make times vary.

    Args:
        machine: This machine by default.
    """
    machine = machine or Machine()
    yield from _settings(machine)
    yield from _gpus(machine)
    yield from _load(machine)


def _settings(machine: Machine) -> Iterator[Finding]:
    return (_finding(name, check(machine)) for name, check in _CHECKS.items())


def machine_warnings(gpus: Iterable[str] = ()) -> list[str]:
    """The warnings about settings of this machine in a few words each, for the log of a run.

    They are computed once, without waiting; those about GPUs before the first run on a GPU, whose own load must not count.

    Args:
        gpus: The GPUs of the run, by number or UUID.
    """
    wanted = list(gpus)
    of_gpus = _gpu_warnings() if wanted else {}
    return [*_warnings(), *(line for gpu in wanted for line in of_gpus.get(gpu, ()))]


@lru_cache(maxsize=1)
def _warnings() -> tuple[str, ...]:
    return tuple(_in_brief(finding) for finding in _settings(Machine()) if finding.state == "warning")


@lru_cache(maxsize=1)
def _gpu_warnings() -> dict[str, list[str]]:
    """The warnings about the settings of each GPU, by its number and by its UUID."""
    try:
        gpus = _query_gpus(Machine())
    except LaunchError:
        return {}
    found: dict[str, list[str]] = {}
    for gpu in gpus:
        warnings = [_in_brief(finding) for finding in _gpu_settings(gpu) if finding.state == "warning"]
        found |= {gpu["index"]: warnings, gpu["uuid"]: warnings}
    return found


def _in_brief(finding: Finding) -> str:
    return f"{finding.name}: {finding.value}"


def _affinity(machine: Machine) -> Answer:
    usable, online = len(usable_cpus()), os.cpu_count() or 1
    return f"{usable} of {online} usable" if usable < online else str(usable), ""


def _governor(machine: Machine) -> Answer:
    found = sorted(set(machine.texts("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")))
    if not found:
        return "not available, as on most virtual machines", None
    return ", ".join(found), "" if found == ["performance"] else "cpupower frequency-set --governor performance"


def _turbo(machine: Machine) -> Answer:
    disabled = machine.text("sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = machine.text("sys/devices/system/cpu/cpufreq/boost")
    if not disabled and not boost:
        return _UNAVAILABLE
    if disabled == "1" or boost == "0":
        return "off", ""
    path = "intel_pstate/no_turbo" if disabled else "cpufreq/boost"
    remedy = f"echo {1 if disabled else 0} > /sys/devices/system/cpu/{path}"
    return "on: the clock depends on temperature and on busy cores", remedy


def _smt(machine: Machine) -> Answer:
    active = machine.text("sys/devices/system/cpu/smt/active")
    if not active:
        return _UNAVAILABLE
    if active == "0":
        return "off", ""
    remedy = (
        "bind experiments to one thread of each core (runtime.cpus), or echo off > /sys/devices/system/cpu/smt/control"
    )
    return "on: two threads share a core", remedy


def _huge_pages(machine: Machine) -> Answer:
    setting = machine.text("sys/kernel/mm/transparent_hugepage/enabled")
    chosen = setting.partition("[")[2].partition("]")[0]
    if chosen == "always":
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        return "always: pages are merged in the background", remedy
    return (chosen, "") if chosen else _UNAVAILABLE


def _numa(machine: Machine) -> Answer:
    nodes = len(list(machine.root.glob("sys/devices/system/node/node[0-9]*")))
    if nodes <= 1:
        return ("one node", "") if nodes else _UNAVAILABLE
    if machine.text("proc/sys/kernel/numa_balancing") == "1":
        return f"{nodes} nodes, pages migrate between them", "sysctl kernel.numa_balancing=0"
    remedy = "set runtime.launcher='numactl --cpunodebind=0 --membind=0' to keep an experiment on one node"
    return f"{nodes} nodes", remedy


def _swap(machine: Machine) -> Answer:
    values = dict(line.split(":", 1) for line in machine.text("proc/meminfo").splitlines() if ":" in line)
    if "SwapTotal" not in values:
        return _UNAVAILABLE
    total, free = (int(values.get(name, "0").split()[0]) for name in ("SwapTotal", "SwapFree"))
    if total > free:
        return f"{(total - free) / 1024:,.0f} MiB in use", "free memory, then swapoff -a"
    return "none in use" if total else "none", ""


def _cgroup(machine: Machine) -> Answer:
    quota, period = (machine.text("sys/fs/cgroup/cpu.max").split() or ["max", "100000"])[:2]
    if not machine.text("sys/fs/cgroup/cpu.max"):  # version 1
        quota = machine.text("sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "max"
        period = machine.text("sys/fs/cgroup/cpu/cpu.cfs_period_us") or "100000"
    if quota in {"max", "-1"}:
        return "none", ""
    cpus = int(quota) / int(period)
    remedy = "raise the quota of the container or of the job: a quota may suspend programs in the middle of a batch"
    return f"{round(cpus, 1):g} CPUs of {os.cpu_count()}", remedy


def _timer(machine: Machine) -> Answer:
    source = machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    step = _clock_step()
    remedy = "a slow clock source: echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
    return f"{step * 1e9:.0f} ns" + (f" ({source})" if source else ""), remedy if step > _COARSE else ""


def _clock_step(readings: int = 1000) -> float:
    """The median time between two readings of the clock, in seconds."""
    times = [time.perf_counter() for _ in range(readings + 1)]
    return sorted(later - earlier for earlier, later in itertools.pairwise(times))[readings // 2]


def _thermal(machine: Machine) -> Answer:
    throttled = sum(
        int(n) for n in machine.texts("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
    )
    hot = []
    known = False
    for zone in sorted(machine.root.glob("sys/class/thermal/thermal_zone*")):
        place = str(zone.relative_to(machine.root))
        kind, temperature = machine.text(f"{place}/type"), machine.text(f"{place}/temp")
        limits = [machine.text(f"{place}/trip_point_{n}_temp") for n in range(8)]
        limit = max((int(limit) for limit in limits if limit.isdigit()), default=0)
        if temperature.isdigit():
            known = True
            if limit and int(temperature) > _HOT * limit:
                hot.append(f"{kind or zone.name} {int(temperature) / 1000:.0f} °C")
    if hot:
        return ", ".join(hot), "cool the machine: it lowers its clock when hot"
    if throttled:
        remedy = "improve the cooling, or lower the clock: cpupower frequency-set --max"
        return f"throttled {throttled} times since boot", remedy
    return ("normal", "") if known else _UNAVAILABLE


_CHECKS: dict[str, Callable[[Machine], Answer]] = {
    "CPUs": _affinity,
    "governor": _governor,
    "turbo": _turbo,
    "SMT": _smt,
    "transparent huge pages": _huge_pages,
    "NUMA": _numa,
    "swap": _swap,
    "CPU quota": _cgroup,
    "timer resolution": _timer,
    "temperature": _thermal,
}


def _load(machine: Machine) -> Iterator[Finding]:
    before = _cpu_seconds(machine)
    own = time.process_time()
    time.sleep(machine.seconds)
    after = _cpu_seconds(machine)
    if before is None or after is None:
        yield _finding("other load", _UNAVAILABLE)
        return
    (busy, stolen, total), (busy_after, stolen_after, total_after) = before, after
    span = max(total_after - total, 1e-9)
    ours = (time.process_time() - own) * os.sysconf("SC_CLK_TCK")
    share = max(0.0, busy_after - busy - ours) / span
    remedy = "end other programs (see `top`), or wait until they end"
    yield _finding("other load", (f"{share:.0%} of the CPUs", remedy if share > DISTURBED_FROM else ""))
    share = (stolen_after - stolen) / span
    remedy = "other virtual machines use this host: request dedicated CPUs"
    yield _finding("steal time", (f"{share:.1%} of the CPU time", remedy if share > _STOLEN else ""))


def _cpu_seconds(machine: Machine) -> tuple[int, int, int] | None:
    """Busy, stolen and total CPU time so far, in kernel ticks."""
    first = machine.text("proc/stat").partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    user, nice, system, idle, waiting, hard, soft, stolen = map(int, first[1:9])
    busy = user + nice + system + hard + soft
    return busy, stolen, busy + idle + waiting + stolen


_GPU_FIELDS = (
    "index",
    "uuid",
    "persistence_mode",
    "power.limit",
    "power.default_limit",
    "clocks_event_reasons.active",
    "clocks_throttle_reasons.active",  # its name before driver 535
    "clocks.sm",
    "clocks.max.sm",
    "utilization.gpu",
)


def _query_gpus(machine: Machine) -> list[dict[str, str]]:
    return [dict(zip(_GPU_FIELDS, values, strict=False)) for values in machine.nvidia(_GPU_FIELDS)]


def _gpus(machine: Machine) -> Iterator[Finding]:
    try:
        gpus = _query_gpus(machine)
    except LaunchError as error:
        yield _finding("GPUs", (error.what, None))
        return
    for gpu in gpus:
        yield from _gpu_settings(gpu)
        busy = gpu.get("utilization.gpu", "")
        if busy.isdigit() and int(busy) > 100 * DISTURBED_FROM:
            yield _finding(
                f"GPU {gpu['index']} load", (f"{busy} % busy", "end the programs that use it (see nvidia-smi)")
            )


def _gpu_settings(gpu: dict[str, str]) -> Iterator[Finding]:
    name = f"GPU {gpu['index']}"
    if gpu.get("persistence_mode") == "Disabled":
        yield _finding(f"{name} persistence", ("off: the driver unloads between runs", "nvidia-smi -pm 1"))
    elif gpu.get("persistence_mode") == "Enabled":
        yield _finding(f"{name} persistence", ("on", ""))
    limit, default = (_number(gpu.get(key, "")) for key in ("power.limit", "power.default_limit"))
    if limit and default and limit < default:
        remedy = f"nvidia-smi -i {gpu['index']} -pl {default:g}"
        yield _finding(f"{name} power limit", (f"{limit:g} W instead of {default:g} W", remedy))
    elif limit:
        yield _finding(f"{name} power limit", (f"{limit:g} W", ""))
    reasons = _throttling(gpu.get("clocks_event_reasons.active") or gpu.get("clocks_throttle_reasons.active", ""))
    if reasons:
        remedy = "cool the GPU or raise its power limit (reasons: nvidia-smi -q -d PERFORMANCE)"
        yield _finding(f"{name} clock", (f"lowered: {', '.join(reasons)}", remedy))
    elif gpu.get("clocks.max.sm", "").isdigit():
        clock = f"{gpu.get('clocks.sm', '?')} of {gpu['clocks.max.sm']} MHz"
        yield _finding(f"{name} clock", (f"{clock}; nvidia-smi -lgc MHZ fixes it", ""))


def _number(answer: str) -> float:
    try:
        return float(answer)
    except ValueError:  # [N/A]
        return 0.0


def _throttling(active: str) -> list[str]:
    try:
        bits = int(active, 16)
    except ValueError:
        return []
    return reasons_of(bits, POWER_CAP | THROTTLING)
