"""The runs of a search in one process: offline, without load, trials at a rate, and the final run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.quantiles import quantile
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.serving.limit import Trial
from pytorch_benchmarks.serving.loadgen import LoadGenAnswers, Outcome, Settings, run_loadgen
from pytorch_benchmarks.serving.results import Measured
from pytorch_benchmarks.serving.run import complete_settings, log_run, make_settings, make_system
from pytorch_benchmarks.serving.subject import Subject

__all__ = ["Probe", "SilentLog"]

_UNLOADED_QUERIES = 64  # of the run without load: enough to see that a bound is out of reach


class SilentLog(Log):
    """A log that only keeps its values, for the process that prints them."""

    @property
    def reports(self) -> bool:
        return False

    def take(self) -> dict[str, Any]:
        """The values since the last call."""
        values, self.values = self.values, {}
        return values


class Probe:
    """Runs with one model in one process, or with the connections of one process to a server.

    Args:
        options: Bounds, scenario settings and limits of the queue.
        subject: The model or server that answers.
        directory: For the logs of LoadGen; each run has a separate directory in it.

    Attributes:
        count: Number of queries so far.
    """

    def __init__(self, options: BenchmarkOptions, subject: Subject, directory: Path) -> None:
        self.count = 0
        self._options, self._subject, self._directory = options, subject, directory
        self._settings = make_settings(options, "server", subject.has_tokens)
        self._system = make_system(options, subject, "server", self._settings)
        self._queue_limit = self._system.queue.limit

    def offline(self) -> float:
        """Throughput of the offline scenario, in samples per second."""
        self._run(make_settings(self._options, "offline", self._subject.has_tokens), "offline", queue_limit=0)
        return self._system.samples_per_second

    def unloaded(self) -> tuple[float, bool]:
        """Sequential queries: the evaluated percentile in milliseconds, and whether it is certainly above the bounds."""
        wanted = replace(self._settings, scenario="single-stream", min_queries=_UNLOADED_QUERIES)
        _, times = self._run(wanted, "unloaded", queue_limit=0)
        return self._percentile(times), times.surely_breaks(self._settings)

    def trial(self, rate: float, number: int) -> Trial:
        """A run at a rate.

        Args:
            rate: Queries per second.
            number: Of the trial in the search, from 1; it selects the arrival times: a limit that is valid for one schedule only is no limit.
        """
        schedule, sample, library = self._settings.seeds
        wanted = replace(self._settings, target_qps=rate, seeds=(schedule + number - 1, sample, library))
        _, times = self._run(wanted, f"trial-{number:02d}")
        return Trial(rate, times.keeps(wanted), self._percentile(times))

    def confirm(self, rate: float) -> dict[str, Any]:
        """The final run; returns its log values, the warnings included."""
        wanted = replace(self._settings, target_qps=rate)
        outcome, _ = self._run(wanted, "at-the-limit")
        log = SilentLog()
        log_run(self._options, self._subject, wanted, outcome, self._system, log)
        return log.values

    def close(self) -> None:
        """Stop the workers."""
        self._system.stop()

    def _run(self, wanted: Settings, name: str, queue_limit: int | None = None) -> tuple[Outcome, Measured]:
        system = self._system
        system.queue.limit = self._queue_limit if queue_limit is None else queue_limit
        system.answers = LoadGenAnswers(wanted.uses_token_latencies)
        choose = complete_settings(wanted, self._options, len(self._subject.make_backends))
        outcome = run_loadgen(choose, system, self._directory / name, keep_trace=self._options.serving_keep_trace)
        times = Measured(wanted, outcome, system.queries)
        self.count += len(times.latencies)
        return outcome, times

    def _percentile(self, times: Measured) -> float:
        """Milliseconds of the evaluated percentile: of latencies, or of the first tokens in LoadGen's token mode."""
        values = times.first_tokens if self._settings.uses_token_latencies else times.latencies
        return quantile(sorted(values), self._settings.percentile / 100)
