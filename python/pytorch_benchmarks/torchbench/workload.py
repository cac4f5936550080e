"""A TorchBench model as a workload."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pytorch_benchmarks.data.source import Source
from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.phases.workload import Workload
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.torchbench.batches import phase_of
from pytorch_benchmarks.torchbench.loader import instances, load_class, make, module_of

__all__ = ["pack_workload"]


class _PackModel(Model):
    """The facts of a model that reports need, for a model with its own data."""

    unit = "instances"

    def __init__(self, title: str, parameters: int) -> None:
        super().__init__()
        self.title = title
        self._parameters_outside = parameters

    def num_parameters(self) -> int:
        return self._parameters_outside


def pack_workload(options: BenchmarkOptions, device: torch.device, precision: Precision) -> tuple[Workload, int]:
    """The workload of `--pack`, and the number of instances in its batches.

    Raises:
        UsageError: An option is incompatible with packs, or the model cannot be imported.
        SkippedError: The model does not support the phase or the device.
    """
    _check(options)
    directory = Path(options.pack)
    found = load_class(directory)
    phase, test = ("inference", "eval") if options.forward_only else ("training", "train")
    begin = perf_counter()
    made = make(
        found,
        test,
        _called(device),
        None if options.own_batch else options.batch_size,
        list(options.pack_args),
        jit=options.jit,
    )
    synchronizer(device)()
    seconds = perf_counter() - begin
    network = module_of(made)
    for name in ("set_train", "set_eval")[options.forward_only :: 2]:
        if network is not None and hasattr(made, name):
            getattr(made, name)()
    step = _step(phase_of(made, test), test, precision)
    size = instances(made)
    if not options.own_batch and size != options.batch_size:
        raise SkippedError(f"the batch size is fixed at {size}: omit exp.replica_batch")
    count = sum(parameter.numel() for parameter in network[0].parameters()) if network else 0
    model = _PackModel(directory.name, count)
    wanted = getattr(made, "dargs", None)
    own = getattr(wanted, "precision", "fp32")
    facts = {} if own == "fp32" else {"precision": f"{own}, by the model"}
    source = Source(itertools.repeat((None, None)), "pack", facts)
    return Workload(phase, model, source, step, step, seconds), size


def _called(device: torch.device) -> str:
    """The device as models compare it: `cuda`, without a number if it is the only visible one."""
    return device.type if not device.index else str(device)


def _step(run: Callable[[], Any], test: str, precision: Precision) -> Callable[[Any], Any]:
    context: Callable[[], AbstractContextManager[Any]] = precision.context or nullcontext

    def step(_: Any) -> Any:
        try:
            with context():
                result = run()
        except NotImplementedError as error:
            raise SkippedError(f"{test} is not supported: {error or 'NotImplementedError'}") from None
        # A loss, if training returns one, alone or as first of several; other results are not used.
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        return first.detach() if isinstance(first, Tensor) and first.numel() == 1 else None

    return step


def _check(options: BenchmarkOptions) -> None:
    refused = {
        "--compile": options.compile,
        "--cuda_graphs": options.cuda_graphs,
        "--data_dir": options.data_dir,
        "--data_loader_only": options.data_loader_only,
        "--channels_last": options.channels_last,
        "--num_replicas": options.num_replicas > 1 or options.num_gpus > 1,
        f"--dtype {options.dtype}": options.dtype in {"float16", "bfloat16"} and not options.amp,
    }
    for flag, given in refused.items():
        if given:
            raise UsageError(f"{flag} cannot be combined with --pack, whose model has its own data and step: omit it")
