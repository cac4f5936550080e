"""Times of a device: events against the wall clock against work of known size."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from benchmark_core.timing import Schedule, Timing, Watcher, time_batches
from benchmark_core.turns import TURNS_VARIABLE, Turns
from dlbs.executors.turns import TurnGiver
from pytorch_benchmarks.devices import event_maker, synchronizer
from pytorch_benchmarks.phases import graphed
from tests.gpu.work import matrix_chain, sleep

pytestmark = pytest.mark.alone


def timed(
    device: torch.device,
    step: Any,
    count: int = 10,
    sync: str = "each",
    data: Iterator[Any] | None = None,
    watcher: Watcher | None = None,
) -> Timing:
    return time_batches(
        step,
        itertools.repeat(None) if data is None else data,
        Schedule(count, 3, sync=sync),
        synchronize=synchronizer(device),
        make_event=event_maker(device),
        watcher=watcher,
    )


def device_time(timing: Timing) -> float:
    """Median seconds of a batch, by the device's own clock."""
    assert timing.device is not None
    return statistics.median(timing.device)


@pytest.mark.parametrize("sync", ["each", "end"])
def test_each_batch_has_its_times(device: torch.device, sync: str) -> None:
    timing = timed(device, matrix_chain(device, products=2), count=7, sync=sync)
    assert len(timing.batches) == len(timing.data_waits) == 7
    assert (timing.device is None) == (device.type == "cpu")
    assert timing.device is None or len(timing.device) == 7
    assert all(seconds > 0 for seconds in timing.batches)
    assert timing.total >= 0.9 * sum(timing.batches)


@pytest.mark.parametrize("sync", ["each", "end"])
def test_twice_the_work_takes_twice_the_time(cuda: torch.device, sync: str, figures: dict[str, Any]) -> None:
    once, twice = (device_time(timed(cuda, matrix_chain(cuda, products), sync=sync)) for products in (10, 20))
    figures.update({"ms": 1000 * once, "ratio": twice / once})
    assert twice / once == pytest.approx(2, rel=0.1)


def test_events_agree_with_the_wall_clock(cuda: torch.device, figures: dict[str, Any]) -> None:
    """The wall clock also sees the launch of the first kernel and the wait for the last: a fraction of a millisecond."""
    timing = timed(cuda, matrix_chain(cuda, products=10))
    wall, own = statistics.median(timing.batches), device_time(timing)
    figures.update({"wall ms": 1000 * wall, "device ms": 1000 * own})
    assert own <= wall
    assert wall - own < 0.0005 + 0.02 * own


def test_events_agree_with_the_kernels_of_a_profile(cuda: torch.device, figures: dict[str, Any]) -> None:
    from torch.profiler import ProfilerActivity, profile

    step = matrix_chain(cuda, products=10)
    own = device_time(timed(cuda, step))
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step(None)
        torch.cuda.synchronize(cuda)
    kernels = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6
    if not kernels:
        pytest.skip("the profiler sees no kernels here (CUPTI)")
    figures.update({"device ms": 1000 * own, "kernels ms": 1000 * kernels, "ratio": own / kernels})
    assert own == pytest.approx(kernels, rel=0.1)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_waiting_for_each_batch_and_at_the_end_agree(cuda: torch.device, graph: bool, figures: dict[str, Any]) -> None:
    """Where a batch is long beside its launch."""
    step = matrix_chain(cuda, products=10)
    data = itertools.repeat(torch.ones(1, device=cuda))
    each, end = (
        timed(cuda, graphed(step, cuda) if graph else step, count=20, sync=sync, data=data) for sync in ("each", "end")
    )
    figures.update({"each ms": 1000 * statistics.median(each.batches), "end ms": 1000 * statistics.median(end.batches)})
    assert device_time(end) == pytest.approx(device_time(each), rel=0.05)
    assert end.total / 20 == pytest.approx(statistics.median(each.batches), rel=0.1)


class Pausing:
    """Wants a report after every third batch or so, and takes its time for it."""

    seconds_left = 0.0
    reports = 0

    def warmed_up(self, times: Sequence[float]) -> None:
        self.timed(times, 0.0)

    def timed(self, times: Sequence[float], total: float) -> None:
        self.reports += 1
        self.seconds_left = 3 * times[-1]
        time.sleep(0.02)


@pytest.mark.parametrize("sync", ["each", "end"])
def test_pauses_for_reports_are_in_no_time(cuda: torch.device, sync: str, figures: dict[str, Any]) -> None:
    step, pausing = matrix_chain(cuda, products=10), Pausing()
    usual = timed(cuda, step, count=20, sync=sync)
    paused = timed(cuda, step, count=20, sync=sync, watcher=pausing)
    figures.update({"usual ms": 1000 * device_time(usual), "paused ms": 1000 * device_time(paused)})
    assert pausing.reports >= 5
    assert len(paused.batches) == len(paused.device or ()) == 20
    assert device_time(paused) == pytest.approx(device_time(usual), rel=0.1)  # the clock may fall while it waits
    assert paused.total == pytest.approx(usual.total, rel=0.15)


def test_the_host_runs_ahead_if_the_device_is_waited_for_at_the_end(cuda: torch.device) -> None:
    hosts: list[float] = []

    def step(_: Any) -> None:
        hosts.append(time.perf_counter())
        sleep(10)

    timing = timed(cuda, step, count=10, sync="end")
    assert hosts[-1] - hosts[-10] < 0.5 * timing.total
    assert statistics.median(timing.batches) > 0.002


def test_the_times_of_batches_are_all_of_the_time(cuda: torch.device) -> None:
    """With `end`, a batch goes from the end of the one before to its own: nothing is lost between them."""
    timing = timed(cuda, matrix_chain(cuda, products=5), count=20, sync="end")
    assert sum(timing.batches) == pytest.approx(timing.total, rel=0.05)


def test_waiting_for_data_is_not_charged_to_the_device(cuda: torch.device) -> None:
    def slow() -> Iterator[None]:
        while True:
            time.sleep(0.02)
            yield None

    step = matrix_chain(cuda, products=5)
    fast, late = timed(cuda, step), timed(cuda, step, data=slow())
    assert min(late.data_waits) >= 0.02
    assert device_time(late) == pytest.approx(device_time(fast), rel=0.25)  # the clock may fall while it waits
    assert min(late.batches) >= 0.02


def test_a_starving_device_is_seen_when_it_is_waited_for_at_the_end(cuda: torch.device) -> None:
    def slow() -> Iterator[None]:
        while True:
            time.sleep(0.02)
            yield None

    timing = timed(cuda, matrix_chain(cuda, products=1), sync="end", data=slow())
    assert statistics.median(timing.batches) >= 0.018
    assert statistics.fmean(timing.data_waits) >= 0.018


@pytest.mark.integration
def test_a_minimum_of_time_is_filled(device: torch.device) -> None:
    timing = time_batches(
        matrix_chain(device, products=2),
        itertools.repeat(None),
        Schedule(1, 2, min_time=0.2),
        synchronize=synchronizer(device),
        make_event=event_maker(device),
    )
    assert timing.total >= 0.2
    assert timing.device is None or len(timing.device) == len(timing.batches)


def test_automatic_warm_up_ends(device: torch.device) -> None:
    timing = time_batches(
        matrix_chain(device, products=4),
        itertools.repeat(None),
        Schedule(3, None),
        synchronize=synchronizer(device),
        make_event=event_maker(device),
    )
    assert len(timing.warmup) in range(10, 201)
    assert timing.warmup_steady in {True, False}


class _Ended(Turns):
    """Turns that record whether the device had work left when each one ended."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.idle: list[bool] = []

    def add(self, batches: int, seconds: float, load: float | None = None) -> None:
        super().add(batches, seconds, load)
        self.idle.append(not torch.cuda.is_available() or torch.cuda.current_stream().query())


@pytest.mark.parametrize("sync", ["each", "end"])
def test_the_device_is_idle_at_the_end_of_a_turn(device: torch.device, sync: str) -> None:
    giver = TurnGiver(1, 0.01, 12)
    turns = _Ended(giver.environments[0][TURNS_VARIABLE])
    ones = torch.ones(256, 256, device=device)
    time_batches(lambda _: ones @ ones, itertools.repeat(None), Schedule(3, 1, sync=sync), synchronize=synchronizer(device), make_event=event_maker(device), turns=turns)  # fmt: skip
    giver.close()
    assert len(turns.idle) >= 10
    assert all(turns.idle)
