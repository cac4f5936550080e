"""The machine that a command runs on, under the keys of other benchmarks (`exp.env.`)."""

from __future__ import annotations

import os
import platform
from typing import Any

__all__ = ["environment"]

_SETTINGS = ("MALLOC_", "OMP_", "KMP_", "GOMP_", "MKL_", "CUDA_", "GLIBC_TUNABLES", "LD_PRELOAD")
_NVIDIA_DRIVER = "/sys/module/nvidia/version"


def environment() -> dict[str, Any]:
    """Facts for the log, keyed without `exp.env.`; unknown values are None. Memory is in bytes."""
    return {
        "host": platform.node(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": _cpu_title(),
        "cpu_count": os.cpu_count(),
        "cpu_affinity": _ranges(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        "cpu_governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "numa_nodes": _line("/sys/devices/system/node/online"),
        "transparent_hugepages": _line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)},
        **({"driver": driver} if (driver := _nvidia_driver()) else {}),
    }


def _nvidia_driver() -> str | None:
    """Version of NVIDIA's driver, from the kernel module; None without it, and where CUDA_VISIBLE_DEVICES hides all GPUs."""
    return None if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"} else _line(_NVIDIA_DRIVER)


def _cpu_title() -> str:
    """Marketing name of the CPU."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def _line(path: str) -> str | None:
    try:
        with open(path) as stream:
            return stream.readline().strip()
    except OSError:
        return None


def _ranges(numbers: list[int]) -> str:
    """Format CPU numbers as the kernel does: `0-3,8`."""
    parts: list[str] = []
    for number in numbers:
        if parts and int(parts[-1].split("-")[-1]) == number - 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{number}"
        else:
            parts.append(str(number))
    return ",".join(parts)
