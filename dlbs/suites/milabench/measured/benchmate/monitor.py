"""Instruments for voirfiles and context managers for scripts that monitor GPUs, processes and the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from voir.instruments import dash, early_stop, gpu_monitor, log

from benchmate.metrics import file_push, give_push, is_running_with_voir, sumggle_push

# The monitor of an experiment in dlbs samples processes and the machine; these instruments only monitor GPUs.
monitor_monogpu = monitor_node = gpu_monitor


def monitor_process_monogpu(**options: Any) -> Any:
    """An instrument without effect, since dlbs monitors the processes."""

    def watch(overseer: Any) -> Iterator[Any]:
        yield overseer.phases.init

    return watch


def log_patterns() -> tuple[str, ...]:
    """Keys of events that are logged."""
    return ("value", "progress", "rate", "units", "loss", "time", "gpudata", "memory_peak")


def get_rank() -> int:
    """Rank of this process; -1 without other processes."""
    return int(os.getenv("RANK", "-1"))


def auto_push() -> Any:
    """The function that reports events of this process: to voir, hidden in standard output, or as lines of it."""
    if is_running_with_voir():
        return give_push()
    return sumggle_push() if os.getenv("MILABENCH_USE_STDOUT") == "1" else file_push()


def voirfile_monitor(overseer: Any, options: Any) -> None:
    """Require the instruments of milabench's voirfiles: log events, stop after enough rates, monitor GPUs."""
    if getattr(options, "dash", False):
        overseer.require(dash)
    overseer.require(log(*log_patterns(), context="task"))
    if get_rank() <= 0:
        overseer.require(early_stop(n=options.stop, key="rate", task="train", signal="stop"))
        overseer.require(gpu_monitor(poll_interval=options.gpu_poll))


@contextmanager
def bench_monitor(*arguments: Any, **options: Any) -> Iterator[Any]:
    """A context that yields a function that reports events (mappings) while a script runs."""
    push = auto_push()
    yield lambda event: push(**event)


smuggle_monitor = monogpu_monitor = multigpu_monitor = bench_monitor


class _Monitor:
    """A monitor to stop at the end."""

    def stop(self) -> None:
        """Do nothing: no monitor runs."""


def setupvoir(monogpu: bool = True, enabled: bool = True) -> tuple[Any, _Monitor]:
    """A function that reports events, and a monitor to stop at the end."""
    push = sumggle_push()
    return (lambda event: push(**event)), _Monitor()


def milabench_sys_monitor(monogpu: bool = False) -> tuple[Any, _Monitor]:
    """An alias of `setupvoir`."""
    return setupvoir(monogpu)
