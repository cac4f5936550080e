"""The GPUs of an experiment as the monitor samples them, through NVML."""

from __future__ import annotations

from typing import Any

from dlbs.machine.devices import cuda_name

__all__ = ["GPU_SERIES", "Gpus"]

GPU_SERIES = ("gpu_util", "gpu_mem", "gpu_power", "gpu_temp", "gpu_clock")


class Gpus:
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
        except pynvml.NVMLError:  # driver or GPU missing
            self._handles = []

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
        return [[self._answer(ask, handle) for handle in self._handles] for ask in queries]

    def _answer(self, ask: Any, handle: Any) -> float | None:
        try:
            return float(ask(handle))
        except self._nvml.NVMLError:
            return None
