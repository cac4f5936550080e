"""GPUs without a framework: their names, and what the driver of NVIDIA's reports of them (NVML): clocks, throttling, energy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

# Bits of nvmlDeviceGetCurrentClocksEventReasons (NVML API reference). An idle GPU and clocks that applications set are not reported.
THROTTLING = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
POWER_CAP = {0x4: "power cap"}  # where a GPU that is busy works as intended

_NVIDIA = "/proc/driver/nvidia/gpus"


def reasons_of(bits: int, table: Mapping[int, str] = THROTTLING) -> list[str]:
    """The reasons in a bit mask, in words."""
    return [words for bit, words in table.items() if bits & bit]


def gpu_count() -> int:
    """Number of NVIDIA and AMD GPUs, counted by device files (no driver is loaded)."""
    nvidia = list(Path("/dev").glob("nvidia[0-9]*"))
    if nvidia:
        return len(nvidia)
    # An AMD compute node has a non-zero SIMD count; CPUs are nodes too.
    count = 0
    for path in Path("/sys/class/kfd/kfd/topology/nodes").glob("*/properties"):
        try:
            with open(path) as properties:
                count += any(line.startswith("simd_count") and line.split()[1] != "0" for line in properties)
        except OSError:
            continue
    return count


def visible_gpus() -> tuple[int, ...]:
    """Numbers of the GPUs that programs started here may use: all, or those of CUDA_VISIBLE_DEVICES.

    GPUs, or parts of them (MIG), that it lists by UUID are numbered from 0 in its order.
    """
    names = _visible_names()
    if names is None:
        return tuple(range(gpu_count()))
    if all(map(str.isdigit, names)):
        return tuple(dict.fromkeys(map(int, names)))
    return tuple(range(len(names)))


def cuda_name(gpu: int) -> str:
    """The entry for CUDA_VISIBLE_DEVICES of a GPU of `visible_gpus`: its number, or its UUID if that variable lists UUIDs."""
    names = _visible_names()
    if names is None or all(map(str.isdigit, names)) or gpu >= len(names):
        return str(gpu)
    return names[gpu]


def docker_name(gpu: int) -> str:
    """The name of a GPU of `visible_gpus` for docker, whose daemon sees all GPUs of this machine."""
    name = cuda_name(gpu)
    return str(_number_on_machine(gpu)) if name.isdigit() else name


def _number_on_machine(gpu: int) -> int:
    """The number of a GPU of `visible_gpus` for programs that see all GPUs of this machine.

    Slurm numbers the GPUs of a job from 0 if it hides the others (ConstrainDevices); SLURM_JOB_GPUS lists them as on the machine.
    """
    job = [int(name) for name in os.environ.get("SLURM_JOB_GPUS", "").split(",") if name.isdigit()]
    return job[gpu] if gpu < len(job) and visible_gpus() == tuple(range(len(job))) else gpu


def _visible_names() -> list[str] | None:
    """The entries of CUDA_VISIBLE_DEVICES that CUDA uses: those before the first invalid one, such as -1. None if it is not set."""
    limited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if limited is None:
        return None
    names = (name.strip() for name in limited.split(","))
    return list(itertools.takewhile(_names_a_gpu, names))


def _names_a_gpu(name: str) -> bool:
    return name.isdigit() or name.startswith(("GPU-", "MIG-"))


def nvidia_title() -> str:
    """Marketing name of the first NVIDIA GPU that CUDA_VISIBLE_DEVICES allows, from the kernel module; with `MIG` for a part of it."""
    gpus = [_information(file) for file in sorted(Path(_NVIDIA).glob("*/information"))]
    models = [gpu.get("Model", "NVIDIA GPU") for gpu in gpus]
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    if first.startswith("MIG-GPU-"):  # the name of instances before driver R470: MIG-GPU-UUID/3/0
        uuid = first.removeprefix("MIG-").partition("/")[0]
        return f"{_model_of(uuid, gpus)} MIG"
    if first.startswith("MIG-"):  # the kernel module does not say whose part it is
        return f"{models[0]} MIG" if len(set(models)) == 1 else "NVIDIA GPU MIG"
    if first.startswith("GPU-"):
        return _model_of(first, gpus)
    number = _number_on_machine(int(first) if first.isdigit() else 0)
    return models[number] if number < len(models) else "NVIDIA GPU"


def _model_of(uuid: str, gpus: list[dict[str, str]]) -> str:
    """The model of the GPU with a UUID, which may be abbreviated."""
    models = [gpu.get("Model", "") for gpu in gpus if gpu.get("GPU UUID", "").startswith(uuid)]
    return models[0] if len(models) == 1 and models[0] else "NVIDIA GPU"


def _information(file: Path) -> dict[str, str]:
    """The lines `name: value` of what the kernel module says about a GPU."""
    with file.open() as lines:
        pairs = [line.partition(":") for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs}


class Gpu(NamedTuple):
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

    def lowered_clock(self) -> int | None:
        """Reasons why its clock is lowered, a bit mask of `THROTTLING`; None if unknown."""
        reasons: int | None = self.ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # drivers before 535 know only the older name
            reasons = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return reasons


def open_nvml() -> Any:
    """The module pynvml (of the package nvidia-ml-py, an extra), initialised; None without it, a driver, or access to that."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def named_gpu(nvml: Any, name: str) -> Gpu | None:
    """The GPU with a name of `cuda_name`; None if NVML does not know it."""
    try:
        if name.isdigit():
            return Gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(int(name)))
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(name))
    except nvml.NVMLError:
        return None


def find_gpu(nvml: Any, uuid: str) -> Gpu | None:
    """The GPU with this UUID, as CUDA reports it; None if NVML does not know it.

    By UUID, because NVML counts all GPUs of the machine, while CUDA counts those of CUDA_VISIBLE_DEVICES in its own order.

    Args:
        nvml: The module pynvml, initialised.
        uuid: UUID of a GPU or of a part of one (MIG): the same form, without its prefix.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
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


def facts_of(gpu: Gpu) -> dict[str, Any]:
    """Versions of driver and firmware, clocks (MHz), power limit (W), temperature (degrees Celsius) and reasons of a lowered clock (a bit mask).

    None for each that this GPU does not report.
    """
    nvml = gpu.nvml
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError:
        driver = None
    limit = gpu.ask("nvmlDeviceGetEnforcedPowerLimit")
    return {
        "driver": driver,
        "gpu_vbios": gpu.ask("nvmlDeviceGetVbiosVersion"),
        "gpu_clock_mhz": gpu.ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        "gpu_clock_max_mhz": gpu.ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        "gpu_temperature": gpu.ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        "gpu_power_limit": None if limit is None else limit / 1000,
        "gpu_throttle_reasons": gpu.lowered_clock(),
    }


class Energy:
    """The GPU's energy counter, read just before and just after the timed batches; sums several intervals.

    Args:
        gpu: The GPU; None, or a part of a GPU, has no separate counter.
    """

    def __init__(self, gpu: Gpu | None = None) -> None:
        self._gpu = None if gpu is None or gpu.shared else gpu
        self._begin: tuple[float, int | None] = (0.0, None)
        self._seconds = 0.0
        self._millijoules = 0

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
        (begin, before), (end, after) = self._begin, self._read()
        if before is not None and after is not None:
            self._seconds += end - begin
            self._millijoules += after - before

    def metrics(self, instances: int) -> dict[str, float]:
        """Log values: joules of all timed batches and per instance, and mean watts; empty if the counter cannot be read.

        It is also empty if the counter did not change: drivers update it about ten times per second, and a GPU always uses energy.

        Args:
            instances: Instances of all timed batches together, on this device.
        """
        if self._millijoules <= 0:
            return {}
        joules = self._millijoules / 1000  # NVML counts millijoules
        return {
            "results.energy": joules,
            "results.energy_per_instance": joules / instances,
            "results.power": joules / self._seconds,
        }
