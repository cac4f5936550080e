"""Several processes, one model replica each: started by torchrun, joined by DistributedDataParallel."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytorch_benchmarks.options import Options

__all__ = ["World", "joined", "replicas", "restart_under_torchrun", "slowest"]


@dataclass(frozen=True, slots=True)
class World:
    """The processes that work together.

    Attributes:
        rank: This process, from 0. Rank 0 reports.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1


def replicas(options: Options) -> int:
    """Model replicas that the options ask for on this machine."""
    if options.num_replicas:
        return options.num_replicas
    return 1 if options.device == "cpu" else max(1, options.num_gpus)


def restart_under_torchrun(options: Options, arguments: Sequence[str]) -> None:
    """Become torchrun with a process for each replica, unless there is one replica or this is one of its processes."""
    if replicas(options) == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "benchmarks.py")
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={replicas(options)}"]
    sys.stdout.flush()
    os.execv(sys.executable, [*runner, program, *arguments])


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the other processes, if torchrun started this one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield World()
        return
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield world
    finally:
        torch.distributed.destroy_process_group()


def parallel(model: Any, world: World, device: torch.device) -> nn.Module:
    """The model with gradients averaged over all processes."""
    if world.size == 1:
        return model  # type: ignore[no-any-return]
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def slowest(times: array[float], world: World, device: torch.device) -> array[float]:
    """Batch times of all processes together: a batch is finished when the slowest replica has finished it."""
    if world.size == 1:
        return times
    values = torch.tensor(times, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
    return array("d", values.tolist())
