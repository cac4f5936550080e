"""Benchmark a PyTorch model: warm up, time batches, print the results.

    python benchmarks.py --model alexnet
    python benchmarks.py --model resnet50 --forward_only true --batch_size 32 --dtype float16 --device gpu

Results are printed as `__key__= json` lines; times are milliseconds, throughput is instances per second.
"""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):  # started as a file: make `pytorch_benchmarks` importable, from any directory
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import math
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytorch_benchmarks.errors import BenchmarkError, OutOfMemoryError, UsageError
from pytorch_benchmarks.log import log
from pytorch_benchmarks.options import Options, parse_options

if TYPE_CHECKING:
    import torch

    from pytorch_benchmarks.distributed import World
    from pytorch_benchmarks.models.model import Model

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and return the exit code: 0 fine, 1 failed, 2 wrong options, 3 out of memory, 130 interrupted."""
    options = parse_options(arguments)
    try:
        _start(options, sys.argv[1:] if arguments is None else arguments)
    except BenchmarkError as error:
        if options.debug:
            traceback.print_exc(file=sys.stdout)
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        explained = _explain(error, options)
        return _fail(str(explained), explained.exit_code)
    return 0


def _fail(message: str, exit_code: int) -> int:
    line = " ".join(message.split())
    log("exp.status_msg", line)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


def _explain(error: Exception, options: Options) -> BenchmarkError:
    """Turn what torch raises into what a user can act on."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return OutOfMemoryError(
            f"out of memory: {options.model} with batch size {options.batch_size} in {options.dtype} does not fit; "
            f"try a smaller --batch_size ({text.splitlines()[0]})"
        )
    if "not implemented for" in text:
        return UsageError(
            f"{options.model} has an operation that does not exist in {options.dtype} on this device: use another --dtype ({text})"
        )
    return BenchmarkError(f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}")


def _start(options: Options, arguments: Sequence[str]) -> None:
    from pytorch_benchmarks.devices import select_device
    from pytorch_benchmarks.distributed import joined, restart_under_torchrun

    device = select_device(options)
    restart_under_torchrun(options, arguments)
    with joined(device) as world:
        _benchmark(options, device, world)


def _benchmark(options: Options, device: torch.device, world: World) -> None:
    import torch

    from pytorch_benchmarks.data.source import open_source
    from pytorch_benchmarks.devices import dtype_of, set_backends, synchronizer
    from pytorch_benchmarks.distributed import parallel, slowest
    from pytorch_benchmarks.metrics import time_metrics
    from pytorch_benchmarks.phases.inference import inference_step
    from pytorch_benchmarks.phases.ingestion import ingestion_step
    from pytorch_benchmarks.phases.training import training_step
    from pytorch_benchmarks.timing import time_batches

    if device.type == "cuda":
        torch.cuda.set_device(device)
    dtype = dtype_of(options)
    settings = set_backends(options)
    torch.manual_seed(options.seed)
    model = _model(options)
    _log_facts(model, device, settings)

    model = model.to(device=device, dtype=dtype)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    source = open_source(options, model, device=device, dtype=dtype, world=world)
    log("exp.data", source.title)
    for name, value in source.facts.items():
        log(f"results.{name}", value)
    if options.data_loader_only:
        step = ingestion_step()
    elif options.forward_only:
        step = inference_step(model)
    else:
        step = training_step(model, parallel(model, world, device))

    log("results.start_time", _timestamp())
    timing = time_batches(
        step,
        source.batches,
        count=options.num_batches,
        warmup=options.num_warmup_batches,
        synchronize=synchronizer(device),
    )
    log("results.end_time", _timestamp())

    if not (options.forward_only or options.data_loader_only):
        loss = float(timing.result)
        log("results.loss", loss if math.isfinite(loss) else str(loss))
        if not math.isfinite(loss):
            raise BenchmarkError(f"the loss is {loss} after the last batch: the numbers would mean nothing")
    times = slowest(timing.batches, world, device)
    instances = options.batch_size * world.size
    first = timing.warmup[0] if len(timing.warmup) else timing.batches[0]
    log("results.time_first_batch", 1000.0 * first)
    log("results.time_data_wait", 1000.0 * sum(timing.data_waits) / len(timing.data_waits))
    for key, value in time_metrics(times, instances).items():
        log(key, value)
    if world.rank == 0:
        print(_summary(options, model.unit, times, instances), flush=True)


def _model(options: Options) -> Model:
    from pytorch_benchmarks.model_factory import UnknownModelError, get_model

    try:
        return get_model(options.model, **options.model_opts)
    except UnknownModelError as error:
        raise UsageError(str(error)) from None
    except TypeError as error:
        raise UsageError(f"--model_opts do not fit {options.model}: {error}") from None


def _log_facts(model: Model, device: torch.device, settings: dict[str, Any]) -> None:
    import torch

    from pytorch_benchmarks.devices import device_title

    log("exp.framework_title", "PyTorch")
    log("exp.framework_version", torch.__version__)
    log("exp.model_title", model.title)
    log("exp.device_title", device_title(device))
    log("results.proc_pid", os.getpid())
    log("results.unit", model.unit)
    log("results.model_parameters", model.num_parameters())
    for name, value in settings.items():
        log(f"results.{name}", value)


def _timestamp() -> str:
    """`%Y-%m-%d:%H:%M:%S:%3N`, as the original suite writes it."""
    now = time.time()
    return time.strftime("%Y-%m-%d:%H:%M:%S", time.localtime(now)) + f":{int(now % 1 * 1000):03d}"


def _summary(options: Options, unit: str, seconds: Sequence[float], instances: int) -> str:
    mean = sum(seconds) / len(seconds)
    phase = "data ingestion" if options.data_loader_only else "inference" if options.forward_only else "training"
    return (
        f"{options.model} {phase}, batch {instances}, {options.dtype}: {1000 * mean:.2f} ms a batch, "
        f"{instances / mean:.1f} {unit}/s ({len(seconds)} batches)"
    )


if __name__ == "__main__":
    sys.exit(main())
