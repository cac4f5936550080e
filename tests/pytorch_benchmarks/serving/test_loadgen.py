"""MLPerf's load generator drives systems of these tests, its logs are read, and the interpreter is not disturbed."""

from __future__ import annotations

import gc
import json
import math
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep

import pytest

from benchmark_core import timing
from benchmark_core.exits import BenchmarkError, UsageError
from pytorch_benchmarks.serving.loadgen import (
    LoadGenAnswers,
    LoadGenResult,
    Settings,
    fewest_queries,
    read_detail,
    read_trace,
    run_loadgen,
    undisturbed,
)
from pytorch_benchmarks.serving.requests import percentile_name
from pytorch_benchmarks.serving.run import Measured, run_metrics
from pytorch_benchmarks.serving.system import BatchListener, Query, Queue, System

SETTINGS = Settings("single-stream", 90.0, min_duration=0.2, min_queries=70, expected_latency=1e-5, samples=4)


class Instant:
    """Answers at once, after what the test does."""

    def __init__(self, tokens: int = 0, before: Callable[[Sequence[int]], None] = lambda samples: None) -> None:
        self.tokens, self.before = tokens, before
        self.system: System | None = None

    @property
    def asked(self) -> int:
        """Samples that LoadGen has asked for; none while the system looks how fast this is."""
        return len(self.system.queries) if self.system else 0

    def warm_up(self) -> None:
        pass

    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        self.before(samples)
        if self.tokens:
            progress.first_token(range(len(samples)))
            progress.done(range(len(samples)), [self.tokens] * len(samples))

    def close(self) -> None:
        pass


def run(
    settings: Settings, directory: Path, backend: Instant, *, max_batch: int = 4, limit: int = 0
) -> tuple[System, LoadGenResult]:
    system = System(
        LoadGenAnswers(settings.uses_token_latencies),
        Queue(max_batch, limit=limit),
        [lambda: backend],
        late_after=1.1 * settings.target_latency,
        inline=settings.scenario in {"single-stream", "multi-stream"},
    )
    backend.system = system
    outcome = run_loadgen(settings, system, directory)
    system.stop()
    return system, outcome


@pytest.mark.integration
def test_a_long_run_says_its_rate_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "INTERVAL", 0.05)
    run(replace(SETTINGS, min_duration=0.5), tmp_path / "logs", Instant(0, lambda samples: sleep(0.002)))
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.fullmatch(r"\d+\.\d samples/s so far, [\d,]+ samples in \d+ s", line) for line in lines)


@pytest.mark.integration
@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, scenario="multi-stream", samples_per_query=3),
        replace(SETTINGS, scenario="server", target_qps=500.0, target_latency=60.0),
        replace(SETTINGS, scenario="offline", target_qps=2000.0, min_duration=0.0),
    ],
    ids=lambda settings: settings.scenario,
)
@pytest.mark.parametrize("tokens", [0, 5])
def test_every_scenario_ends_valid(tmp_path: Path, settings: Settings, tokens: int) -> None:
    settings = replace(settings, has_tokens=bool(tokens))
    system, outcome = run(settings, tmp_path / "logs", Instant(tokens))
    assert outcome.is_valid, outcome.reason
    assert outcome.reason == ""
    assert len(outcome.latencies) == len(outcome.delays) == len(system.queries) >= 70
    assert all(0 <= latency < math.inf for latency in outcome.latencies)
    assert {query.sample for query in system.queries} == {0, 1, 2, 3}
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "mlperf_log_accuracy.json",
        "mlperf_log_detail.txt",
        "mlperf_log_summary.txt",
    ], "the trace is read and removed"
    times = Measured(settings, outcome, system.queries)
    found = run_metrics(settings, outcome, times, system)
    assert found["results.serving.qps"] > 0
    assert found["results.serving.latency_min"] <= found["results.serving.latency_p50"]
    assert found["results.serving.latency_p50"] <= found["results.serving.latency_max"]
    assert sum(int(size) * count for size, count in found["results.serving.batch_sizes"].items()) == len(system.queries)
    assert ("results.serving.ttft_p99" in found) == bool(tokens)
    if tokens:
        assert found["results.serving.output_tokens"] == 5
        assert found["results.serving.tokens_per_second"] == pytest.approx(5 * found["results.throughput"])
    json.dumps(found, allow_nan=False)


@pytest.mark.integration
def test_a_run_agrees_with_what_loadgen_says_of_it(tmp_path: Path) -> None:
    settings = replace(SETTINGS, scenario="server", target_qps=300.0, target_latency=60.0)
    system, outcome = run(settings, tmp_path, Instant())
    found = run_metrics(settings, outcome, Measured(settings, outcome, system.queries), system)
    for percentile in (50.0, 90.0, 95.0, 99.0, 99.9):
        said = outcome.detail[f"result_{percentile:.2f}_percentile_latency_ns"] / 1e6
        assert found[f"results.serving.latency_{percentile_name(percentile)}"] == pytest.approx(said, rel=1e-9)


@pytest.mark.integration
def test_a_server_that_stops_for_a_second_is_seen_in_the_tail(tmp_path: Path) -> None:
    """Queries that arrive meanwhile have waited since they were due: who asks only after an answer (coordinated omission) sees one slow query."""

    def stop_once(samples: Sequence[int]) -> None:
        if backend.asked > 50 and not stopped.is_set():
            stopped.set()
            sleep(1.0)

    stopped = threading.Event()
    settings = replace(
        SETTINGS, scenario="server", target_qps=200.0, target_latency=0.5, percentile=99.0, min_duration=2.0
    )
    backend = Instant(before=stop_once)
    system, outcome = run(settings, tmp_path, backend)
    times = Measured(settings, outcome, system.queries)
    assert max(times.latencies) >= 1000
    assert (
        sum(latency > 500 for latency in times.latencies) >= 50
    )  # of the hundred that were due in the first half of the second
    assert not times.keeps(settings)
    assert not outcome.is_valid
    assert "Reduce target QPS" in outcome.reason


@pytest.mark.integration
def test_rejected_queries_count_as_too_late(tmp_path: Path) -> None:
    settings = replace(SETTINGS, scenario="server", target_qps=400.0, target_latency=0.2)

    def slow(samples: Sequence[int]) -> None:
        if backend.asked > 20 and not slowed.is_set():
            slowed.set()
            sleep(0.1)  # a queue forms

    slowed = threading.Event()
    backend = Instant(before=slow)
    system, outcome = run(settings, tmp_path, backend, limit=3)
    times = Measured(settings, outcome, system.queries)
    found = run_metrics(settings, outcome, times, system)
    assert times.rejected == found["results.serving.rejected"] > 0
    assert found["results.serving.late"] >= times.rejected
    assert found["results.serving.latency_max"] is None
    assert outcome.detail["result_overlatency_query_count"] >= times.rejected
    late = [latency for query, latency in zip(system.queries, outcome.latencies, strict=True) if query.is_rejected]
    assert min(late) >= 0.2


@pytest.mark.integration
def test_too_few_queries_are_invalid_and_loadgen_says_why(tmp_path: Path) -> None:
    _, outcome = run(
        replace(SETTINGS, min_queries=5, min_duration=0.001), tmp_path, Instant(before=lambda _: sleep(0.001))
    )
    assert not outcome.is_valid
    assert "Need to process at least 64 queries for early stopping" in outcome.reason


@pytest.mark.parametrize(("percentile", "count"), [(90.0, 64), (95.0, 130), (99.0, 662), (99.9, 6636)])
def test_how_many_queries_early_stopping_needs(percentile: float, count: int) -> None:
    assert fewest_queries(percentile) == count


def test_a_percentile_without_a_point() -> None:
    assert [percentile_name(percentile) for percentile in (50.0, 99.0, 99.9, 97.5)] == ["p50", "p99", "p999", "p975"]


def test_a_query_of_several_samples_is_answered_with_the_last_of_them() -> None:
    settings = replace(SETTINGS, scenario="multi-stream", samples_per_query=2)
    outcome = LoadGenResult({}, latencies=array_of(0.001, 0.004, 0.003, 0.002), delays=array_of(0, 0, 0, 0))
    queries = [Query(number, number, 0, 0.0) for number in range(4)]
    assert Measured(settings, outcome, queries).latencies == [4.0, 3.0]


def test_bounds_of_tokens_are_kept_or_not() -> None:
    settings = replace(
        SETTINGS, scenario="server", has_tokens=True, target_ttft=0.1, target_tpot=0.01, percentile=50.0, target_qps=1.0
    )
    outcome = LoadGenResult({}, latencies=array_of(0.19, 0.19), delays=array_of(0, 0))
    queries = [Query(number, number, 0, 0.0, first_token=0.1, done=0.2, tokens=11) for number in range(2)]
    times = Measured(settings, outcome, queries)
    assert times.first_tokens == pytest.approx([90.0, 90.0])
    assert times.per_token == pytest.approx([10.0, 10.0])
    assert times.keeps(replace(settings, target_tpot=0.0101))
    assert not times.keeps(replace(settings, target_tpot=0.009))
    assert not times.keeps(replace(settings, target_tpot=0.0101, target_ttft=0.05))


def array_of(*values: float) -> object:
    from array import array

    return array("d", values)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(UsageError, match="pip install mlcommons-loadgen"):
        LoadGenAnswers()


def test_logs_that_are_not_there_or_damaged_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="log of LoadGen cannot be read"):
        read_detail(tmp_path / "none")
    with pytest.raises(BenchmarkError, match="trace of LoadGen cannot be read"):
        read_trace(tmp_path / "none")
    (tmp_path / "detail").write_text(":::MLLOG {nonsense\n")
    with pytest.raises(BenchmarkError, match="log of LoadGen cannot be read"):
        read_detail(tmp_path / "detail")
    (tmp_path / "trace").write_text('{"name":"Sample","args":{"complete_ns":3}},\n')
    with pytest.raises(BenchmarkError, match="trace of LoadGen cannot be read"):
        read_trace(tmp_path / "trace")


def test_no_garbage_is_collected_while_queries_are_answered_and_threads_switch_quickly() -> None:
    """A collection stops all threads, and is seen in the tail of the latencies."""
    before = sys.getswitchinterval()
    assert gc.isenabled()
    with undisturbed():
        assert not gc.isenabled()
        assert sys.getswitchinterval() < before
    assert gc.isenabled()
    assert sys.getswitchinterval() == pytest.approx(before)
