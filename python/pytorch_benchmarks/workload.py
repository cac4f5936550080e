"""A workload: a model, its data, and the step that processes one batch; and, if it fails, the option that is to blame."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.program import built_with, first_line, lacks_connection, lacks_memory, misfit
from pytorch_benchmarks.data.source import Source, open_source
from pytorch_benchmarks.devices import Precision, World, map_tensors, synchronizer
from pytorch_benchmarks.distributed import parallel
from pytorch_benchmarks.model_factory import get_model, load_architecture
from pytorch_benchmarks.models.model import Generator, Model
from pytorch_benchmarks.options import BenchmarkOptions, CommonOptions
from pytorch_benchmarks.phases import Generation, graphed, inference_step, ingestion_step, training_step


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


@contextmanager
def tried(options: CommonOptions) -> Iterator[None]:
    """Run a model inside this context: an error that its options cause is one about `--model_opts`.

    Builders do not run the model, so values that do not fit each other, such as a patch that is larger than the image, fail in the first
    batch. After an error, the model runs without data, once with its options and once without, so that runs without errors take no longer.

    Raises:
        UsageError: The model runs without the options, but not with them.
    """
    try:
        yield
    except Exception as error:
        if not options.model_opts or _has_another_cause(error):
            raise
        modes = (False,) if getattr(options, "forward_only", False) else (False, True)
        if not any(_runs(options, {}, mode) and not _runs(options, options.model_opts, mode) for mode in modes):
            raise
        addition = blamed(options, first_line(error)) or " (without these options, it runs)"
        raise misfit(options.model, error, addition) from error


def _step(
    options: BenchmarkOptions, device: torch.device, model: Model, network: nn.Module, precision: Precision
) -> Callable[[Any], Any]:
    if not options.forward_only:
        return training_step(model, network, precision)
    if isinstance(model, Generator):
        return Generation(model, options.batch_size, synchronizer(device), precision)
    return inference_step(network, precision)


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


def _has_another_cause(error: Exception) -> bool:
    """Whether an error needs no trial, during which NCCL's watchdog would abort a replica that has an error of the device or lost another one."""
    of_device = type(error).__name__ == "AcceleratorError"  # since PyTorch 2.8; those about shapes are of other types
    return isinstance(error, BenchmarkError) or of_device or lacks_memory(error) or lacks_connection(error)


def blamed(options: CommonOptions, message: str) -> str:
    """An addition to an error's message: the options without which the model runs; empty if the message names one of the options, or
    there are none.
    """
    names = options.model_opts
    if any(re.search(rf"\b{re.escape(name)}\b", message) for name in names):
        return ""
    found = [
        name
        for name in names
        if _runs(options, {other: value for other, value in names.items() if other != name}, training=False)
    ]
    return f" (without {' or '.join(found)}, it runs)" if found else ""


def _runs(options: CommonOptions, model_opts: Mapping[str, Any], training: bool) -> bool:
    """Whether a batch runs on PyTorch's device `meta`, which computes shapes only."""
    generator = torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with torch.device("meta"):
                built = get_model(options.model, **model_opts).train(training)
            batch = built.inputs(2, generator), built.targets(2, generator)
            inputs, targets = map_tensors(lambda tensor: tensor.to("meta"), batch)
            built.loss(built(inputs), targets)
    except Exception:
        return False
    return True
