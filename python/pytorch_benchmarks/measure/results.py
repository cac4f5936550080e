"""Log the results of a benchmark; docs/log-format.md documents the keys."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from pytorch_benchmarks.devices import device_title, synchronizer
from pytorch_benchmarks.distributed import World, mean, slowest
from pytorch_benchmarks.errors import BenchmarkError, UsageError
from pytorch_benchmarks.host import malloc_setting
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.environment import environment
from pytorch_benchmarks.measure.passes import count_work, peak_memory, write_profile
from pytorch_benchmarks.measure.peaks import peak_tflops
from pytorch_benchmarks.measure.report import log_batches, log_summary
from pytorch_benchmarks.measure.timing import Timing
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.phases.workload import Workload
from pytorch_benchmarks.precision import Precision

__all__ = ["log_facts", "log_loss", "log_passes", "log_program", "log_times"]


def log_facts(log: Log, options: CommonOptions, model: Model, device: torch.device, data: str) -> None:
    """Log model, options and device; known before the first batch."""
    log("exp.framework_title", "PyTorch")
    log("exp.framework_version", torch.__version__)
    log("exp.model_title", model.title)
    log("exp.device_title", device_title(device))
    log("exp.data", data)
    log_program(log, options, device)
    log("results.unit", model.unit)
    log("results.model_parameters", model.num_parameters())


def log_program(log: Log, options: CommonOptions, device: torch.device) -> None:
    """Log this program: its options, its machine, its process."""
    log("exp.flags", _flags(options))
    log.many(environment(device), "exp.env.")
    log("results.proc_pid", os.getpid())


def _flags(options: CommonOptions) -> dict[str, Any]:
    """Every option with its value; options of serving only when serving."""
    given = {name: "auto" if value is None else value for name, value in asdict(options).items()}
    return given if given.get("serving") else {name: given[name] for name in given if not name.startswith("serving")}


def log_loss(log: Log, workload: Workload, timing: Timing, world: World, device: torch.device) -> None:
    """Log the loss of the last batch, in training.

    Raises:
        BenchmarkError: It is not finite, so the measurements are meaningless.
    """
    if workload.phase != "training" or timing.result is None:
        return
    loss = mean(float(timing.result), world, device)
    log("results.loss", loss if math.isfinite(loss) else str(loss))
    if not math.isfinite(loss):
        raise BenchmarkError(f"the loss is {loss} after the last batch: the measurements would be meaningless")


def log_times(
    log: Log, options: BenchmarkOptions, workload: Workload, timing: Timing, world: World, device: torch.device
) -> None:
    """Log times and throughput of all replicas together; warn if they were not steady."""
    times = slowest(timing.batches, world, device)
    (total,) = slowest(array("d", [timing.total]), world, device)
    instances = options.batch_size * world.size
    extra: dict[str, object] = dict(workload.metrics(len(times), world.size))
    if device.type == "cpu":
        extra["results.malloc"] = malloc_setting()
    if options.compile and len(timing.warmup):
        extra["results.time_compile"] = 1000.0 * max(0.0, timing.first - median(times))
    log_batches(
        log,
        timing,
        instances=instances,
        times=times,
        warmup=slowest(timing.warmup, world, device),
        total=total,
        sync=options.sync,
        extra=extra,
    )
    log_summary(
        log,
        model=options.model,
        phase=workload.phase,
        batch=instances,
        dtype=options.dtype,
        unit=workload.model.unit,
    )
    if log.reports and extra.get("results.malloc") == "keep":
        print(_KEPT, flush=True)


_KEPT = (
    "memory freed by a batch was kept for the next one (runtime.malloc=keep), which makes models up to 2.7 times as fast; "
    "most programs do not keep it: compare with them under runtime.malloc=system"
)


def log_passes(
    log: Log, options: BenchmarkOptions, workload: Workload, device: torch.device, precision: Precision
) -> None:
    """Log memory, operations and a profile, each measured now, on separate batches, after the timed ones.

    A failure is a warning: the times are already measured and unaffected.
    """
    batches = workload.source.batches
    if "memory" in options.passes:
        with _reported(log, "memory not measured"):
            log.many(peak_memory(workload.step, batches, device, synchronizer(device)), "results.")
    if "flops" in options.passes and workload.phase != "ingestion":
        with _reported(log, "operations not counted"):
            work = count_work(workload.eager_step, next(batches), workload.model)
            achieved = work.flops / (log.values["results.time"] / 1000)
            log("results.flops_per_batch", work.flops)
            log("results.bytes_per_batch", work.bytes)
            log("results.flops", achieved)
            peak = options.peak_tflops or peak_tflops(log.values["exp.device_title"], precision.arithmetic)
            log("results.mfu", achieved / (1e12 * peak) if peak else None)
    if options.profile:
        with _reported(log, "profile not written"):
            write_profile(options.profile if log.reports else None, workload.step, batches, device)


@contextmanager
def _reported(log: Log, what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise  # an invalid option, which would fail in another run too
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        log.warn(f"{what}: {reason[:200]}; exclude it with --passes (the times are unaffected)")
