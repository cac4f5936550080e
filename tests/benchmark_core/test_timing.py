"""The timing function charges each batch with its own work and nothing else."""

from __future__ import annotations

import gc
import itertools
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator

import pytest

from benchmark_core.intervals import percentile
from benchmark_core.measure import time_metrics
from benchmark_core.timing import Schedule, is_steady, time_batches
from benchmark_core.turns import TURNS_VARIABLE, Turns
from dlbs.executors.turns import TurnGiver


class Clock:
    """The clock that batches are timed with: it moves only when a test says so, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(sys.modules[time_batches.__module__], "perf_counter", made)
    return made


def test_counts_and_order() -> None:
    calls: list[str] = []
    data = iter(range(100))
    timing = time_batches(
        lambda batch: calls.append(f"step {batch}") or batch,
        data,
        Schedule(3, 2),
        synchronize=lambda: calls.append("sync"),
    )
    assert len(timing.batches) == 3
    assert len(timing.warmup) == 2
    assert timing.result == 4
    assert calls == [call for batch in range(5) for call in ("sync", f"step {batch}", "sync")]


def test_no_warmup() -> None:
    timing = time_batches(lambda batch: batch, itertools.count(), Schedule(2, 0), synchronize=lambda: None)
    assert (len(timing.batches), len(timing.warmup), timing.result) == (2, 0, 1)


def test_the_clock_is_that_of_the_machine() -> None:
    begin = time.perf_counter()
    timing = time_batches(lambda _: time.sleep(0.01), itertools.repeat(0), Schedule(3, 0), synchronize=lambda: None)
    assert 3 * 0.01 <= timing.total <= time.perf_counter() - begin


def test_waiting_for_data_is_told_apart_from_the_whole(clock: Clock) -> None:
    def slow() -> Iterator[int]:
        while True:
            clock.work(0.004)
            yield 0

    timing = time_batches(lambda _: clock.work(0.002), slow(), Schedule(5, 0), synchronize=lambda: None)
    assert list(timing.batches) == pytest.approx([0.006] * 5)
    assert list(timing.data_waits) == pytest.approx([0.004] * 5)


def test_work_that_the_device_still_has_to_do_is_counted(clock: Clock) -> None:
    pending = [0.0]

    def step(_: int) -> None:
        pending[0] = 0.003

    def synchronize() -> None:
        clock.work(pending[0])
        pending[0] = 0.0

    timing = time_batches(step, itertools.repeat(0), Schedule(3, 0), synchronize=synchronize)
    assert list(timing.batches) == pytest.approx([0.003] * 3)


def test_no_garbage_is_collected_while_timing_and_the_collector_is_back_afterwards() -> None:
    enabled: list[bool] = []
    time_batches(
        lambda _: enabled.append(gc.isenabled()), itertools.repeat(0), Schedule(2, 1), synchronize=lambda: None
    )
    assert enabled == [True, False, False]
    assert gc.isenabled()


def test_the_collector_is_back_after_an_error() -> None:
    def step(_: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        time_batches(step, itertools.repeat(0), Schedule(1, 0), synchronize=lambda: None)
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


def test_steady_means_that_the_last_five_agree_with_the_five_before() -> None:
    assert is_steady([5.0, 1, 1, 1, 1, 1, 1.02, 1.02, 1, 1])
    assert not is_steady([1.1] * 5 + [1.0] * 5)
    assert not is_steady([1.0] * 9)
    assert is_steady([9.0] * 5 + [1.0] * 10)


def test_automatic_warm_up_ends_when_times_are_steady(clock: Clock) -> None:
    waits = itertools.chain([0.02] * 7, itertools.repeat(0.004))
    timing = time_batches(
        lambda _: clock.work(next(waits)), itertools.count(), Schedule(3, None), synchronize=lambda: None
    )
    assert timing.warmup_steady
    assert len(timing.warmup) == 15  # in fives: most of the second five are as fast as the third
    assert list(timing.batches) == pytest.approx([0.004] * 3)


def test_automatic_warm_up_is_bounded(clock: Clock) -> None:
    waits = itertools.cycle([0.001] * 5 + [0.0001] * 5)
    timing = time_batches(
        lambda _: clock.work(next(waits)), itertools.count(), Schedule(1, None), synchronize=lambda: None
    )
    assert timing.warmup_steady is False
    assert len(timing.warmup) == 200


def test_automatic_warm_up_ends_after_a_minute(clock: Clock) -> None:
    waits = itertools.cycle([4.0] * 5 + [2.0] * 5)
    timing = time_batches(
        lambda _: clock.work(next(waits)), itertools.count(), Schedule(1, None), synchronize=lambda: None
    )
    assert timing.warmup_steady is False
    assert len(timing.warmup) == 20


@pytest.mark.parametrize("warmup", [0, 3])
def test_time_instead_of_a_number_of_batches(clock: Clock, warmup: int) -> None:
    timing = time_batches(
        lambda _: clock.work(0.002), itertools.count(), Schedule(1, warmup, min_time=0.101), synchronize=lambda: None
    )
    assert len(timing.batches) == 51
    assert timing.total == pytest.approx(0.102)
    assert sum(timing.batches) == pytest.approx(timing.total)


def test_several_processes_run_as_many_batches_as_the_slowest_needs(clock: Clock) -> None:
    asked: list[int] = []

    def agree(number: int) -> int:
        asked.append(number)
        return max(number, 40 if len(asked) == 1 else 0)

    timing = time_batches(
        lambda _: clock.work(0.001),
        itertools.count(),
        Schedule(1, 0, min_time=0.005),
        synchronize=lambda: None,
        agree=agree,
    )
    assert len(timing.batches) == 40
    assert asked[-1] == 0


class Stream:
    """A device that works on what it is given one after the other, 3 ms each, while the host goes on."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.free = clock, 0.0

    def launch(self, _: object) -> None:
        self.clock.work(0.0001)  # which the host needs to ask for it
        self.free = max(self.free, self.clock.now) + 0.003

    def synchronize(self) -> None:
        self.clock.now = max(self.clock.now, self.free)

    def event(self) -> StreamEvent:
        return StreamEvent(self)


class StreamEvent:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.when = stream, 0.0

    def record(self) -> None:
        self.when = max(self.stream.free, self.stream.clock.now)

    def elapsed_time(self, end: StreamEvent) -> float:
        return 1000 * (end.when - self.when)


@pytest.mark.parametrize("sync", ["each", "end"])
def test_the_device_tells_its_own_time(clock: Clock, sync: str) -> None:
    stream = Stream(clock)
    timing = time_batches(
        stream.launch,
        itertools.count(),
        Schedule(20, 2, sync=sync),
        synchronize=stream.synchronize,
        make_event=stream.event,
    )
    assert timing.device is not None
    assert len(timing.device) == len(timing.batches) == 20
    # Waited for after each batch, the device idles while the host asks for the next one; otherwise only before the first one.
    asking = 0.0001
    assert timing.total == pytest.approx(20 * 0.003 + asking * (20 if sync == "each" else 1))
    assert statistics.median(timing.device) == pytest.approx(0.003 + (asking if sync == "each" else 0))
    assert statistics.median(timing.batches) == pytest.approx(0.003 + (asking if sync == "each" else 0))


def test_observers_look_just_before_and_just_after_the_timed_batches() -> None:
    seen: list[str] = []

    class Watcher:
        def start(self) -> None:
            seen.append("start")

        def stop(self) -> None:
            seen.append("stop")

    time_batches(
        lambda batch: seen.append(str(batch)),
        itertools.count(),
        Schedule(2, 1),
        synchronize=lambda: None,
        observers=[Watcher()],
    )
    assert seen == ["0", "start", "1", "2", "stop"]


def test_turns_determine_the_number_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    giver = TurnGiver(1, 0.02, 12)
    (variables,) = giver.environments
    monkeypatch.setenv(TURNS_VARIABLE, variables[TURNS_VARIABLE])
    turns = Turns.from_environment()
    assert turns is not None
    assert Turns.from_environment() is None  # children of this process take no turns of their own
    ran, syncs = itertools.count(), itertools.count()
    timing = time_batches(
        lambda batch: time.sleep(0.001) or next(ran), itertools.repeat(0), Schedule(3, 2), synchronize=lambda: next(syncs), turns=turns, load=lambda: 0.25
    )  # fmt: skip
    giver.close()
    found = turns.metrics()
    rounds = len(found["results.turns.times"])
    assert rounds >= 10
    assert sum(found["results.turns.batches"]) == len(timing.batches)
    assert sum(found["results.turns.batches"]) > rounds  # several short batches fit into a turn
    # Warm-up and the first batch of a turn are not counted, unless a busy machine makes it long.
    assert 2 + len(timing.batches) < next(ran) <= 2 + rounds + len(timing.batches)
    assert math.isclose(timing.total, sum(a * b for a, b in zip(found["results.turns.times"], found["results.turns.batches"], strict=True)) / 1000, rel_tol=1e-3)  # fmt: skip
    assert found["results.turns.pair"]
    assert set(found["results.turns.loads"]) == {0.25}


def test_a_long_batch_is_a_turn() -> None:
    giver = TurnGiver(1, 0.01, 12)
    turns = Turns(giver.environments[0][TURNS_VARIABLE])
    timing = time_batches(lambda batch: time.sleep(0.015), itertools.repeat(0), Schedule(3, 1), synchronize=lambda: None, turns=turns)  # fmt: skip
    giver.close()
    assert set(turns.metrics()["results.turns.batches"]) == {1}
    assert len(timing.batches) == len(turns.metrics()["results.turns.times"]) >= 10
