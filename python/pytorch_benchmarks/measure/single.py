"""A benchmark of one process on one device from top to bottom, whatever framework the process runs."""

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
    """What is benchmarked, ready to run.

    Attributes:
        framework, version: Of the framework, for reports.
        title, unit, parameters: Of the model: its name, what an instance is, trainable values.
        device: Name of the device, for reports.
        phase: training or inference.
        step: Does the work of one batch; in training it returns the loss.
        batches: Batches, for ever, where the step wants them.
        synchronize: Waits until the device has finished.
        build_seconds: Time until the model was on the device, without compilation.
        compile_seconds: Time that compilation took; None if nothing is compiled, or not apart from the first batch.
        environment: More facts about the machine and the framework, under `exp.env.`.
        settings: What is in force, under `results.`.
        device_memory: The most bytes of the device that were in use; None where it cannot be known.
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
        subject: What runs.
        options: How much of it.
        log: Where to.
        started: When the program began, by `time.perf_counter`.

    Raises:
        BenchmarkError: The loss is not finite: the numbers would mean nothing.
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
        raise BenchmarkError(f"the loss is {loss} after the last batch: the numbers would mean nothing")
