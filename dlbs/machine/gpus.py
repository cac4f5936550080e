"""The GPUs of an experiment as the monitor samples them, through NVML."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dlbs.machine.devices import cuda_name

__all__ = ["GPU_SERIES", "Gpus"]

GPU_SERIES = ("gpu_util", "gpu_mem", "gpu_power", "gpu_temp", "gpu_clock")

# Bits of nvmlDeviceGetCurrentClocksEventReasons (NVML API reference). At its power cap a GPU that is busy works as intended.
_REASONS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_OFTEN = 5.0  # % of the time in which the clock may be lowered without a warning
_BUSY = 5.0  # % of a GPU that other programs may use without a warning
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
        self._handles: list[Any] = []
        self._seen: list[_Seen] = []
        if not numbers:
            return
        try:
            import pynvml
        except ImportError:  # nvidia-ml-py is an extra
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:  # no driver
            return
        handles = [self._answer(self._handle, name) for name in self._names]
        if all(handle is None for handle in handles):
            return
        self._handles = handles  # None for a GPU that is missing
        now = _microseconds()
        self._seen = [
            _Seen(set() if shared else self._programs(handle), asked=now, checked=now) for handle in self._handles
        ]

    def _handle(self, name: str) -> Any:
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    @property
    def count(self) -> int:
        return len(self._handles)

    def sample(self) -> list[list[float | None]]:
        """Utilisation (%), memory (bytes), power (W), temperature (degrees Celsius) and clock (MHz), a list with a value per GPU for each."""
        nvml = getattr(self, "_nvml", None)
        if nvml is None:
            return [[] for _ in GPU_SERIES]
        queries = (
            lambda handle: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            lambda handle: float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            lambda handle: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            lambda handle: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        )
        for handle, seen in zip(self._handles, self._seen, strict=True):
            self._look_at_clock(handle, seen)
            self._look_at_others(handle, seen)
        return [[self._answer(ask, handle) for handle in self._handles] for ask in queries]

    def warnings(self) -> list[str]:
        """Warnings about lowered clocks and other programs, as `problem: figures; advice`."""
        found = []
        for name, seen in zip(self._names, self._seen, strict=False):
            lowered = 100 * seen.lowered / max(1, seen.known)
            if lowered > _OFTEN:
                why = ", ".join(seen.reasons)
                advice = "improve the cooling and the power supply (nvidia-smi -q -d PERFORMANCE)"
                found.append(
                    f"GPU throttling: the clock of GPU {name} was lowered {lowered:.0f} % of the time ({why}); {advice}"
                )
            share = sum(seen.shares) / max(1, len(seen.shares))
            if share > _BUSY:
                who = ", ".join(map(str, sorted(seen.others)))
                found.append(
                    f"GPU contention: other programs (process {who}) used {share:.0f} % of GPU {name}; end them (see nvidia-smi)"
                )
        return found

    def _look_at_clock(self, handle: Any, seen: _Seen) -> None:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if bits is None:  # drivers before 535 know only the older name
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        if bits is None:
            return
        reasons = [words for bit, words in _REASONS.items() if bits & bit]
        now = _microseconds()
        passed = max(0, now - seen.checked)
        seen.checked = now
        seen.known += passed
        seen.lowered += passed if reasons else 0
        seen.reasons.update(reasons)

    def _look_at_others(self, handle: Any, seen: _Seen) -> None:
        if not seen.others:  # the usual case costs nothing
            return
        now = _microseconds()
        if now < seen.asked + _PERIOD:
            return
        used = self._ask("nvmlDeviceGetProcessUtilization", handle, seen.asked) or []  # an error if nothing was used
        shares = {one.pid: float(one.smUtil) for one in used if one.pid in seen.others}
        seen.shares.append(min(100.0, sum(shares.values())))
        seen.asked = now

    def _programs(self, handle: Any) -> set[int]:
        """Process IDs of the programs that use a GPU."""
        found = {int(one.pid) for one in self._ask("nvmlDeviceGetComputeRunningProcesses", handle) or []}
        return {pid for pid in found if not _command(pid).startswith(_SERVERS)}

    def _ask(self, function: str, *arguments: Any) -> Any:
        """The result of an NVML function; None if the GPU, its driver or this version of pynvml does not support it."""
        call = getattr(self._nvml, function, None)
        return None if call is None else self._answer(lambda handle: call(handle, *arguments[1:]), arguments[0])

    def _answer(self, ask: Any, handle: Any) -> Any:
        if handle is None:
            return None
        try:
            return ask(handle)
        except self._nvml.NVMLError:
            return None


def _microseconds() -> int:
    return time.time_ns() // 1000


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as stream:
            return stream.read().strip()
    except OSError:  # it has ended, or is outside this container
        return ""
