"""A complete benchmark of one process on one device, independent of the framework."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.host import host_facts, malloc_setting
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.measure.memory import reset_resident_peak, resident_peak
from pytorch_benchmarks.measure.progress import Progress
from pytorch_benchmarks.measure.report import log_batches, log_competing_load, log_summary, timestamp
from pytorch_benchmarks.measure.timing import Schedule, time_batches
from pytorch_benchmarks.options.program import ProgramOptions

__all__ = ["Subject", "benchmark"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model ready to run.

    Attributes:
        framework, version: Name and version of the framework, for reports.
        title, unit, parameters: Of the model: its name, the unit of instances, its number of trainable values.
        device: Name of the device, for reports.
        phase: training or inference.
        step: Does the work of one batch; in training it returns the loss.
        batches: Infinite batches, on the device of the step.
        synchronize: Waits until the device has finished.
        build_seconds: Time until the model was on the device, without compilation.
        compile_seconds: Compile time; None if nothing is compiled, or not separately from the first batch.
        environment: Additional facts about the machine and the framework, under `exp.env.`.
        settings: Effective settings, under `results.`.
        device_memory: Peak bytes in use on the device; None where unknown.
    """

    framework: str
    version: str
    title: str
    unit: str
    parameters: int
    device: str
    phase: str
    step: Callable[[Any], Any]
    batches: Iterator[Any]
    synchronize: Callable[[], Any]
    build_seconds: float
    compile_seconds: float | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    device_memory: Callable[[], int | None] = lambda: None


def benchmark(subject: Subject, options: ProgramOptions, log: Log, started: float) -> None:
    """Log the facts, time the batches, log the results.

    Args:
        subject: The model to run.
        options: Numbers of batches and settings.
        log: Receives the values.
        started: Start time of the program, by `time.perf_counter`.

    Raises:
        BenchmarkError: The loss is not finite, so the measurements are meaningless.
    """
    _log_facts(subject, options, log)
    competing = CompetingLoad()
    schedule = Schedule(options.num_batches, options.num_warmup_batches, options.min_time)
    begin = perf_counter()
    log("results.start_time", timestamp())
    timing = time_batches(
        subject.step,
        subject.batches,
        schedule,
        synchronize=subject.synchronize,
        observers=(competing,),
        watcher=Progress(schedule, options.batch_size, subject.unit) if log.reports else None,
    )
    log("results.end_time", timestamp())
    log("results.time_to_first_batch", 1000.0 * (begin - started + timing.first))
    if subject.phase == "training":
        _log_loss(float(timing.result), log)
    log_competing_load(log, competing, len(timing.batches))
    log_batches(log, timing, instances=options.batch_size, extra={"results.malloc": malloc_setting()})
    log_summary(
        log, model=options.model, phase=subject.phase, batch=options.batch_size, dtype=options.dtype, unit=subject.unit
    )
    reset_resident_peak()
    subject.step(next(subject.batches))
    subject.synchronize()
    log("results.memory_host", resident_peak())
    log("results.memory_device_allocated", subject.device_memory())


def _log_facts(subject: Subject, options: ProgramOptions, log: Log) -> None:
    log("exp.framework_title", subject.framework)
    log("exp.framework_version", subject.version)
    log("exp.model_title", subject.title)
    log("exp.device_title", subject.device)
    log("exp.data", "synthetic/device")
    log("exp.flags", {name: "auto" if value is None else value for name, value in asdict(options).items()})
    log.many({**host_facts(), **subject.environment}, "exp.env.")
    log("results.proc_pid", os.getpid())
    log("results.unit", subject.unit)
    log("results.model_parameters", subject.parameters)
    log("results.time_build", 1000.0 * subject.build_seconds)
    if subject.compile_seconds is not None:
        log("results.time_compile", 1000.0 * subject.compile_seconds)
    log.many(subject.settings, "results.")


def _log_loss(loss: float, log: Log) -> None:
    log("results.loss", loss if math.isfinite(loss) else str(loss))
    if not math.isfinite(loss):
        raise BenchmarkError(f"the loss is {loss} after the last batch: the measurements would be meaningless")
