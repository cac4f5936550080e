"""One run of LoadGen: its settings from the options, the system under test, and the log of its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.loadgen import PERCENTILES, LoadGenAnswers, Outcome, Settings, fewest_queries
from pytorch_benchmarks.serving.local import max_batch
from pytorch_benchmarks.serving.queue import Queue
from pytorch_benchmarks.serving.results import Measured, percentile_name, run_metrics
from pytorch_benchmarks.serving.subject import Subject
from pytorch_benchmarks.serving.system import Pace, System

__all__ = ["complete_settings", "log_run", "make_settings", "make_system", "print_run"]

_FASTEST_QUERY = 20e-6  # seconds: limits the number of queries that LoadGen generates, however fast a model is
_MARGIN = 0.5  # of the minimum time of a query: LoadGen runs out of queries if a run is faster than expected
_LATE = 0.05  # of the percentile: above this mean delay of LoadGen, the run is doubtful


def make_system(options: BenchmarkOptions, subject: Subject, scenario: str, settings: Settings) -> System:
    """The queue and the workers; in single-stream and multi-stream, one worker answers in the thread that issues queries."""
    is_sequential = settings.is_sequential
    remote = bool(options.serving_url)
    queue = Queue(
        1 if remote else max_batch(options),
        0.0 if is_sequential else options.serving_max_wait / 1000,
        options.serving_queue_limit if scenario == "server" else 0,
    )
    late_after = 1.1 * max(settings.target_latency, settings.target_ttft, settings.target_tpot)
    return System(
        LoadGenAnswers(settings.uses_token_latencies),
        queue,
        subject.make_backends,
        late_after=late_after,
        inline=is_sequential and len(subject.make_backends) == 1,
    )


def make_settings(options: BenchmarkOptions, scenario: str, has_tokens: bool) -> Settings:
    """LoadGen's settings for a scenario; only `server` has a rate and bounds."""
    is_server = scenario == "server"
    return Settings(
        scenario,
        percentile := options.serving_percentile or PERCENTILES[scenario],
        options.serving_min_duration,
        options.serving_min_queries or (1 if scenario == "offline" else fewest_queries(percentile)),
        target_qps=options.serving_target_qps if is_server else 0.0,
        target_latency=options.serving_target_latency / 1000 if is_server else 0.0,
        target_ttft=options.serving_target_ttft / 1000 if is_server else 0.0,
        target_tpot=options.serving_target_tpot / 1000 if is_server else 0.0,
        samples_per_query=options.serving_samples_per_query if scenario == "multi-stream" else 1,
        samples=options.serving_samples,
        seeds=(options.serving_schedule_seed, options.serving_sample_seed, options.serving_library_seed),
        has_tokens=has_tokens,
    )


def complete_settings(settings: Settings, options: BenchmarkOptions, workers: int) -> Callable[[Pace], Settings]:
    """A function that completes settings with the expected speed, from which LoadGen computes the number of queries."""
    size = 1 if options.serving_url else max_batch(options)

    def choose(pace: Pace) -> Settings:
        if settings.scenario == "offline":
            return replace(settings, target_qps=1.1 * workers * size / max(pace.full, _FASTEST_QUERY))
        if settings.is_sequential:
            expected = pace.one if settings.samples_per_query == 1 else min(pace.one, pace.full)
            return replace(settings, expected_latency=max(_MARGIN * expected, _FASTEST_QUERY))
        return settings

    return choose


def log_run(
    options: BenchmarkOptions, subject: Subject, settings: Settings, outcome: Outcome, system: System, log: Log
) -> Measured:
    """Log the results of a run, with a warning for each reason to distrust them."""
    times = Measured(settings, outcome, system.queries)
    metrics = run_metrics(settings, outcome, times, system.queries, system.queue, subject.prompt_tokens)
    log("results.serving.scenario", settings.scenario)
    log.many(metrics)
    if not outcome.is_valid:
        log.warn(
            f"invalid result: LoadGen reports: {outcome.reason.rstrip('.')}; see results.serving.reason in docs/serving.md"
        )
    if times.rejected:
        remedy = (
            "the server rejects even single queries: see its log"
            if settings.is_sequential
            else "lower serving.target_qps, or raise serving.queue_limit"
        )
        log.warn(f"rejected queries: {times.rejected} of {len(times.latencies)}, which count as too late; {remedy}")
    target = metrics["results.serving.latency_target"]
    delay = metrics["results.serving.issue_delay_max"]
    if settings.scenario == "server" and target is not None and metrics["results.serving.issue_delay"] > _LATE * target:
        log.warn(
            f"late load generator: queries were issued {metrics['results.serving.issue_delay']:.2f} ms late on average, {delay:.2f} ms at most; "
            "reserve a CPU for it (pytorch.num_threads)"
        )
    return times


def print_run(options: BenchmarkOptions, values: dict[str, Any]) -> None:
    """Print the log values of a run as one line."""
    found = {key.removeprefix("results.serving."): value for key, value in values.items()}
    target = found["latency_target"]
    latency = "without an answer" if target is None else f"{target:.2f} ms"
    validity = "valid" if found["valid"] else "INVALID"
    print(
        f"{options.model} serving, {found['scenario']}: {found['qps']:.1f} queries/s, "
        f"{percentile_name(found['percentile'])} {latency}, {found['queries']} queries, {validity}",
        flush=True,
    )
