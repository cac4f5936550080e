"""The search for the highest rate within the bounds: trials in several new processes, one after the other, and a final run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.fresh_process import FreshProcess
from pytorch_benchmarks.serving.limit import Limit, Trial
from pytorch_benchmarks.serving.loadgen import PERCENTILES
from pytorch_benchmarks.serving.population import Population, combine, limit_of_next_process
from pytorch_benchmarks.serving.results import percentile_name
from pytorch_benchmarks.serving.run import print_run

__all__ = ["search"]


def search(options: BenchmarkOptions, facts: dict[str, Any], directory: Path, log: Log) -> tuple[CompetingLoad, int]:
    """Search for the highest rate: offline as the upper bound, trials in each process, and a run at the low end of the interval.

    Processes of the same program differ in their speed (memory layout, placement on CPUs, changes of the machine over minutes), often by more than
    the trials of one process. There is one process at a time, so that one model is in memory. The logs of LoadGen are in `process-N/` of the directory.

    Returns:
        The load of other programs during the search, and the number of queries.

    Raises:
        BenchmarkError: No rate meets the bounds, or a process failed.
    """
    load, count = CompetingLoad(), 0
    limits: list[Limit] = []
    process = _start(options, 1, directory)

    def close() -> None:
        nonlocal count
        theirs, queries = process.close()
        load.add(theirs)
        count += queries

    try:
        _log_again(process.facts, log)
        log.many(facts, "results.")
        upper = process.offline()
        log("results.serving.offline_qps", upper)
        _check_unloaded(options, process, log)
        for number in range(1, options.serving_find_processes + 1):
            if number > 1:
                close()
                process = _start(options, number, directory)
            limits.append(
                limit_of_next_process(
                    limits,
                    _trials(options, process, number, limits, log),
                    upper,
                    processes=options.serving_find_processes,
                    precision=options.serving_find_precision / 100,
                    most_trials=options.serving_find_trials,
                )
            )
            if len({trial.passed for trial in limits[0].trials}) == 1:
                break  # the first process found no limit, and others would not find one either
        found = combine(limits)
        _log_limit(options, found, log)
        _log_again(process.confirm(found.low), log)
        if log.reports:
            print_run(options, log.values)
        close()
    finally:
        process.kill()
    return load, count


def _start(options: BenchmarkOptions, number: int, directory: Path) -> FreshProcess:
    return FreshProcess(options, number, directory / f"process-{number}")


def _trials(
    options: BenchmarkOptions, process: FreshProcess, number: int, limits: list[Limit], log: Log
) -> Callable[[float], Trial]:
    """A function that runs the next trial in a process and prints its outcome."""
    count = sum(len(limit.trials) for limit in limits)

    def run(rate: float) -> Trial:
        nonlocal count
        count += 1
        trial = process.trial(rate, count)
        if log.reports:
            latency = f"{trial.latency:.2f} ms" if math.isfinite(trial.latency) else "without an answer"
            print(
                f"process {number}, trial {count}: {rate:.1f} queries/s, {_percentile(options)} {latency}, "
                f"{'within the bounds' if trial.passed else 'too slow'}",
                flush=True,
            )
        return trial

    return run


def _log_again(values: dict[str, Any], log: Log) -> None:
    """Log the values that a process of the search logged."""
    for key, value in values.items():
        if key == "results.warnings":
            for text in value:
                log.warn(text)
        else:
            log(key, value)


def _check_unloaded(options: BenchmarkOptions, process: FreshProcess, log: Log) -> None:
    """Measure sequential queries: their latency is the lowest that any rate can have, so a bound below it needs no search.

    Raises:
        BenchmarkError: Sequential queries do not meet the bounds.
    """
    latency, is_above = process.unloaded()
    log("results.serving.unloaded_latency", latency if math.isfinite(latency) else None)
    if is_above:
        raise BenchmarkError(
            f"no rate meets the bounds: without load, {_percentile(options)} is {latency:.3g} ms; "
            f"raise {_bound_names(options)}, or make batches smaller (serving.max_batch)"
        )


def _log_limit(options: BenchmarkOptions, found: Population, log: Log) -> None:
    """Log the result of a search and its trials, with a warning for each thing that the interval does not cover.

    Raises:
        BenchmarkError: No trial met the bounds.
    """
    log(
        "results.serving.trials",
        [
            {
                "process": number,
                "qps": trial.rate,
                "latency": trial.latency if math.isfinite(trial.latency) else None,
                "kept": trial.passed,
            }
            for number, limit in enumerate(found.limits, 1)
            for trial in limit.trials
        ],
    )
    if not any(trial.passed for trial in found.trials):
        slowest = min(found.trials, key=lambda trial: trial.rate)
        raise BenchmarkError(
            f"no rate meets the bounds: at {slowest.rate:.3g} queries/s, {_percentile(options)} is "
            f"{slowest.latency:.3g} ms; raise {_bound_names(options)}, or make batches smaller (serving.max_batch)"
        )
    log("results.serving.max_qps", found.rate)
    log("results.serving.max_qps_ci95", [found.low, found.high])
    log("results.serving.max_qps_processes", len(found.limits))
    log("results.serving.max_qps_per_process", [limit.rate for limit in found.limits])
    _warn(options, found, log)
    if log.reports:
        each = ", ".join(f"{limit.rate:.1f}" for limit in found.limits)
        several = f"; mean of {len(found.limits)} processes: {each}" if len(found.limits) > 1 else ""
        print(
            f"{options.model} serving: {found.rate:.1f} queries/s [{found.low:.1f}, {found.high:.1f}] within the bounds{several}",
            flush=True,
        )


def _warn(options: BenchmarkOptions, found: Population, log: Log) -> None:
    trials = len(found.trials)
    if all(trial.passed for trial in found.trials):
        log.warn("limit not reached: all trials met the bounds; the limit is above the rates that were tried")
        return
    if 100 * found.precision > options.serving_find_precision:
        log.warn(
            f"imprecise limit: ±{100 * found.precision:.1f} % after {trials} trials in {len(found.limits)} processes; "
            "raise serving.find_processes and serving.find_trials, or serving.min_duration"
        )
    if options.serving_url:
        log.warn(
            "server not restarted: the interval covers client processes and the duration of the search, not restarts of the server; "
            "restart it and search again"
        )
    elif len(found.limits) == 1:
        log.warn("one process: the interval ignores how processes differ; raise serving.find_processes")


def _percentile(options: BenchmarkOptions) -> str:
    return percentile_name(options.serving_percentile or PERCENTILES["server"])


def _bound_names(options: BenchmarkOptions) -> str:
    names = ("target_latency", "target_ttft", "target_tpot")
    return " or ".join(f"serving.{name}" for name in names if getattr(options, f"serving_{name}"))
