"""The timing function charges each batch with its own work and nothing else."""

from __future__ import annotations

import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Iterator

import pytest

from pytorch_benchmarks.metrics import percentile, time_metrics
from pytorch_benchmarks.timing import time_batches


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_counts_and_order() -> None:
    calls: list[str] = []
    data = iter(range(100))
    timing = time_batches(
        lambda batch: calls.append(f"step {batch}") or batch,
        data,
        count=3,
        warmup=2,
        synchronize=lambda: calls.append("sync"),
    )
    assert len(timing.batches) == 3
    assert len(timing.warmup) == 2
    assert timing.result == 4
    assert calls == [call for batch in range(5) for call in ("sync", f"step {batch}", "sync")]


def test_no_warmup() -> None:
    timing = time_batches(lambda batch: batch, itertools.count(), count=2, warmup=0, synchronize=lambda: None)
    assert (len(timing.batches), len(timing.warmup), timing.result) == (2, 0, 1)


def test_waiting_for_data_is_told_apart_from_the_whole() -> None:
    def slow() -> Iterator[int]:
        while True:
            spin(0.004)
            yield 0

    timing = time_batches(lambda _: spin(0.002), slow(), count=5, warmup=0, synchronize=lambda: None)
    for whole, wait in zip(timing.batches, timing.data_waits, strict=True):
        assert wait >= 0.004
        assert whole - wait >= 0.002


def test_work_that_the_device_still_has_to_do_is_counted() -> None:
    pending = [0.0]

    def step(_: int) -> None:
        pending[0] = 0.003

    def synchronize() -> None:
        spin(pending[0])
        pending[0] = 0.0

    timing = time_batches(step, itertools.repeat(0), count=3, warmup=0, synchronize=synchronize)
    assert min(timing.batches) >= 0.003


def test_no_garbage_is_collected_while_timing_and_the_collector_is_back_afterwards() -> None:
    enabled: list[bool] = []
    time_batches(
        lambda _: enabled.append(gc.isenabled()), itertools.repeat(0), count=2, warmup=1, synchronize=lambda: None
    )
    assert enabled == [True, False, False]
    assert gc.isenabled()


def test_the_collector_is_back_after_an_error() -> None:
    def step(_: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        time_batches(step, itertools.repeat(0), count=1, warmup=0, synchronize=lambda: None)
    assert gc.isenabled()


def test_metrics() -> None:
    found = time_metrics([0.010, 0.030, 0.020, 0.040], instances=8)
    assert found["results.time"] == pytest.approx(25.0)
    assert found["results.time_std"] == pytest.approx(statistics.stdev([10, 30, 20, 40]))
    assert found["results.time_median"] == pytest.approx(25.0)
    assert found["results.throughput"] == pytest.approx(8 / 0.025)
    assert found["results.time_data"] == pytest.approx([10, 30, 20, 40])
    assert time_metrics([2.0], 1)["results.throughput"] == 0.5
    assert time_metrics([2.0], 1)["results.time_std"] == 0.0


def test_percentile_agrees_with_the_standard_library() -> None:
    values = sorted(random.Random(1).random() for _ in range(57))
    for percent, expected in zip(range(1, 100), statistics.quantiles(values, n=100, method="inclusive"), strict=True):
        assert math.isclose(percentile(values, percent / 100), expected, rel_tol=1e-12)
