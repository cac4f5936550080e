"""Several processes with one model replica each: started by torchrun, joined by DistributedDataParallel."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark_core.crash import guarded
from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.program import end
from pytorch_benchmarks import torchrun
from pytorch_benchmarks.devices import World, make_current, select_device
from pytorch_benchmarks.options import CommonOptions
from pytorch_benchmarks.rendezvous import Node, endpoint, interface_to, meet

_COMMUNICATION = {"cuda": "nccl", "xpu": "xccl"}
_LONGEST_WAIT = 10**7  # seconds; clocks and torchrun have limits
_EQUAL = (  # options that must be equal on all nodes; paths and devices may differ
    "model", "model_opts", "dtype", "amp", "batch_size", "forward_only", "num_batches", "num_warmup_batches", "epochs",
)  # fmt: skip
_ONLY_BETWEEN = {"nccl": "cuda", "xccl": "xpu"}


def replicas(options: CommonOptions) -> int:
    """Number of model replicas that the options request on this machine."""
    if options.num_replicas:
        return options.num_replicas
    return 1 if options.device == "cpu" else max(1, options.num_gpus)


def run_replicas(options: CommonOptions, program: str, arguments: Sequence[str]) -> None:
    """Run one process per replica under torchrun and end, unless there is one replica or torchrun started this process.

    torchrun runs in this process, which has imported torch already: starting it as a new program takes 2 s.

    Args:
        options: Replicas, nodes, and the rendezvous address.
        program: The script to run, with its `arguments`.

    Raises:
        UsageError: With several nodes: rank or rendezvous of this node are invalid, or the nodes run different things.
        BenchmarkError: Not all nodes arrived in time.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or (replicas(options) == 1 and options.num_nodes == 1):
        return
    meeting = ["--standalone"] if options.num_nodes == 1 else _met(options)
    words = [*meeting, f"--nproc-per-node={replicas(options)}", os.path.abspath(program), *arguments]
    end(guarded(lambda: torchrun.main(words)))


def _met(options: CommonOptions) -> list[str]:
    """Wait for the other nodes; return the arguments of torchrun for the same rendezvous.

    Ranks are fixed: rank 0 reports, on node 0.
    """
    where = endpoint(options.rendezvous)
    if where is None:
        raise UsageError(f"--rendezvous {options.rendezvous!r}: {options.num_nodes} nodes need HOST:PORT of node 0")
    if options.node_rank >= options.num_nodes:
        raise UsageError(f"--node_rank {options.node_rank}: nodes are numbered from 0 to {options.num_nodes - 1}")
    interface = interface_to(where[0])
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    node = Node(options.node_rank, options.num_nodes, platform.node(), _facts(options))
    seconds = min(options.rendezvous_timeout, _LONGEST_WAIT)
    meet(node, where, seconds, say=lambda line: print(line, file=sys.stderr, flush=True))
    nodes = [f"--nnodes={options.num_nodes}", f"--node-rank={options.node_rank}"]
    return [*nodes, f"--master-addr={where[0]}", f"--master-port={where[1]}", f"--rdzv-conf=timeout={seconds}"]


def _facts(options: CommonOptions) -> dict[str, str]:
    """Facts that must be equal on all nodes: versions, and options that determine the computation."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for package in (here.with_name("benchmark_core"), here):
        for file in sorted(package.rglob("*.py")):
            digest.update(file.read_bytes())
    versions = {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "pytorch_benchmarks": digest.hexdigest()[:12],
    }
    return versions | {f"--{name}": str(getattr(options, name)) for name in _EQUAL if hasattr(options, name)}


@contextmanager
def started(options: CommonOptions, program: str, arguments: Sequence[str]) -> Iterator[tuple[torch.device, World]]:
    """The device of this process and the group it joined; torchrun starts the processes if the options request several.

    Args:
        options: Device and replicas.
        program: The script to run, with its `arguments`.

    Raises:
        UsageError: The device does not exist, or its replicas cannot communicate with this backend.
    """
    device = select_device(options)
    if replicas(options) > 1:
        communication(device, options.dist_backend)  # one error instead of one per process
    run_replicas(options, program, arguments)
    make_current(device)  # before NCCL starts, which otherwise guesses the device by the rank
    with joined(device, options.dist_backend) as world:
        yield device, world


@contextmanager
def joined(device: torch.device, backend: str = "auto") -> Iterator[World]:
    """Join the other processes if torchrun started this one.

    Raises:
        UsageError: PyTorch has no such backend, or it does not support this type of device.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield World()
        return
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    torch.distributed.init_process_group(communication(device, backend))
    yield world
    # Not after an error: NCCL would wait for the other processes, which wait for this one, and nobody would learn the reason.
    torch.distributed.destroy_process_group()


def communication(device: torch.device, backend: str) -> str:
    """Select the backend of torch.distributed for a type of device.

    Raises:
        UsageError: PyTorch has no such backend, or it does not support this type of device.
    """
    if backend == "auto":
        return _COMMUNICATION.get(device.type, "gloo")
    if _ONLY_BETWEEN.get(backend, device.type) != device.type:
        kind = "CPUs" if device.type == "cpu" else f"{device.type} devices"
        raise UsageError(f"--dist_backend {backend} does not support {kind}: use auto or gloo")
    if not torch.distributed.is_backend_available(backend):
        raise UsageError(f"--dist_backend {backend}: PyTorch {torch.__version__} is built without it: use auto or gloo")
    return backend


def parallel(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The model with gradients averaged over all processes."""
    if world.size == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device.index])


def slowest(times: array[float], world: World, device: torch.device) -> array[float]:
    """Batch times of all processes together: a batch ends when the slowest replica has finished it."""
    if world.size == 1:
        return times
    return array("d", _reduced(list(times), device, torch.distributed.ReduceOp.MAX))


def largest(number: int, world: World, device: torch.device) -> int:
    """Maximum over all processes."""
    return number if world.size == 1 else int(_reduced([number], device, torch.distributed.ReduceOp.MAX)[0])


def mean(number: float, world: World, device: torch.device) -> float:
    """Mean over all processes."""
    return number if world.size == 1 else _reduced([number], device, torch.distributed.ReduceOp.SUM)[0] / world.size


def total(number: int, world: World, device: torch.device) -> int:
    """Sum over all processes."""
    return number if world.size == 1 else round(_reduced([number], device, torch.distributed.ReduceOp.SUM)[0])


def from_first(work: Callable[[], Any], world: World) -> Any:
    """The result of `work` in rank 0, in all processes, which may have no common files.

    Args:
        work: Called in rank 0. Tensors of its result are on the host.
        world: The processes.

    Raises:
        BenchmarkError: That of `work`, in every process.
    """
    if world.size == 1:
        return work()
    found: list[Any] = [None, None]
    if world.rank == 0:
        try:
            found[0] = work()
        except BenchmarkError as error:
            found[1] = error
    torch.distributed.broadcast_object_list(found, 0)
    if found[1] is not None:
        raise found[1]
    return found[0]


def share_buffers(module: nn.Module, world: World) -> None:
    """Copy the buffers of rank 0 to all processes.

    Running statistics of batch normalisation differ between them, since each process sees different images.
    """
    if world.size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


def _reduced(numbers: Sequence[float], device: torch.device, operation: Any) -> list[float]:
    values = torch.tensor(numbers, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(values, op=operation)
    return list(values.tolist())
