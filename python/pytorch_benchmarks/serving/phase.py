"""The phase `serving` from top to bottom: what answers, LoadGen's run or the search for the highest rate, the results."""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.competing_load import CompetingLoad
from pytorch_benchmarks.measure.report import log_competing_load
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.loadgen import Settings, run_loadgen
from pytorch_benchmarks.serving.run import complete_settings, log_run, make_settings, make_system
from pytorch_benchmarks.serving.search import search
from pytorch_benchmarks.serving.subject import Subject, local, remote
from pytorch_benchmarks.serving.system import Pace

__all__ = ["serve", "undisturbed"]

_SWITCH = 0.0005  # seconds that a thread may keep others waiting: Python's 5 ms would be seen in latencies
_MOST_ATTEMPTS = 3  # of offline
_MORE = 1.3  # by how much more samples the next attempt has than the last one worked on in the time


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
            search(options, subject, directory, log) if options.serving_find else _run(options, subject, directory, log)
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


def _run(options: BenchmarkOptions, subject: Subject, directory: Path, log: Log) -> int:
    """One run of LoadGen; returns how many queries there were."""
    settings = make_settings(options, options.serving_scenario, subject.has_tokens)
    system = make_system(options, subject, settings.scenario, settings)
    choose = complete_settings(settings, options, len(subject.make_backends))
    outcome = run_loadgen(choose, system, directory, keep_trace=options.serving_keep_trace)
    attempts = 1
    while settings.scenario == "offline" and attempts < _MOST_ATTEMPTS:
        if outcome.detail.get("result_min_duration_met", True):
            break
        # All samples are asked for at once, so their number has to be right; a run that was over too early says how many there have to be.
        faster = replace(settings, target_qps=_MORE * system.samples_per_second)
        outcome = run_loadgen(_always(faster), system, directory, keep_trace=options.serving_keep_trace)
        attempts += 1
    times = log_run(options, subject, settings, outcome, system, log)
    system.stop()
    return len(times.latencies)


def _always(settings: Settings) -> Callable[[Pace], Settings]:
    return lambda pace: settings
