"""What an experiment asks for of a machine: GPUs, processors, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlbs.errors import LaunchError
from dlbs.experiment import Experiment
from dlbs.text import text

__all__ = ["Request", "cpu_list", "gpu_ids", "memory_size"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def gpu_ids(gpus: str) -> list[int]:
    """The GPUs of `0:1,2:3`, in order.

    Raises:
        LaunchError: It is no list of GPUs.
    """
    groups = [group for group in re.split(r"[,\s]+", gpus.strip()) if group]
    try:
        return [int(gpu) for group in groups for gpu in group.split(":")]
    except ValueError:
        raise LaunchError(
            f"exp.gpus is {gpus!r}, which is no list of GPUs",
            hint="write 0,1 or, for any two GPUs that are free, any:2",
        ) from None


def cpu_list(cpus: str) -> list[int]:
    """The processors of `0-3,8`, in order.

    Raises:
        LaunchError: It is no list of processors.
    """
    numbers: list[int] = []
    try:
        for part in filter(None, re.split(r"[,\s]+", cpus.strip())):
            first, _, last = part.partition("-")
            numbers.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise LaunchError(
            f"runtime.cpus is {cpus!r}, which is no list of processors", hint="write a number of them, or 0-3,8"
        ) from None
    return numbers


def memory_size(size: str) -> int:
    """Bytes of `8G`, `512M` or `1073741824`; 0 for an empty text.

    Raises:
        LaunchError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
    if found is None:
        if not size.strip():
            return 0
        raise LaunchError(f"runtime.memory is {size!r}, which is no size", hint="write 8G or 512M")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@dataclass(frozen=True, slots=True)
class Request:
    """What an experiment needs: these GPUs or a number of any, these processors or a number of any, bytes of memory."""

    gpus: frozenset[int] = frozenset()
    any_gpus: int = 0
    cpus: frozenset[int] = frozenset()
    any_cpus: int = 0
    memory: int = 0

    @classmethod
    def of(cls, experiment: Experiment) -> Request:
        """From `exp.gpus`, `runtime.cpus` and `runtime.memory`.

        Raises:
            LaunchError: One of them is malformed.
        """
        gpus, cpus = text(experiment.get("exp.gpus")).strip(), text(experiment.get("runtime.cpus")).strip()
        any_gpus = re.fullmatch(r"any:(\d+)", gpus)
        return cls(
            frozenset() if any_gpus else frozenset(gpu_ids(gpus)),
            int(any_gpus[1]) if any_gpus else 0,
            frozenset() if cpus.isdigit() else frozenset(cpu_list(cpus)),
            int(cpus) if cpus.isdigit() else 0,
            memory_size(text(experiment.get("runtime.memory"))),
        )
