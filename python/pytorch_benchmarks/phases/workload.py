"""A workload: a model, its data, and the step that processes one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn

from pytorch_benchmarks.data.source import Source, open_source
from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.distributed import World, parallel
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.model_factory import get_model, load_architecture
from pytorch_benchmarks.model_options import built_with
from pytorch_benchmarks.models.generator import Generator
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.phases.generation import Generation
from pytorch_benchmarks.phases.graphs import graphed
from pytorch_benchmarks.phases.inference import inference_step
from pytorch_benchmarks.phases.ingestion import ingestion_step
from pytorch_benchmarks.phases.training import training_step
from pytorch_benchmarks.phases.trial import blamed
from pytorch_benchmarks.precision import Precision

__all__ = ["Workload", "build_workload", "requested_model"]


@dataclass(frozen=True, slots=True)
class Workload:
    """The workload of a benchmark.

    Attributes:
        phase: training, inference or ingestion.
        model: The model, with its weights on the device.
        source: Batches on the device.
        step: Does the work of one batch, as requested.
        eager_step: The same work, without CUDA graphs.
        build_seconds: Time to build the model and move it to the device.
    """

    phase: str
    model: Model
    source: Source
    step: Callable[[Any], Any]
    eager_step: Callable[[Any], Any]
    build_seconds: float

    def metrics(self, batches: int, replicas: int) -> dict[str, float]:
        """Log values specific to this workload, of the last `batches`."""
        return self.eager_step.metrics(batches, replicas) if isinstance(self.eager_step, Generation) else {}


def build_workload(options: BenchmarkOptions, device: torch.device, world: World, precision: Precision) -> Workload:
    """Build the requested workload.

    Raises:
        UsageError: Options exclude each other, or the model or the data are not available.
    """
    _check(options, device, world, precision)
    begin = perf_counter()
    model = requested_model(options).to(device=device, dtype=precision.weights)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    synchronizer(device)()
    seconds = perf_counter() - begin
    source = open_source(options, model, device=device, dtype=precision.weights, world=world)
    if options.data_loader_only:
        step = ingestion_step()
        return Workload("ingestion", model, source, step, step, seconds)
    phase = "inference" if options.forward_only else "training"
    network = model if options.forward_only else parallel(model, world, device)
    if options.compile:
        network.compile(mode=None if options.compile == "default" else options.compile)
    step = _step(options, device, model, network, precision)
    if options.cuda_graphs and isinstance(step, Generation):
        raise UsageError("--cuda_graphs: text generation waits for the device between prefill and decode; omit it")
    return Workload(phase, model, source, graphed(step, device) if options.cuda_graphs else step, step, seconds)


def _step(
    options: BenchmarkOptions, device: torch.device, model: Model, network: nn.Module, precision: Precision
) -> Callable[[Any], Any]:
    if not options.forward_only:
        return training_step(model, network, precision)
    if isinstance(model, Generator):
        return Generation(model, options.batch_size, synchronizer(device), precision)
    return inference_step(network, precision)


def requested_model(options: CommonOptions, **defaults: Any) -> Model:
    """The requested model, with its weights.

    Args:
        options: The requested model, its options and weights.
        defaults: Defaults of the options of the model's builder.

    Raises:
        UsageError: The model is unknown, has no such options or weights, or rejects the value of an option.
    """
    if options.architecture:
        load_architecture(options.architecture)
    with built_with(options.model_opts, options.model, partial(blamed, options)):
        return get_model(options.model, weights=options.weights, **{**defaults, **options.model_opts})


def _check(options: BenchmarkOptions, device: torch.device, world: World, precision: Precision) -> None:
    if options.sync == "end" and options.forward_only and not options.data_loader_only and device.type == "mps":
        raise UsageError("--sync end needs batch times from the device, which mps does not report: use --sync each")
    if not options.cuda_graphs:
        return
    if device.type != "cuda":
        raise UsageError(f"--cuda_graphs needs a CUDA device, this is {device.type}: omit it")
    if options.compile in {"reduce-overhead", "max-autotune"}:
        raise UsageError(
            f"--cuda_graphs with --compile {options.compile}, which captures CUDA graphs itself: omit one of them"
        )
    if world.size > 1:
        raise UsageError("--cuda_graphs supports one replica: omit it, or use --num_replicas 1")
    if precision.scaler() is not None and not options.forward_only:
        raise UsageError(
            "--cuda_graphs with --amp float16 training: scaled gradients are checked on the host after each batch; use bfloat16"
        )
