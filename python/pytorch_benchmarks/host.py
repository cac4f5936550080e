"""Facts about the machine and the Python interpreter, independent of the framework."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["cpu_title", "git_revision", "host_facts", "malloc_setting", "nvidia_title"]

_SETTINGS = (
    "MALLOC_",
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "CUDA_",
    "CUBLAS_",
    "NCCL_",
    "NVIDIA_TF32_OVERRIDE",  # of cuBLAS and cuDNN: overrides --dtype
    "PYTORCH_",
    "TORCH",
    "ORT_",
    "JAX_",
    "XLA_",
    "NPROC",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_NVIDIA_DRIVER = "/sys/module/nvidia/version"
_KEPT_FROM = 64 << 20  # bytes: glibc always returns blocks of 32 MiB and more, whatever its dynamic threshold


def host_facts() -> dict[str, Any]:
    """Facts for the log, under `exp.env.`; unknown ones are None. Frequencies are MHz, memory is bytes."""
    return {
        "host": platform.node(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "git_revision": git_revision(Path(__file__).resolve()),
        "cpu": cpu_title(),
        "cpu_count": os.cpu_count(),
        "cpu_affinity": _ranges(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        "cpu_governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_mhz": _cpu_mhz(),
        "numa_nodes": _line("/sys/devices/system/node/online"),
        "transparent_hugepages": _line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)},
        **({"driver": driver} if (driver := _nvidia_driver()) else {}),
    }


def _nvidia_driver() -> str | None:
    """Version of NVIDIA's driver, from the kernel module; None without it, and where CUDA_VISIBLE_DEVICES hides all GPUs."""
    return None if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"} else _line(_NVIDIA_DRIVER)


def cpu_title() -> str:
    """Marketing name of the CPU."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def nvidia_title() -> str:
    """Marketing name of the first NVIDIA GPU that CUDA_VISIBLE_DEVICES allows, from the kernel module; with `MIG` for a part of it."""
    gpus = [_information(file) for file in sorted(_NVIDIA.glob("*/information"))]
    models = [gpu.get("Model", "NVIDIA GPU") for gpu in gpus]
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    first = names[0].strip()
    if first.startswith("MIG-GPU-"):  # the name of instances before driver R470: MIG-GPU-UUID/3/0
        uuid = first.removeprefix("MIG-").partition("/")[0]
        return f"{_model_of(uuid, gpus)} MIG"
    if first.startswith("MIG-"):  # the kernel module does not say whose part it is
        return f"{models[0]} MIG" if len(set(models)) == 1 else "NVIDIA GPU MIG"
    if first.startswith("GPU-"):
        return _model_of(first, gpus)
    number = int(first) if first.isdigit() else 0
    job = os.environ.get("SLURM_JOB_GPUS", "").split(",")
    if names == [str(index) for index in range(len(job))] and job[number].isdigit():
        number = int(job[number])  # Slurm numbers the GPUs of a job from 0 if it hides the others
    return models[number] if number < len(models) else "NVIDIA GPU"


def _model_of(uuid: str, gpus: list[dict[str, str]]) -> str:
    """The model of the GPU with a UUID, which may be abbreviated."""
    models = [gpu.get("Model", "") for gpu in gpus if gpu.get("GPU UUID", "").startswith(uuid)]
    return models[0] if len(models) == 1 and models[0] else "NVIDIA GPU"


def _information(file: Path) -> dict[str, str]:
    """The lines `name: value` of what the kernel module says about a GPU."""
    pairs = (line.partition(":") for line in file.read_text().splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _line(path: str) -> str | None:
    try:
        with open(path) as stream:
            return stream.readline().strip()
    except OSError:
        return None


def _cpu_mhz() -> float | None:
    try:
        with open("/proc/cpuinfo") as lines:
            values = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    except (OSError, ValueError):
        return None
    return round(sum(values) / len(values), 1) if values else None


def _ranges(numbers: list[int]) -> str:
    """`0-3,8`: the kernel's format for sets of CPUs."""
    parts: list[str] = []
    for number in numbers:
        if parts and int(parts[-1].split("-")[-1]) == number - 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{number}"
        else:
            parts.append(str(number))
    return ",".join(parts)


def git_revision(path: Path) -> str | None:
    """The checked-out commit of the files around `path`, read without git; None outside a checkout."""
    for directory in path.parents:
        git = directory / ".git"
        if git.is_file():  # a worktree: the file contains the path of its directory
            git = directory / git.read_text().removeprefix("gitdir:").strip()
        head = _line(str(git / "HEAD"))
        if head is None:
            continue
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        common = git / (_line(str(git / "commondir")) or ".")
        return _line(str(common / name)) or _packed(common / "packed-refs", name)
    return None


def _packed(path: Path, name: str) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


def malloc_setting() -> str:
    """`keep` if the C library's allocator is configured to keep large freed blocks, else `system`, the default of most programs."""
    thresholds = [os.environ.get(name, "") for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")]
    return "keep" if all(value.isdigit() and int(value) >= _KEPT_FROM for value in thresholds) else "system"
