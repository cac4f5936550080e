"""One benchmark from facts to results, of any framework; docs/log-format.md documents the keys."""

from __future__ import annotations

import math
import os
import statistics
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from benchmark_core.doubts import cpu_contention, drifted, warning
from benchmark_core.exits import BenchmarkError
from benchmark_core.facts import host_facts, malloc_setting, reset_resident_peak, resident_peak
from benchmark_core.gpus import Energy
from benchmark_core.intervals import STEADY_WITHIN, drift, mean_interval, percentile
from benchmark_core.load import CompetingLoad
from benchmark_core.log import Log, timestamp
from benchmark_core.options import ModelOptions
from benchmark_core.provenance import provenance
from benchmark_core.timing import Marker, ProgressLines, Schedule, Timing, time_batches
from benchmark_core.turns import Turns


@dataclass(frozen=True, slots=True)
class About:
    """A model on a device, for reports.

    Attributes:
        framework, version: Name and version of the framework.
        title, unit, parameters: Of the model: its name, the unit of instances, its number of trainable values.
        device: Name of the device.
        data: Source of the inputs.
        environment: Additional facts about the machine and the framework, under `exp.env.`.
        files: Files that it was made from, such as its weights.
    """

    framework: str
    version: str
    title: str
    unit: str
    parameters: int
    device: str
    data: str = "synthetic/device"
    environment: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()


def _malloc(timing: Timing, times: Sequence[float]) -> Mapping[str, Any]:
    return {"results.malloc": malloc_setting()}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model ready to run.

    Attributes:
        about: Its description.
        phase: training, inference or ingestion.
        step: Does the work of one batch; in training it returns the loss.
        batches: Infinite batches, on the device of the step.
        synchronize: Waits until the device has finished.
        build_seconds: Time until the model was on the device, without compilation.
        compile_seconds: Compile time; None if nothing is compiled, or not separately from the first batch.
        settings: Effective settings, under `results.`.
        make_event: Creates events in the device's stream; None if it has no events.
        energy: The energy counter of the device.
        metrics: Additional log values, of the timing of this process and the batch times of all replicas together.
        replicas: Number of model replicas, in one process each.
        agree, mean, slowest: Maximum and mean of a number, and batch times, over all replicas.
    """

    about: About
    phase: str
    step: Callable[[Any], Any]
    batches: Iterator[Any]
    synchronize: Callable[[], Any]
    build_seconds: float
    compile_seconds: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    make_event: Callable[[], Marker] | None = None
    energy: Energy = field(default_factory=Energy)
    metrics: Callable[[Timing, Sequence[float]], Mapping[str, Any]] = _malloc
    replicas: int = 1
    agree: Callable[[int], int] = lambda number: number
    mean: Callable[[float], float] = lambda number: number
    slowest: Callable[[array[float]], array[float]] = lambda times: times


def benchmark(subject: Subject, options: ModelOptions, schedule: Schedule, log: Log, started: float) -> None:
    """Log the facts, time the batches, log the results.

    Args:
        subject: The model to run.
        options: The request.
        schedule: Numbers of batches.
        log: Receives the values.
        started: Start time of the program, by `time.perf_counter`.

    Raises:
        BenchmarkError: The loss is not finite, so the measurements are meaningless.
    """
    log_facts(log, options, subject.about)
    log("results.time_build", 1000.0 * subject.build_seconds)
    if subject.compile_seconds is not None:
        log("results.time_compile", 1000.0 * subject.compile_seconds)
    log.many(subject.settings, "results.")
    competing = CompetingLoad()
    instances = options.batch_size * subject.replicas
    turns = Turns.from_environment()
    begin = perf_counter()
    log("results.start_time", timestamp())
    timing = time_batches(
        subject.step,
        subject.batches,
        schedule,
        synchronize=subject.synchronize,
        make_event=subject.make_event,
        observers=(competing, subject.energy),
        agree=subject.agree,
        watcher=ProgressLines(schedule, instances, subject.about.unit) if log.reports else None,
        turns=turns,
        load=lambda: competing.last_share,
    )
    log("results.end_time", timestamp())
    log.many({} if turns is None else turns.metrics())
    log("results.time_to_first_batch", 1000.0 * (begin - started + timing.first))
    if subject.phase == "training" and timing.result is not None:
        _log_loss(subject.mean(float(timing.result)), log)
    log_load(log, competing, len(timing.batches))
    log.many(subject.energy.metrics(options.batch_size * len(timing.batches)))
    _log_times(log, subject, timing, schedule, instances)
    if log.reports:
        print(
            f"{options.model} {subject.phase}, batch {instances}, {options.dtype}: {log.values['results.time']:.2f} ms per batch, "
            f"{log.values['results.throughput']:.1f} {subject.about.unit}/s ({len(timing.batches)} batches)",
            flush=True,
        )


def log_memory(log: Log, subject: Subject, device_memory: Callable[[], int | None] = lambda: None) -> None:
    """Log the peak memory of one more batch, on the host and, by `device_memory`, on the device."""
    reset_resident_peak()
    subject.step(next(subject.batches))
    subject.synchronize()
    log("results.memory_host", resident_peak())
    log("results.memory_device_allocated", device_memory())


def log_facts(log: Log, options: ModelOptions, about: About) -> None:
    """Log model, options and device; known before the first batch."""
    log("exp.framework_title", about.framework)
    log("exp.framework_version", about.version)
    log("exp.model_title", about.title)
    log("exp.device_title", about.device)
    log("exp.data", about.data)
    log_program(log, options, about.environment, about.files)
    log("results.unit", about.unit)
    log("results.model_parameters", about.parameters)


def log_program(log: Log, options: ModelOptions, environment: Mapping[str, Any], files: Sequence[str] = ()) -> None:
    """Log this program: its options, its files, its machine with additional facts, its code and software, its process."""
    flags = options.flags()
    log("exp.flags", flags)
    log.many({**host_facts(), **environment}, "exp.env.")
    if log.reports:
        packages = [name for name in _PROGRAMS if name in sys.modules]
        words = [*(str(flags[name]) for name in _FILES if flags.get(name)), *filter(None, files)]
        log.many(provenance(words, packages=packages))
    log("results.proc_pid", os.getpid())


_PROGRAMS = ("benchmark_core", "pytorch_benchmarks", "onnxruntime_benchmarks", "jax_benchmarks")
_FILES = (
    "architecture", "pack", "pack_loader", "weights", "model_file", "data_dir", "val_dir", "serving_data", "serving_body", "serving_tokenizer",
)  # fmt: skip # options with code, weights or data


def log_load(log: Log, competing: CompetingLoad, batches: int) -> None:
    """Log activity of the operating system during the batches; warn if other programs used the CPUs."""
    found = competing.metrics(batches)
    log.many(found)
    for text in cpu_contention(competing.share, found["results.context_switches_involuntary"]):
        log.warn(text)


def _log_loss(loss: float, log: Log) -> None:
    log("results.loss", loss if math.isfinite(loss) else str(loss))
    if not math.isfinite(loss):
        raise BenchmarkError(f"the loss is {loss} after the last batch: the measurements would be meaningless")


def _log_times(log: Log, subject: Subject, timing: Timing, schedule: Schedule, instances: int) -> None:
    """Log times and throughput of all replicas together; warn if they were not steady."""
    times = subject.slowest(timing.batches)
    warmup = subject.slowest(timing.warmup)
    (total,) = subject.slowest(array("d", [timing.total]))
    log("results.sync", schedule.sync)
    log("results.time_first_batch", 1000.0 * timing.first)
    log("results.warmup_batches", len(warmup))
    log("results.time_warmup_data", [1000.0 * seconds for seconds in warmup])
    log("results.time_data_start", timing.began)
    if timing.warmup_steady is not None:
        log("results.warmup_steady", timing.warmup_steady)
        if not timing.warmup_steady:
            log.warn(warning("unsteady warm-up", "batch times still changed at its maximum length"))
    log("results.time_data_wait", 1000.0 * statistics.fmean(timing.data_waits))
    if timing.device is not None:
        log("results.time_device", 1000.0 * statistics.fmean(timing.device))
    log.many(subject.metrics(timing, times))
    log.many(time_metrics(times, instances, total if schedule.sync == "end" else None))
    for text in drifted(times):
        log.warn(text)


def time_metrics(seconds: Sequence[float], instances: int, total: float | None = None) -> dict[str, object]:
    """Compute the log values of timed batches.

    Args:
        seconds: Wall time of each batch.
        instances: Instances in one batch, on all devices together.
        total: Wall time of all batches, if it is not the sum of their times.

    Returns:
        Times in milliseconds; `results.throughput` in instances per second, all instances over the total time, with its 95 % confidence
        interval; `results.steady`, whether the last third of batches took as long as the first within 3 %.
    """
    times = [1000.0 * value for value in seconds]
    ordered = sorted(times)
    mean = statistics.fmean(times)
    whole = 1000.0 * total / len(times) if total is not None else mean
    interval = mean_interval(times)
    moved = drift(seconds)
    return {
        "results.time_data": [round(value, 6) for value in times],
        "results.time_std": statistics.stdev(times) if len(times) > 1 else 0.0,
        "results.time_min": ordered[0],
        "results.time_max": ordered[-1],
        "results.time_median": statistics.median(ordered),
        "results.time_p50": statistics.median(ordered),
        "results.time_p90": percentile(ordered, 0.90),
        "results.time_p99": percentile(ordered, 0.99),
        "results.time": mean,
        "results.throughput": 1000.0 * instances / whole,
        "results.throughput_ci95": [1000.0 * instances / (whole * bound / mean) for bound in reversed(interval)]
        if interval
        else None,
        "results.drift": moved,
        "results.steady": None if moved is None else abs(moved) <= STEADY_WITHIN,
    }
