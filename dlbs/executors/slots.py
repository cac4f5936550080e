"""The free resources of this machine: GPUs and CPUs, each granted to one experiment at a time, and memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlbs.errors import LaunchError
from dlbs.machine.devices import total_memory, usable_cpus, visible_gpus
from dlbs.machine.resources import Request

__all__ = ["Grant", "Slots"]


@dataclass(frozen=True, slots=True)
class Grant:
    """The resources granted to an experiment; without CPUs, it may use all of them, shared with other experiments."""

    gpus: tuple[int, ...] = ()
    cpus: tuple[int, ...] = ()
    memory: int = 0


@dataclass(slots=True)
class Slots:
    """The free resources of this machine.

    Attributes:
        gpus, cpus: Numbers of those that experiments may use.
        memory: Bytes.
    """

    gpus: tuple[int, ...] = field(default_factory=visible_gpus)
    cpus: tuple[int, ...] = field(default_factory=usable_cpus)
    memory: int = field(default_factory=total_memory)
    _busy_gpus: set[int] = field(default_factory=set)
    _busy_cpus: set[int] = field(default_factory=set)
    _used_memory: int = 0

    def check(self, request: Request) -> None:
        """Check that a request can be met with nothing else running.

        Raises:
            LaunchError: It cannot; the message contains what the machine has.
        """
        if request.any_gpus > len(self.gpus):
            raise LaunchError(f"exp.gpus requests {request.any_gpus} GPUs, but {len(self.gpus)} are usable")
        unusable = sorted(request.gpus - set(self.gpus))
        if unusable and self.gpus:  # without drivers that dlbs knows, such as in WSL, numbers cannot be checked
            usable = ", ".join(map(str, self.gpus))
            raise LaunchError(f"exp.gpus requests GPU {unusable[0]}, but only {usable} can be used")
        missing = sorted(request.cpus - set(self.cpus))
        if missing:
            raise LaunchError(f"runtime.cpus requests CPU {missing[0]}, which this process may not use")
        if request.any_cpus > len(self.cpus):
            raise LaunchError(f"runtime.cpus requests {request.any_cpus} CPUs, but {len(self.cpus)} are usable")
        if request.memory > self.memory:
            raise LaunchError(f"runtime.memory requests {request.memory:,} bytes, but this machine has {self.memory:,}")

    def take(self, request: Request) -> Grant | None:
        """Occupy the requested resources; return None if they are not free now."""
        free_gpus = [gpu for gpu in self.gpus if gpu not in self._busy_gpus]
        free_cpus = [cpu for cpu in self.cpus if cpu not in self._busy_cpus]
        if (
            request.gpus & self._busy_gpus
            or request.cpus & self._busy_cpus
            or request.any_gpus > len(free_gpus)
            or request.any_cpus > len(free_cpus)
            or self._used_memory + request.memory > self.memory
        ):
            return None
        gpus = tuple(sorted(request.gpus)) if request.gpus else tuple(free_gpus[: request.any_gpus])
        cpus = tuple(sorted(request.cpus)) if request.cpus else tuple(free_cpus[: request.any_cpus])
        self._busy_gpus.update(gpus)
        self._busy_cpus.update(cpus)
        self._used_memory += request.memory
        return Grant(gpus, cpus, request.memory)

    def give_back(self, grant: Grant) -> None:
        """Release the granted resources."""
        self._busy_gpus.difference_update(grant.gpus)
        self._busy_cpus.difference_update(grant.cpus)
        self._used_memory -= grant.memory
