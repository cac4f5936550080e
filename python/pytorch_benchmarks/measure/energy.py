"""Energy, clocks and temperature of NVIDIA GPUs, as the driver tells them (NVML; the package nvidia-ml-py)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch

__all__ = ["Energy", "gpu_facts"]


def _handle(device: torch.device) -> tuple[Any, Any] | None:
    """NVML and its handle of the device; None if there is no NVML. Found by identity: NVML knows nothing of CUDA_VISIBLE_DEVICES."""
    if device.type != "cuda" or torch.version.cuda is None:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except Exception:  # whatever is missing (package, driver, right): the benchmark does not need it
        return None


def _asked(nvml: Any, function: str, *arguments: Any) -> Any:
    """What NVML answers; None if the device does not know."""
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None


def gpu_facts(device: torch.device) -> dict[str, Any]:
    """Driver version, clocks (MHz), power limit (W), temperature (degrees Celsius) and why clocks are held down."""
    found = _handle(device)
    if found is None:
        return {}
    nvml, handle = found
    limit = _asked(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
    return {
        "driver": _asked(nvml, "nvmlSystemGetDriverVersion"),
        "gpu_clock_mhz": _asked(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        "gpu_clock_max_mhz": _asked(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
        "gpu_temperature": _asked(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        "gpu_power_limit": None if limit is None else limit / 1000,
        "gpu_throttle_reasons": _asked(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle),
    }


class Energy:
    """The GPU's energy counter, read just before and just after the timed batches."""

    def __init__(self, device: torch.device) -> None:
        self._found = _handle(device)
        self._begin: tuple[float, int | None] = (0.0, None)
        self._end: tuple[float, int | None] = (0.0, None)

    def _read(self) -> tuple[float, int | None]:
        if self._found is None:
            return 0.0, None
        nvml, handle = self._found
        return perf_counter(), _asked(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> None:
        self._end = self._read()

    def metrics(self, instances: int) -> dict[str, float]:
        """Log values: joules of all timed batches and of each instance, and mean watts; empty if the counter cannot be read.

        Args:
            instances: Of all timed batches together, on this device.
        """
        (begin, before), (end, after) = self._begin, self._end
        if before is None or after is None:
            return {}
        joules = (after - before) / 1000  # NVML counts millijoules
        return {
            "results.energy": joules,
            "results.energy_per_instance": joules / instances,
            "results.power": joules / (end - begin),
        }
