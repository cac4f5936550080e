"""Log the results of timed batches, independent of the framework; docs/log-format.md documents the keys."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import fmean

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import COMPETING_FROM, CompetingLoad
from pytorch_benchmarks.measure.drift import drift_warning
from pytorch_benchmarks.measure.metrics import time_metrics
from pytorch_benchmarks.measure.timing import Timing

__all__ = ["log_batches", "log_competing_load", "log_summary", "timestamp"]


def timestamp() -> str:
    """`%Y-%m-%d:%H:%M:%S:%3N`, the format of the original DLBS."""
    now = time.time()
    return time.strftime("%Y-%m-%d:%H:%M:%S", time.localtime(now)) + f":{int(now % 1 * 1000):03d}"


def log_competing_load(log: Log, competing: CompetingLoad, batches: int) -> None:
    """Log activity of the operating system during the batches; warn if other programs used the CPUs."""
    found = competing.metrics(batches)
    log.many(found)
    share = found["results.competing_load"]
    if share is not None and share > COMPETING_FROM:
        preemptions = found["results.context_switches_involuntary"]
        log.warn(f"CPU contention: {100 * share:.0f} %, {preemptions:,.0f} preemptions; rerun on an idle machine")


def log_batches(
    log: Log,
    timing: Timing,
    *,
    instances: int,
    times: Sequence[float] | None = None,
    warmup: Sequence[float] | None = None,
    total: float | None = None,
    sync: str = "each",
    extra: Mapping[str, object] | None = None,
) -> None:
    """Log times and throughput; warn if they were not steady.

    Args:
        log: Receives the values.
        timing: Times of this process.
        instances: Instances in one batch of all replicas together.
        times: Seconds of each timed batch of all replicas together; of this process if it is the only one.
        warmup: The same for the warm-up batches.
        total: Wall time of all timed batches of all replicas together.
        sync: `each` or `end`.
        extra: Additional values, by complete key.
    """
    times = timing.batches if times is None else times
    log("results.sync", sync)
    log("results.time_first_batch", 1000.0 * timing.first)
    log("results.warmup_batches", len(timing.warmup))
    log("results.time_warmup_data", [1000.0 * seconds for seconds in (timing.warmup if warmup is None else warmup)])
    log("results.time_data_start", timing.began)
    if timing.warmup_steady is not None:
        log("results.warmup_steady", timing.warmup_steady)
        if not timing.warmup_steady:
            log.warn(
                "unsteady warm-up: batch times still changed at its maximum length; rerun on an idle machine with fixed clocks"
            )
    log("results.time_data_wait", 1000.0 * fmean(timing.data_waits))
    if timing.device is not None:
        log("results.time_device", 1000.0 * fmean(timing.device))
    log.many(extra or {})
    log.many(time_metrics(times, instances, total if sync == "end" else None))
    if warning := drift_warning(times):
        log.warn(warning)


def log_summary(log: Log, *, model: str, phase: str, batch: int, dtype: str, unit: str) -> None:
    """Print one human-readable line of the values logged by `log_batches`."""
    if log.reports:
        print(
            f"{model} {phase}, batch {batch}, {dtype}: {log.values['results.time']:.2f} ms per batch, "
            f"{log.values['results.throughput']:.1f} {unit}/s ({len(log.values['results.time_data'])} batches)",
            flush=True,
        )
