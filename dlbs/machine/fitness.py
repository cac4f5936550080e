"""Check this machine for settings and load that make times vary, and name a remedy for each."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.machine.devices import query_nvidia, usable_cpus

__all__ = ["CHECKS", "Finding", "Machine", "check_machine", "machine_warnings"]

_BUSY = 0.05  # share of the CPUs that other programs may use without a warning
_STOLEN = 0.01  # share of the CPU time that the hypervisor may give to other machines
_COARSE = 1e-6  # seconds between two readings of the clock
_HOT = 0.95  # share of the critical temperature


@dataclass(frozen=True, slots=True)
class Finding:
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


@dataclass(frozen=True, slots=True)
class Machine:
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


def check_machine(machine: Machine | None = None) -> Iterator[Finding]:
    """Check all properties that make times vary.

    Args:
        machine: This machine by default.
    """
    machine = machine or Machine()
    for check in CHECKS:
        yield from check(machine)


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
    made = (finding for check in CHECKS if check not in {_load, _gpus} for finding in check(Machine(seconds=0)))
    return tuple(_in_brief(finding) for finding in made if finding.state == "warning")


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


def _governor(machine: Machine) -> Iterator[Finding]:
    found = sorted(set(machine.texts("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")))
    if not found:
        yield Finding("governor", "unknown", "not available, as on most virtual machines")
    elif found == ["performance"]:
        yield Finding("governor", "ok", "performance")
    else:
        yield Finding("governor", "warning", ", ".join(found), "cpupower frequency-set --governor performance")


def _turbo(machine: Machine) -> Iterator[Finding]:
    disabled = machine.text("sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = machine.text("sys/devices/system/cpu/cpufreq/boost")
    if not disabled and not boost:
        yield Finding("turbo", "unknown", "not available")
    elif disabled == "1" or boost == "0":
        yield Finding("turbo", "ok", "off")
    else:
        path = "intel_pstate/no_turbo" if disabled else "cpufreq/boost"
        remedy = f"echo {1 if disabled else 0} > /sys/devices/system/cpu/{path}"
        yield Finding("turbo", "warning", "on: the clock depends on temperature and on busy cores", remedy)


def _smt(machine: Machine) -> Iterator[Finding]:
    active = machine.text("sys/devices/system/cpu/smt/active")
    if not active:
        yield Finding("SMT", "unknown", "not available")
    elif active == "0":
        yield Finding("SMT", "ok", "off")
    else:
        remedy = "bind experiments to one thread of each core (runtime.cpus), or echo off > /sys/devices/system/cpu/smt/control"
        yield Finding("SMT", "warning", "on: two threads share a core", remedy)


def _huge_pages(machine: Machine) -> Iterator[Finding]:
    setting = machine.text("sys/kernel/mm/transparent_hugepage/enabled")
    chosen = setting.partition("[")[2].partition("]")[0]
    if not chosen:
        yield Finding("transparent huge pages", "unknown", "not available")
    elif chosen == "always":
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield Finding("transparent huge pages", "warning", "always: pages are merged in the background", remedy)
    else:
        yield Finding("transparent huge pages", "ok", chosen)


def _numa(machine: Machine) -> Iterator[Finding]:
    nodes = len(list(machine.root.glob("sys/devices/system/node/node[0-9]*")))
    balancing = machine.text("proc/sys/kernel/numa_balancing")
    if nodes <= 1:
        yield Finding("NUMA", "ok" if nodes else "unknown", "one node" if nodes else "not available")
    elif balancing == "1":
        yield Finding("NUMA", "warning", f"{nodes} nodes, pages migrate between them", "sysctl kernel.numa_balancing=0")
    else:
        remedy = "set runtime.launcher='numactl --cpunodebind=0 --membind=0' to keep an experiment on one node"
        yield Finding("NUMA", "warning", f"{nodes} nodes", remedy)


def _swap(machine: Machine) -> Iterator[Finding]:
    values = dict(line.split(":", 1) for line in machine.text("proc/meminfo").splitlines() if ":" in line)
    total, free = (int(values.get(name, "0").split()[0]) for name in ("SwapTotal", "SwapFree"))
    if "SwapTotal" not in values:
        yield Finding("swap", "unknown", "not available")
    elif total > free:
        yield Finding("swap", "warning", f"{(total - free) / 1024:,.0f} MiB in use", "free memory, then swapoff -a")
    else:
        yield Finding("swap", "ok", "none in use" if total else "none")


def _cgroup(machine: Machine) -> Iterator[Finding]:
    quota, period = (machine.text("sys/fs/cgroup/cpu.max").split() or ["max", "100000"])[:2]
    if not machine.text("sys/fs/cgroup/cpu.max"):  # version 1
        quota = machine.text("sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "max"
        period = machine.text("sys/fs/cgroup/cpu/cpu.cfs_period_us") or "100000"
    if quota in {"max", "-1"}:
        yield Finding("CPU quota", "ok", "none")
        return
    cpus = int(quota) / int(period)
    remedy = "raise the quota of the container or of the job: a quota may suspend programs in the middle of a batch"
    yield Finding("CPU quota", "warning", f"{round(cpus, 1):g} CPUs of {os.cpu_count()}", remedy)


def _load(machine: Machine) -> Iterator[Finding]:
    before = _cpu_seconds(machine)
    own = time.process_time()
    time.sleep(machine.seconds)
    after = _cpu_seconds(machine)
    if before is None or after is None:
        yield Finding("other load", "unknown", "not available")
        return
    (busy, stolen, total), (busy_after, stolen_after, total_after) = before, after
    span = max(total_after - total, 1e-9)
    ours = (time.process_time() - own) * os.sysconf("SC_CLK_TCK")
    share = max(0.0, busy_after - busy - ours) / span
    state = "warning" if share > _BUSY else "ok"
    remedy = "end other programs (see `top`), or wait until they end"
    yield Finding("other load", state, f"{share:.0%} of the CPUs", remedy if state == "warning" else "")
    share = (stolen_after - stolen) / span
    state = "warning" if share > _STOLEN else "ok"
    remedy = "other virtual machines use this host: request dedicated CPUs"
    yield Finding("steal time", state, f"{share:.1%} of the CPU time", remedy if state == "warning" else "")


def _cpu_seconds(machine: Machine) -> tuple[int, int, int] | None:
    """Busy, stolen and total CPU time so far, in kernel ticks."""
    first = machine.text("proc/stat").partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    user, nice, system, idle, waiting, hard, soft, stolen = map(int, first[1:9])
    busy = user + nice + system + hard + soft
    return busy, stolen, busy + idle + waiting + stolen


def _timer(machine: Machine) -> Iterator[Finding]:
    source = machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    step = _clock_step()
    value = f"{step * 1e9:.0f} ns" + (f" ({source})" if source else "")
    if step > _COARSE:
        remedy = "a slow clock source: echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        yield Finding("timer resolution", "warning", value, remedy)
    else:
        yield Finding("timer resolution", "ok", value)


def _clock_step(readings: int = 1000) -> float:
    """The median time between two readings of the clock, in seconds."""
    times = [time.perf_counter() for _ in range(readings + 1)]
    return sorted(later - earlier for earlier, later in itertools.pairwise(times))[readings // 2]


def _thermal(machine: Machine) -> Iterator[Finding]:
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
        yield Finding("temperature", "warning", ", ".join(hot), "cool the machine: it lowers its clock when hot")
    elif throttled:
        yield Finding(
            "temperature",
            "warning",
            f"throttled {throttled} times since boot",
            "improve the cooling, or lower the clock: cpupower frequency-set --max",
        )
    else:
        yield Finding("temperature", "ok" if known else "unknown", "normal" if known else "not available")


def _affinity(machine: Machine) -> Iterator[Finding]:
    usable, online = len(usable_cpus()), os.cpu_count() or 1
    if usable < online:
        yield Finding("CPUs", "ok", f"{usable} of {online} usable")
    else:
        yield Finding("CPUs", "ok", str(usable))


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
        yield Finding("GPUs", "unknown", error.what)
        return
    for gpu in gpus:
        yield from _gpu_settings(gpu)
        busy = gpu.get("utilization.gpu", "")
        if busy.isdigit() and int(busy) > 100 * _BUSY:
            name = f"GPU {gpu['index']} load"
            yield Finding(name, "warning", f"{busy} % busy", "end the programs that use it (see nvidia-smi)")


def _gpu_settings(gpu: dict[str, str]) -> Iterator[Finding]:
    name = f"GPU {gpu['index']}"
    if gpu.get("persistence_mode") == "Disabled":
        yield Finding(f"{name} persistence", "warning", "off: the driver unloads between runs", "nvidia-smi -pm 1")
    elif gpu.get("persistence_mode") == "Enabled":
        yield Finding(f"{name} persistence", "ok", "on")
    limit, default = (_number(gpu.get(key, "")) for key in ("power.limit", "power.default_limit"))
    if limit and default and limit < default:
        remedy = f"nvidia-smi -i {gpu['index']} -pl {default:g}"
        yield Finding(f"{name} power limit", "warning", f"{limit:g} W instead of {default:g} W", remedy)
    elif limit:
        yield Finding(f"{name} power limit", "ok", f"{limit:g} W")
    reasons = _throttling(gpu.get("clocks_event_reasons.active") or gpu.get("clocks_throttle_reasons.active", ""))
    if reasons:
        remedy = "cool the GPU or raise its power limit (reasons: nvidia-smi -q -d PERFORMANCE)"
        yield Finding(f"{name} clock", "warning", f"lowered: {', '.join(reasons)}", remedy)
    elif gpu.get("clocks.max.sm", "").isdigit():
        value = f"{gpu.get('clocks.sm', '?')} of {gpu['clocks.max.sm']} MHz"
        yield Finding(f"{name} clock", "ok", f"{value}; nvidia-smi -lgc MHZ fixes it")


def _number(answer: str) -> float:
    try:
        return float(answer)
    except ValueError:  # [N/A]
        return 0.0


# Bits of nvidia-smi's clocks_throttle_reasons.active (NVML API reference, nvmlClocksThrottleReasons). An idle GPU and clocks that
# applications set are not reported.
_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


def _throttling(active: str) -> list[str]:
    try:
        bits = int(active, 16)
    except ValueError:
        return []
    return [words for bit, words in _REASONS.items() if bits & bit]


CHECKS = (_affinity, _governor, _turbo, _smt, _huge_pages, _numa, _swap, _cgroup, _timer, _thermal, _gpus, _load)
