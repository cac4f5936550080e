"""What the numbers depend on besides the options: versions, processors, clocks, allocator, settings."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.devices import cpu_title
from pytorch_benchmarks.measure.energy import gpu_facts

__all__ = ["environment", "git_revision", "malloc_setting"]

_SETTINGS = (
    "MALLOC_",
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "CUDA_",
    "CUBLAS_",
    "NCCL_",
    "PYTORCH_",
    "TORCH",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)


_KEPT_FROM = 64 << 20  # bytes: glibc itself gives back blocks of 32 MiB and more, whatever it has learnt


def malloc_setting() -> str:
    """`keep` if the C library's allocator is told to keep large blocks that are freed, else `system`, as for most other programs."""
    thresholds = [os.environ.get(name, "") for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")]
    return "keep" if all(value.isdigit() and int(value) >= _KEPT_FROM for value in thresholds) else "system"


def environment(device: torch.device) -> dict[str, Any]:
    """Facts for the log, under `exp.env.`; what cannot be known is None. Frequencies are MHz, memory is bytes."""
    facts: dict[str, Any] = {
        "host": platform.node(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "git_revision": git_revision(Path(__file__).resolve()),
        "cpu": cpu_title(),
        "cpu_count": os.cpu_count(),
        "cpu_affinity": _ranges(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        "cpu_governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_mhz": _cpu_mhz(),
        "numa_nodes": _line("/sys/devices/system/node/online"),
        "transparent_hugepages": _line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": torch.get_num_threads(),
        "threads_interop": torch.get_num_interop_threads(),
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cuda": torch.version.cuda,
            "rocm": torch.version.hip,
            "cudnn": torch.backends.cudnn.version(),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None,
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_multiprocessors": properties.multi_processor_count,
            "driver": None,
            **gpu_facts(device),
        }
    return facts


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
    """`0-3,8`: as the kernel writes sets of processors."""
    parts: list[str] = []
    for number in numbers:
        if parts and int(parts[-1].split("-")[-1]) == number - 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{number}"
        else:
            parts.append(str(number))
    return ",".join(parts)


def git_revision(path: Path) -> str | None:
    """The commit that the files around `path` were checked out from, read without git; None outside a checkout."""
    for directory in path.parents:
        git = directory / ".git"
        if git.is_file():  # a worktree: the file says where its directory is
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
