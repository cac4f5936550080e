"""Facts about the machine, the interpreter and this process that are independent of the framework; the settings that matter."""

from __future__ import annotations

import os
import platform
from typing import Any

from benchmark_core.files import line_of

# Environment variables that change what is measured: names, or what they begin with.
SETTINGS = (
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

_NVIDIA_DRIVER = "/sys/module/nvidia/version"
_KEPT_FROM = 64 << 20  # bytes: glibc always returns blocks of 32 MiB and more, whatever its dynamic threshold


def host_facts() -> dict[str, Any]:
    """Facts for the log, under `exp.env.`; unknown ones are None. Frequencies are MHz, memory is bytes."""
    return {
        "host": platform.node(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": cpu_title(),
        "cpu_count": os.cpu_count(),
        "cpu_affinity": _ranges(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        "cpu_governor": line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_mhz": _cpu_mhz(),
        "numa_nodes": line_of("/sys/devices/system/node/online"),
        "transparent_hugepages": line_of("/sys/kernel/mm/transparent_hugepage/enabled"),
        "microcode": _of_cpu("microcode"),
        "firmware": line_of("/sys/class/dmi/id/bios_version"),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
        **({"driver": driver} if (driver := _nvidia_driver()) else {}),
    }


def _nvidia_driver() -> str | None:
    """Version of NVIDIA's driver, from the kernel module; None without it, and where CUDA_VISIBLE_DEVICES hides all GPUs."""
    return None if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"} else line_of(_NVIDIA_DRIVER)


def cpu_title() -> str:
    """Marketing name of the CPU."""
    return _of_cpu("model name") or platform.processor() or platform.machine()


def _of_cpu(name: str) -> str | None:
    """A fact about the first CPU, from the kernel."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)
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


def malloc_setting() -> str:
    """`keep` if the C library's allocator is configured to keep large freed blocks, else `system`, the default of most programs."""
    thresholds = [os.environ.get(name, "") for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")]
    return "keep" if all(value.isdigit() and int(value) >= _KEPT_FROM for value in thresholds) else "system"


def reset_resident_peak() -> None:
    """Reset the peak; where the system does not support it, the peak remains that since the start of the process."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")  # proc(5): reset the peak resident set size
    except OSError:
        pass  # the peak then counts from the start of the process


def resident_peak() -> int | None:
    """Bytes since the last reset; None where the system does not report it."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
