"""Facts about this machine that are needed to interpret results."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from functools import lru_cache
from typing import Any

from dlbs.errors import LaunchError
from dlbs.experiment import Experiment
from dlbs.machine.devices import docker_available, gpu_count, is_nvidia_value, query_nvidia
from dlbs.text import text

__all__ = ["selected_facts", "system_facts"]


def system_facts() -> dict[str, Any]:
    """Facts about the machine: dotted names, sizes in bytes, frequencies in MHz."""
    import psutil

    memory = psutil.virtual_memory()
    frequency = psutil.cpu_freq()
    gpus = _gpus()
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "host.name": platform.node(),
        "host.system": f"{platform.system()} {platform.release()}",
        "cpu.model": _cpu_model(),
        "cpu.cores_physical": psutil.cpu_count(logical=False),
        "cpu.cores_logical": psutil.cpu_count(),
        "cpu.cores_usable": len(affinity),
        "cpu.frequency_mhz": round(frequency.current) if frequency else None,
        "cpu.governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory.total_bytes": memory.total,
        "memory.available_bytes": memory.available,
        "gpu.count": gpu_count(),
        "gpu.devices": gpus,
        "gpu.settings": _gpu_settings() if gpus else [],
        "docker.available": docker_available(),
        "slurm.available": shutil.which("sbatch") is not None,
        "python.version": platform.python_version(),
        "python.executable": sys.executable,
        "torch.version": _torch_version(),
    }


@lru_cache(maxsize=1)
def _facts_once() -> dict[str, Any]:
    return system_facts()


def selected_facts(experiment: Experiment) -> dict[str, Any]:
    """The facts that `exp.sys_info` selects, as log values: `exp.sys_info=cpu,memory` gives `exp.sys.cpu.model` and so on.

    They are collected once per run.
    """
    wanted = {word for word in re.split(r"[,\s]+", text(experiment.get("exp.sys_info"))) if word}
    if not wanted:
        return {}
    facts = _facts_once()
    return {f"exp.sys.{name}": value for name, value in facts.items() if {"all", name.split(".")[0]} & wanted}


def _first_line(path: str) -> str | None:
    try:
        with open(path) as stream:
            return stream.readline().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    return [
        f"{name}, {driver}, {memory} MiB" if memory.isdigit() else f"{name}, {driver}, {memory}"
        for name, driver, memory in _query(("name", "driver_version", "memory.total"))
    ]


def _gpu_settings() -> list[str]:
    """The settings of each GPU that change its speed, those that it reports: `persistence Enabled, ECC Enabled, power limit 700.00 W`."""
    words = {
        "persistence_mode": "persistence {}",
        "ecc.mode.current": "ECC {}",
        "mig.mode.current": "MIG {}",
        "power.limit": "power limit {} W",
        "clocks.max.sm": "clock up to {} MHz",
    }
    return [
        ", ".join(
            form.format(value) for form, value in zip(words.values(), values, strict=True) if is_nvidia_value(value)
        )
        for values in _query(tuple(words))
    ]


def _query(fields: tuple[str, ...]) -> list[list[str]]:
    try:
        return query_nvidia(fields)
    except LaunchError:  # `dlbs check-machine` reports it
        return []


def _torch_version() -> str | None:
    """The version in the metadata of the installed package: importing torch takes two seconds."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch")
    except PackageNotFoundError:
        return None
