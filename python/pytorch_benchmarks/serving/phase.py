"""The phase `serving` from start to end: build the model, run LoadGen or search for the highest rate, log the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.measure.report import log_competing_load
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.interpreter import undisturbed
from pytorch_benchmarks.serving.loadgen import Settings, run_loadgen
from pytorch_benchmarks.serving.run import complete_settings, log_run, make_settings, make_system, print_run
from pytorch_benchmarks.serving.search import search
from pytorch_benchmarks.serving.subject import Subject, make_subject
from pytorch_benchmarks.serving.system import Pace

__all__ = ["serve"]

_MOST_ATTEMPTS = 3  # of offline
_MORE = 1.3  # samples of the next attempt, relative to the number that the last one processed in the minimum duration


def serve(
    options: BenchmarkOptions, device: torch.device, precision: Precision, facts: dict[str, Any], log: Log
) -> None:
    """Put a model or a server under load and log the results.

    Args:
        options: Of the program.
        device: Of the model.
        precision: Of the computation.
        facts: Settings in effect, for the log.
        log: Receives facts and results.

    Raises:
        UsageError: An option is invalid for this model or machine.
        BenchmarkError: The model or server failed, or no rate meets the bounds.
    """
    with tempfile.TemporaryDirectory(prefix="loadgen-") as temporary:
        directory = Path(options.serving_log_dir or temporary)
        if options.serving_find:
            competing, count = search(options, facts, directory, log)
        else:
            subject = make_subject(options, device, precision, log)
            log.many(facts, "results.")
            competing = CompetingLoad()
            with undisturbed():
                competing.start()
                count = _run(options, subject, directory, log)
                competing.stop()
        log_competing_load(log, competing, max(1, count))


def _run(options: BenchmarkOptions, subject: Subject, directory: Path, log: Log) -> int:
    """Run LoadGen once; returns the number of queries."""
    settings = make_settings(options, options.serving_scenario, subject.has_tokens)
    system = make_system(options, subject, settings.scenario, settings)
    choose = complete_settings(settings, options, len(subject.make_backends))
    outcome = run_loadgen(choose, system, directory, keep_trace=options.serving_keep_trace)
    attempts = 1
    while settings.scenario == "offline" and attempts < _MOST_ATTEMPTS:
        if outcome.detail.get("result_min_duration_met", True):
            break
        # All samples are requested at once, so their number must be known in advance; a run that was too short tells how many are needed.
        faster = replace(settings, target_qps=_MORE * system.samples_per_second)
        outcome = run_loadgen(_always(faster), system, directory, keep_trace=options.serving_keep_trace)
        attempts += 1
    times = log_run(options, subject, settings, outcome, system, log)
    if log.reports:
        print_run(options, log.values)
    system.stop()
    return len(times.latencies)


def _always(settings: Settings) -> Callable[[Pace], Settings]:
    return lambda pace: settings
