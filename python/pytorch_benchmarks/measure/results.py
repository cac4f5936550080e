"""What is reported of a benchmark, in log lines; docs/log-format.md says what each key means."""

from __future__ import annotations

import math
import os
from array import array
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import torch

from pytorch_benchmarks.devices import device_title, synchronizer
from pytorch_benchmarks.distributed import World, mean, slowest
from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import COMPETING_FROM, CompetingLoad
from pytorch_benchmarks.measure.drift import drift_warning
from pytorch_benchmarks.measure.environment import environment
from pytorch_benchmarks.measure.metrics import time_metrics
from pytorch_benchmarks.measure.passes import count_work, peak_memory, write_profile
from pytorch_benchmarks.measure.peaks import peak_tflops
from pytorch_benchmarks.measure.timing import Timing
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.phases.workload import Workload
from pytorch_benchmarks.precision import Precision

__all__ = ["log_competing_load", "log_facts", "log_loss", "log_passes", "log_program", "log_times"]


def log_facts(log: Log, options: CommonOptions, model: Model, device: torch.device, data: str) -> None:
    """What runs, and where; known before the first batch."""
    log("exp.framework_title", "PyTorch")
    log("exp.framework_version", torch.__version__)
    log("exp.model_title", model.title)
    log("exp.device_title", device_title(device))
    log("exp.data", data)
    log_program(log, options, device)
    log("results.unit", model.unit)
    log("results.model_parameters", model.num_parameters())


def log_program(log: Log, options: CommonOptions, device: torch.device) -> None:
    """This program: its options, the machine that it runs on, its process."""
    log("exp.flags", _flags(options))
    log.many(environment(device), "exp.env.")
    log("results.proc_pid", os.getpid())


def _flags(options: CommonOptions) -> dict[str, Any]:
    """Every option with its value; those of serving only where something is served."""
    given = {name: "auto" if value is None else value for name, value in asdict(options).items()}
    return given if given.get("serving") else {name: given[name] for name in given if not name.startswith("serving")}


def log_loss(log: Log, workload: Workload, timing: Timing, world: World, device: torch.device) -> None:
    """The loss of the last batch, in training.

    Raises:
        BenchmarkError: It is not finite: the numbers would mean nothing.
    """
    if workload.phase != "training" or timing.result is None:
        return
    loss = mean(float(timing.result), world, device)
    log("results.loss", loss if math.isfinite(loss) else str(loss))
    if not math.isfinite(loss):
        raise BenchmarkError(f"the loss is {loss} after the last batch: the numbers would mean nothing")


def log_competing_load(log: Log, competing: CompetingLoad, batches: int) -> None:
    """What the operating system did meanwhile; a warning if other programs used our CPUs."""
    found = competing.metrics(batches)
    log.many(found)
    share = found["results.competing_load"]
    if share is not None and share > COMPETING_FROM:
        preemptions = found["results.context_switches_involuntary"]
        log.warn(f"CPU contention: {100 * share:.0f} %, {preemptions:,.0f} preemptions; rerun on an idle machine")


def log_times(
    log: Log, options: BenchmarkOptions, workload: Workload, timing: Timing, world: World, device: torch.device
) -> None:
    """Times and throughput, of all replicas together; a warning if they were not steady."""
    times = slowest(timing.batches, world, device)
    (total,) = slowest(array("d", [timing.total]), world, device)
    log("results.sync", options.sync)
    log("results.time_first_batch", 1000.0 * timing.first)
    log("results.warmup_batches", len(timing.warmup))
    log("results.time_warmup_data", [1000.0 * seconds for seconds in slowest(timing.warmup, world, device)])
    log("results.time_data_start", timing.began)
    if timing.warmup_steady is not None:
        log("results.warmup_steady", timing.warmup_steady)
        if not timing.warmup_steady:
            log.warn(
                "unsteady warm-up: batch times still changed when it had to end; rerun on an idle machine with fixed clocks"
            )
    if options.compile and len(timing.warmup):
        log("results.time_compile", 1000.0 * max(0.0, timing.first - median(times)))
    log("results.time_data_wait", 1000.0 * fmean(timing.data_waits))
    if timing.device is not None:
        log("results.time_device", 1000.0 * fmean(timing.device))
    log.many(workload.metrics(len(times), world.size))
    log.many(time_metrics(times, options.batch_size * world.size, total if options.sync == "end" else None))
    if warning := drift_warning(times):
        log.warn(warning)
    if log.reports:
        print(
            f"{options.model} {workload.phase}, batch {options.batch_size * world.size}, {options.dtype}: "
            f"{log.values['results.time']:.2f} ms a batch, {log.values['results.throughput']:.1f} {workload.model.unit}/s "
            f"({len(times)} batches)",
            flush=True,
        )


def log_passes(
    log: Log, options: BenchmarkOptions, workload: Workload, device: torch.device, precision: Precision
) -> None:
    """Memory, operations and a profile: each is measured now, on batches of its own, after the timed ones."""
    batches = workload.source.batches
    if "memory" in options.passes:
        log.many(peak_memory(workload.step, batches, device, synchronizer(device)), "results.")
    if "flops" in options.passes and workload.phase != "ingestion":
        work = count_work(workload.eager_step, next(batches), workload.model)
        achieved = work.flops / (log.values["results.time"] / 1000)
        log("results.flops_per_batch", work.flops)
        log("results.bytes_per_batch", work.bytes)
        log("results.flops", achieved)
        peak = options.peak_tflops or peak_tflops(log.values["exp.device_title"], precision.arithmetic)
        log("results.mfu", achieved / (1e12 * peak) if peak else None)
    if options.profile:
        write_profile(options.profile if log.reports else None, workload.step, batches, device)
