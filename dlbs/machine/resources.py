"""The resources that an experiment requests: GPUs, CPUs, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlbs.errors import LaunchError
from dlbs.experiment import Experiment
from dlbs.text import text

__all__ = ["Request", "cpu_list", "gpu_ids", "memory_size"]

_MOST_CPUS = 1 << 16  # far more than any machine has, and little memory for a list of them
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def gpu_ids(gpus: str) -> list[int]:
    """The GPUs of `0:1,2:3`, in order.

    Raises:
        LaunchError: The text is not a list of GPUs.
    """
    groups = [group for group in re.split(r"[,\s]+", gpus.strip()) if group]
    try:
        return [int(gpu) for group in groups for gpu in group.split(":")]
    except ValueError:
        raise LaunchError(
            f"exp.gpus: {gpus[:80]!r} is not a list of GPUs",
            hint="write 0,1, or any:2 for any two free GPUs",
        ) from None


def cpu_list(cpus: str) -> list[int]:
    """The CPUs of `0-3,8`, in order.

    Raises:
        LaunchError: The text is not a list of CPUs.
    """
    numbers: list[int] = []
    try:
        for part in filter(None, re.split(r"[,\s]+", cpus.strip())):
            first, _, last = part.partition("-")
            more = range(int(first), int(last or first) + 1)
            if more and max(more[-1], len(numbers) + len(more)) >= _MOST_CPUS:
                raise LaunchError(
                    f"runtime.cpus: {cpus[:80]!r} names more CPUs than any machine has",
                    hint=f"CPU numbers are below {_MOST_CPUS}",
                )
            numbers.extend(more)
    except (ValueError, OverflowError):
        raise LaunchError(
            f"runtime.cpus: {cpus[:80]!r} is not a list of CPUs",
            hint="write a number of CPUs, or a list such as 0-3,8",
        ) from None
    return numbers


def memory_size(size: str) -> int:
    """Bytes of `8G`, `512M` or `1073741824`; 0 for an empty string.

    Raises:
        LaunchError: The text is not a size.
    """
    found = re.fullmatch(r"\s*(\d{1,20}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
    if found is None:
        if not size.strip():
            return 0
        raise LaunchError(f"runtime.memory: {size[:80]!r} is not a size", hint="write 8G or 512M")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@dataclass(frozen=True, slots=True)
class Request:
    """The resources that an experiment requests: specific GPUs or a number of them, specific CPUs or a number of them, bytes of memory."""

    gpus: frozenset[int] = frozenset()
    any_gpus: int = 0
    cpus: frozenset[int] = frozenset()
    any_cpus: int = 0
    memory: int = 0

    @classmethod
    def of(cls, experiment: Experiment, *, allocated: bool = False) -> Request:
        """The request in `exp.gpus`, `runtime.cpus` and `runtime.memory`.

        Args:
            experiment: Its values.
            allocated: Whether a scheduler selects the GPUs, so that `0:1,2:3` requests any four of them.

        Raises:
            LaunchError: One of them is malformed.
        """
        gpus, cpus = text(experiment.get("exp.gpus")).strip(), text(experiment.get("runtime.cpus")).strip()
        any_gpus = re.fullmatch(r"any:(\d{1,9})", gpus)
        any_cpus = re.fullmatch(r"\d{1,9}", cpus)
        numbers = [] if any_gpus else gpu_ids(gpus)
        return cls(
            frozenset() if allocated else frozenset(numbers),
            int(any_gpus[1]) if any_gpus else len(numbers) if allocated else 0,
            frozenset() if any_cpus else frozenset(cpu_list(cpus)),
            int(cpus) if any_cpus else 0,
            memory_size(text(experiment.get("runtime.memory"))),
        )
