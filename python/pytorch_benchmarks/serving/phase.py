"""The phase `serving` from top to bottom: what answers, LoadGen's run or the search for the highest rate, the results."""

from __future__ import annotations

import gc
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.measure.quantiles import quantile
from pytorch_benchmarks.measure.report import log_competing_load
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.limit import Limit, Trial, find_limit
from pytorch_benchmarks.serving.loadgen import (
    PERCENTILES,
    LoadGenAnswers,
    Outcome,
    Settings,
    fewest_queries,
    run_loadgen,
)
from pytorch_benchmarks.serving.local import max_batch
from pytorch_benchmarks.serving.queue import Queue
from pytorch_benchmarks.serving.results import Measured, percentile_name, run_metrics
from pytorch_benchmarks.serving.subject import Subject, local, remote
from pytorch_benchmarks.serving.system import Pace, System

__all__ = ["serve", "undisturbed"]

_FASTEST_QUERY = 20e-6  # seconds: LoadGen makes no more queries than it could ask for, however fast a model is
_MARGIN = 0.5  # of the shortest time of a query: LoadGen runs out of queries if a run is faster than expected
_SWITCH = (
    0.0005  # seconds that a thread of Python may keep others waiting: by default 5 ms, which would be seen in latencies
)
_MOST_ATTEMPTS, _MORE = (
    3,
    1.3,
)  # of offline, and by how much more samples there are than the last run worked on in the time
_LATE = 0.05  # of the percentile: from here on it is doubtful whether LoadGen was in time


def serve(
    options: BenchmarkOptions, device: torch.device, precision: Precision, facts: dict[str, Any], log: Log
) -> None:
    """Put a model, or a server, under load and log the results.

    Args:
        options: What was asked for.
        device: Where the model computes.
        precision: In which it does.
        facts: Settings in force, for the log.
        log: Gets facts and results.

    Raises:
        UsageError: Something cannot be had.
        BenchmarkError: What answers failed, or no rate keeps the bounds.
    """
    subject = remote(options, log) if options.serving_url else local(options, device, precision, log)
    log.many(facts, "results.")
    log("results.serving.workers", len(subject.make_backends))
    with tempfile.TemporaryDirectory(prefix="loadgen-") as temporary, undisturbed():
        directory = Path(options.serving_log_dir or temporary)
        competing = CompetingLoad()
        competing.start()
        count = (
            _search(options, subject, directory, log)
            if options.serving_find
            else _run(options, subject, directory, log)
        )
        competing.stop()
        log_competing_load(log, competing, max(1, count))


@contextmanager
def undisturbed() -> Iterator[None]:
    """While this lasts, no garbage is collected, which stops all threads for as long as 0.2 s, and threads of Python give way to each other quickly."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        if collects:
            gc.enable()


def _system(options: BenchmarkOptions, subject: Subject, scenario: str, settings: Settings) -> System:
    asks_and_waits = scenario in {"single-stream", "multi-stream"}
    remote = bool(options.serving_url)
    queue = Queue(
        1 if remote else max_batch(options),
        0.0 if asks_and_waits else options.serving_max_wait / 1000,
        options.serving_queue_limit if scenario == "server" else 0,
    )
    late_after = 1.1 * max(settings.target_latency, settings.target_ttft, settings.target_tpot)
    return System(
        LoadGenAnswers(settings.uses_token_latencies),
        queue,
        subject.make_backends,
        late_after=late_after,
        inline=asks_and_waits and len(subject.make_backends) == 1,
    )


def _settings(options: BenchmarkOptions, scenario: str, has_tokens: bool) -> Settings:
    is_server = scenario == "server"
    return Settings(
        scenario,
        percentile := options.serving_percentile or PERCENTILES[scenario],
        options.serving_min_duration,
        options.serving_min_queries or (1 if scenario == "offline" else fewest_queries(percentile)),
        target_qps=options.serving_target_qps,
        target_latency=options.serving_target_latency / 1000 if is_server else 0.0,
        target_ttft=options.serving_target_ttft / 1000 if is_server else 0.0,
        target_tpot=options.serving_target_tpot / 1000 if is_server else 0.0,
        samples_per_query=options.serving_samples_per_query if scenario == "multi-stream" else 1,
        samples=options.serving_samples,
        seeds=(options.serving_schedule_seed, options.serving_sample_seed, options.serving_library_seed),
        has_tokens=has_tokens,
    )


def _chosen(settings: Settings, options: BenchmarkOptions, workers: int) -> Callable[[Pace], Settings]:
    """Fill in what LoadGen has to know beforehand: how many queries it will need."""
    size = 1 if options.serving_url else max_batch(options)

    def choose(pace: Pace) -> Settings:
        if settings.scenario == "offline" and not settings.target_qps:
            return replace(settings, target_qps=1.1 * workers * size / max(pace.full, _FASTEST_QUERY))
        if settings.scenario in {"single-stream", "multi-stream"}:
            expected = pace.one if settings.samples_per_query == 1 else min(pace.one, pace.full)
            return replace(settings, expected_latency=max(_MARGIN * expected, _FASTEST_QUERY))
        return settings

    return choose


def _run(options: BenchmarkOptions, subject: Subject, directory: Path, log: Log) -> int:
    """One run of LoadGen; returns how many queries there were."""
    settings = _settings(options, options.serving_scenario, subject.has_tokens)
    system = _system(options, subject, settings.scenario, settings)
    choose = _chosen(settings, options, len(subject.make_backends))
    outcome = run_loadgen(choose, system, directory, keep_trace=options.serving_keep_trace)
    attempts = 1
    while settings.scenario == "offline" and not options.serving_target_qps and attempts < _MOST_ATTEMPTS:
        if outcome.detail.get("result_min_duration_met", True):
            break
        # All samples are asked for at once, so their number has to be right; a run that was over too early says how many there have to be.
        faster = replace(settings, target_qps=_MORE * _samples_per_second(system))
        outcome = run_loadgen(_always(faster), system, directory, keep_trace=options.serving_keep_trace)
        attempts += 1
    times = _log_run(options, subject, settings, outcome, system, log)
    system.stop()
    return len(times.latencies)


def _always(settings: Settings) -> Callable[[Pace], Settings]:
    return lambda pace: settings


def _samples_per_second(system: System) -> float:
    queries = system.queries
    return len(queries) / (max(query.done for query in queries) - queries[0].arrival)


def _log_run(
    options: BenchmarkOptions, subject: Subject, settings: Settings, outcome: Outcome, system: System, log: Log
) -> Measured:
    times = Measured(settings, outcome, system.queries)
    metrics = run_metrics(settings, outcome, times, system.queries, system.queue, subject.prompt_tokens)
    log("results.serving.scenario", settings.scenario)
    log.many(metrics)
    if not outcome.is_valid:
        log.warn(
            f"invalid result: LoadGen says: {outcome.reason.rstrip('.')}; see results.serving.reason in docs/serving.md"
        )
    if times.rejected:
        log.warn(
            f"rejected queries: {times.rejected} of {len(times.latencies)}, which count as too late; lower serving.target_qps, or raise serving.queue_limit"
        )
    target = metrics["results.serving.latency_target"]
    delay = metrics["results.serving.issue_delay_max"]
    if settings.scenario == "server" and target is not None and metrics["results.serving.issue_delay"] > _LATE * target:
        log.warn(
            f"late load generator: queries were issued {metrics['results.serving.issue_delay']:.2f} ms late on average, {delay:.2f} ms at most; "
            "leave it a CPU (pytorch.num_threads)"
        )
    if log.reports:
        print(_sentence(options, settings, metrics), flush=True)
    return times


def _sentence(options: BenchmarkOptions, settings: Settings, metrics: dict[str, Any]) -> str:
    found = {key.removeprefix("results.serving."): value for key, value in metrics.items()}
    target = found["latency_target"]
    tail = "without an answer" if target is None else f"{target:.2f} ms"
    validity = "valid" if found["valid"] else "INVALID"
    return (
        f"{options.model} serving, {settings.scenario}: {found['qps']:.1f} queries/s, "
        f"{percentile_name(settings.percentile)} {tail}, {found['queries']} queries, {validity}"
    )


def _search(options: BenchmarkOptions, subject: Subject, directory: Path, log: Log) -> int:
    """The search for the highest rate: offline as the upper bound, trials, and a run at the low end of the interval."""
    workers = len(subject.make_backends)
    offline = _settings(options, "offline", subject.has_tokens)
    offline = replace(offline, target_qps=0.0)
    settings = _settings(options, "server", subject.has_tokens)
    system = _system(options, subject, "server", settings)
    limit, system.queue.limit = system.queue.limit, 0
    count = 0

    def run(wanted: Settings, name: str) -> tuple[Outcome, Measured]:
        nonlocal count
        system.answers = LoadGenAnswers(wanted.uses_token_latencies)
        choose = _chosen(wanted, options, workers)
        outcome = run_loadgen(choose, system, directory / name, keep_trace=options.serving_keep_trace)
        times = Measured(wanted, outcome, system.queries)
        count += len(times.latencies)
        return outcome, times

    run(offline, "offline")
    upper = _samples_per_second(system)
    log("results.serving.offline_qps", upper)
    system.queue.limit = limit
    trials: list[Trial] = []

    def tried(rate: float) -> Trial:
        # Other arrivals in each trial: a limit that holds for one of them is none.
        schedule = settings.seeds[0] + len(trials)
        wanted = replace(settings, target_qps=rate, seeds=(schedule, *settings.seeds[1:]))
        _, times = run(wanted, f"trial-{len(trials) + 1:02d}")
        trial = Trial(rate, times.keeps(wanted), _tail(times, wanted))
        trials.append(trial)
        if log.reports:
            tail = f"{trial.latency:.2f} ms" if math.isfinite(trial.latency) else "without an answer"
            print(
                f"trial {len(trials)}: {rate:.1f} queries/s, {percentile_name(settings.percentile)} {tail}, "
                f"{'kept' if trial.passed else 'not kept'}",
                flush=True,
            )
        return trial

    found = find_limit(
        tried, upper, precision=options.serving_find_precision / 100, most_trials=options.serving_find_trials
    )
    _log_limit(options, settings, found, log)
    confirming = replace(settings, target_qps=found.low)
    outcome, _ = run(confirming, "at-the-limit")
    _log_run(options, subject, confirming, outcome, system, log)
    system.stop()
    return count


def _tail(times: Measured, settings: Settings) -> float:
    """Milliseconds of the percentile that the bound is about: of the latencies, or of the first tokens."""
    values = times.first_tokens if settings.uses_token_latencies else times.latencies
    return quantile(sorted(values), settings.percentile / 100)


def _log_limit(options: BenchmarkOptions, settings: Settings, found: Limit, log: Log) -> None:
    """The limit and its trials.

    Raises:
        BenchmarkError: No trial kept the bounds.
    """
    log(
        "results.serving.trials",
        [
            {"qps": one.rate, "latency": one.latency if math.isfinite(one.latency) else None, "kept": one.passed}
            for one in found.trials
        ],
    )
    if not any(one.passed for one in found.trials):
        slowest = min(found.trials, key=lambda one: one.rate)
        raise BenchmarkError(
            f"no rate keeps the bounds: at {slowest.rate:.3g} queries a second {percentile_name(settings.percentile)} is "
            f"{slowest.latency:.3g} ms; raise {_bound_names(options)}, or make batches smaller (serving.max_batch)"
        )
    log("results.serving.max_qps", found.rate)
    log("results.serving.max_qps_ci95", [found.low, found.high])
    if all(one.passed for one in found.trials):
        log.warn("limit not reached: every trial kept the bounds; the limit is above the rates that were tried")
    elif 100 * found.precision > options.serving_find_precision:
        log.warn(
            f"imprecise limit: ±{100 * found.precision:.1f} % after {len(found.trials)} trials; raise serving.find_trials or serving.min_duration"
        )
    if log.reports:
        print(
            f"{options.model} serving: {found.rate:.1f} queries/s [{found.low:.1f}, {found.high:.1f}] keep the bounds",
            flush=True,
        )


def _bound_names(options: BenchmarkOptions) -> str:
    names = ("target_latency", "target_ttft", "target_tpot")
    return " or ".join(f"serving.{name}" for name in names if getattr(options, f"serving_{name}"))
