"""The search for the highest rate that keeps the bounds: what surrounds its trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.quantiles import quantile
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.limit import Limit, Trial, find_limit
from pytorch_benchmarks.serving.loadgen import LoadGenAnswers, Outcome, Settings, run_loadgen
from pytorch_benchmarks.serving.results import Measured, percentile_name
from pytorch_benchmarks.serving.run import complete_settings, log_run, make_settings, make_system
from pytorch_benchmarks.serving.subject import Subject

__all__ = ["search"]

_UNLOADED_QUERIES = 64  # of a run without load: enough to see that a bound is out of reach


def search(options: BenchmarkOptions, subject: Subject, directory: Path, log: Log) -> int:
    """Search for the highest rate: offline as the upper bound, trials, and a run at the low end of the interval.

    Returns:
        How many queries there were.

    Raises:
        BenchmarkError: No rate keeps the bounds.
    """
    workers = len(subject.make_backends)
    offline = make_settings(options, "offline", subject.has_tokens)
    settings = make_settings(options, "server", subject.has_tokens)
    system = make_system(options, subject, "server", settings)
    limit, system.queue.limit = system.queue.limit, 0
    count = 0

    def run(wanted: Settings, name: str) -> tuple[Outcome, Measured]:
        nonlocal count
        system.answers = LoadGenAnswers(wanted.uses_token_latencies)
        choose = complete_settings(wanted, options, workers)
        outcome = run_loadgen(choose, system, directory / name, keep_trace=options.serving_keep_trace)
        times = Measured(wanted, outcome, system.queries)
        count += len(times.latencies)
        return outcome, times

    run(offline, "offline")
    upper = system.samples_per_second
    log("results.serving.offline_qps", upper)
    _check_unloaded(options, settings, run, log)
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
    log_run(options, subject, confirming, outcome, system, log)
    system.stop()
    return count


def _check_unloaded(
    options: BenchmarkOptions, settings: Settings, run: Callable[[Settings, str], tuple[Outcome, Measured]], log: Log
) -> None:
    """Measure queries that come one after the other: no rate is answered faster, so a bound below their latency needs no search.

    Raises:
        BenchmarkError: Even they do not keep the bounds.
    """
    _, times = run(replace(settings, scenario="single-stream", min_queries=_UNLOADED_QUERIES), "unloaded")
    latency = _tail(times, settings)
    log("results.serving.unloaded_latency", latency if math.isfinite(latency) else None)
    if times.surely_breaks(settings):
        raise BenchmarkError(
            f"no rate keeps the bounds: without load, {percentile_name(settings.percentile)} is {latency:.3g} ms; "
            f"raise {_bound_names(options)}, or make batches smaller (serving.max_batch)"
        )


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
