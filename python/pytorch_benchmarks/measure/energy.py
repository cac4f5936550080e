"""Energy, clocks and temperature of NVIDIA GPUs, as the driver reports them (NVML; the package nvidia-ml-py)."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

__all__ = ["Energy", "Gpu", "facts_of", "find_gpu", "gpu_facts", "gpu_of"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU in NVML.

    Attributes:
        nvml: The module pynvml, initialised.
        handle: Handle of the whole GPU, also where the device is a part of it (MIG).
        shared: Whether the device is a part of it, so that power and energy include other programs.
    """

    nvml: Any
    handle: Any
    shared: bool = False

    def ask(self, function: str, *arguments: Any) -> Any:
        """The result of an NVML function; None if the GPU, its driver or this version of pynvml does not support it."""
        call = getattr(self.nvml, function, None)
        if call is None:
            return None
        try:
            return call(self.handle, *arguments)
        except self.nvml.NVMLError:
            return None


def gpu_of(device: torch.device) -> Gpu | None:
    """The NVML view of a device; None without NVML."""
    if device.type != "cuda" or torch.version.cuda is None:
        return None
    try:
        import pynvml
    except ImportError:  # nvidia-ml-py is an extra
        return None
    return find_gpu(pynvml, str(torch.cuda.get_device_properties(device).uuid))


def find_gpu(nvml: Any, uuid: str) -> Gpu | None:
    """The GPU with this UUID, as CUDA reports it; None if NVML does not know it.

    By UUID, because NVML counts all GPUs of the machine, while CUDA counts those of CUDA_VISIBLE_DEVICES in its own order.

    Args:
        nvml: The module pynvml.
        uuid: UUID of a GPU or of a part of one (MIG): the same form, without its prefix.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, or no access to it
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{bare}")
    except nvml.NVMLError:
        return _whole_of_part(nvml, f"MIG-{bare}")
    current_and_pending = Gpu(nvml, handle).ask("nvmlDeviceGetMigMode")
    return Gpu(nvml, handle, shared=bool(current_and_pending and current_and_pending[0]))


def _whole_of_part(nvml: Any, uuid: str) -> Gpu | None:
    try:
        part = nvml.nvmlDeviceGetHandleByUUID(uuid)
        return Gpu(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part), shared=True)
    except nvml.NVMLError:
        return None


def gpu_facts(device: torch.device) -> dict[str, Any]:
    """Driver version, clocks (MHz), power limit (W), temperature (degrees Celsius) and reasons of clock throttling (a bit mask)."""
    gpu = gpu_of(device)
    return {} if gpu is None else facts_of(gpu)


def facts_of(gpu: Gpu) -> dict[str, Any]:
    """The facts of `gpu_facts`; None for each that this GPU does not report."""
    nvml = gpu.nvml
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError:
        driver = None
    limit = gpu.ask("nvmlDeviceGetEnforcedPowerLimit")
    reasons = gpu.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:  # drivers before 535 know only the older name
        reasons = gpu.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return {
        "driver": driver,
        "gpu_clock_mhz": gpu.ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "gpu_clock_max_mhz": gpu.ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        "gpu_temperature": gpu.ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        "gpu_power_limit": None if limit is None else limit / 1000,
        "gpu_throttle_reasons": reasons,
    }


class Energy:
    """The GPU's energy counter, read just before and just after the timed batches.

    Args:
        gpu: The GPU; None, or a part of a GPU, has no separate counter.
    """

    def __init__(self, gpu: Gpu | None) -> None:
        self._gpu = None if gpu is None or gpu.shared else gpu
        self._begin: tuple[float, int | None] = (0.0, None)
        self._end: tuple[float, int | None] = (0.0, None)

    @classmethod
    def of(cls, device: torch.device) -> Energy:
        """The energy counter of a device."""
        return cls(gpu_of(device))

    def _read(self) -> tuple[float, int | None]:
        """The counter, and the time in the middle of the query, which may take a tenth of a second."""
        if self._gpu is None:
            return 0.0, None
        asked = perf_counter()
        millijoules = self._gpu.ask("nvmlDeviceGetTotalEnergyConsumption")
        return (asked + perf_counter()) / 2, millijoules

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> None:
        self._end = self._read()

    def metrics(self, instances: int) -> dict[str, float]:
        """Log values: joules of all timed batches and per instance, and mean watts; empty if the counter cannot be read.

        It is also empty if the counter did not change: drivers update it about ten times per second, and a GPU always uses energy.

        Args:
            instances: Instances of all timed batches together, on this device.
        """
        (begin, before), (end, after) = self._begin, self._end
        if before is None or after is None or after <= before:
            return {}
        joules = (after - before) / 1000  # NVML counts millijoules
        return {
            "results.energy": joules,
            "results.energy_per_instance": joules / instances,
            "results.power": joules / (end - begin),
        }
