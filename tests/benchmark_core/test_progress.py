"""Progress of a benchmark is printed between batches, seldom, and costs the measurement nothing."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import pytest

from benchmark_core.timing import Moments, ProgressLines, Schedule, Timing, time_batches


class Clock:
    """The clock of the program and of its progress; it moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(sys.modules[time_batches.__module__], "perf_counter", made)
    return made


def timed(clock: Clock, schedule: Schedule, seconds: float, line_seconds: float = 0.0) -> Timing:
    """Batches of so many seconds each, eight images a batch; every line takes `line_seconds` to print."""

    def step(_: int) -> None:
        clock.now += seconds

    class Slow(ProgressLines):
        def timed(self, times: Sequence[float], total: float) -> None:
            super().timed(times, total)
            clock.now += line_seconds

    return time_batches(
        step, itertools.count(), schedule, synchronize=lambda: None, watcher=Slow(schedule, 8, "images", clock)
    )


@pytest.mark.parametrize("sync", ["each", "end"])
def test_a_short_benchmark_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str], sync: str) -> None:
    timed(clock, Schedule(100, 3, sync=sync), 0.04)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("sync", ["each", "end"])
def test_a_line_every_five_seconds_has_the_rate_so_far(
    clock: Clock, capsys: pytest.CaptureFixture[str], sync: str
) -> None:
    timing = timed(clock, Schedule(100, 0, sync=sync), 0.25)
    assert capsys.readouterr().out.splitlines() == [
        "32.0 images/s so far, batch 20 of 100",
        "32.0 images/s so far, batch 40 of 100",
        "32.0 images/s so far, batch 60 of 100",
        "32.0 images/s so far, batch 80 of 100",
        "32.0 images/s so far, batch 100 of 100",
    ]
    assert len(timing.batches) == 100


@pytest.mark.parametrize("sync", ["each", "end"])
def test_the_time_of_a_line_is_counted_in_no_batch_and_not_in_the_total(clock: Clock, sync: str) -> None:
    timing = timed(clock, Schedule(100, 2, sync=sync), 0.25, line_seconds=3.0)
    assert list(timing.batches) == pytest.approx([0.25] * 100)
    assert timing.total == pytest.approx(25.0)


def test_warm_up_has_the_rate_of_its_last_batches(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = itertools.chain([8.0], itertools.repeat(0.5))

    def step(_: int) -> None:
        clock.now += next(seconds)

    schedule = Schedule(1, 12)
    time_batches(step, itertools.count(), schedule, synchronize=lambda: None, watcher=ProgressLines(schedule, 8, "images", clock))  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "1.0 images/s in warm-up, batch 1 of 12",
        "16.0 images/s in warm-up, batch 11 of 12",
    ]


def test_a_benchmark_of_some_seconds_says_how_many_have_passed(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    timed(clock, Schedule(1, 1, min_time=12.0), 0.5)
    assert capsys.readouterr().out.splitlines() == [
        "16.0 images/s so far, 4 of 12 s, batch 9",
        "16.0 images/s so far, 10 of 12 s, batch 19",
    ]


def test_batches_without_a_watcher_run_in_one_loop(clock: Clock) -> None:
    waits: list[str] = []

    def step(_: int) -> None:
        clock.now += 10.0

    time_batches(step, itertools.count(), Schedule(5, 0, sync="end"), synchronize=lambda: waits.append("waits"))
    assert len(waits) == 2, "before the first batch and after the last"


def test_a_process_without_a_watcher_pauses_when_the_one_with_it_does(clock: Clock) -> None:
    """Otherwise it would wait for that one within its next batch, which would seem to take longer."""
    waits: list[str] = []
    asked: list[int] = []

    def step(_: int) -> None:
        clock.now += 10.0

    def agree(number: int) -> int:
        asked.append(number)
        return 2  # the other one reports every two batches

    schedule = Schedule(5, 3, sync="end")
    timing = time_batches(step, itertools.count(), schedule, synchronize=lambda: waits.append("waits"), agree=agree)
    assert (len(timing.warmup), len(timing.batches)) == (3, 5)
    assert asked == [0] * 5, "before each loop"
    assert len(waits) == 10, "before the first batch of each loop and after its last: 2 and 1, then 2, 2 and 1"


def test_lines_of_long_programs_are_rare() -> None:
    clock = Clock()
    moments = Moments(clock)
    day, lines = 86_400, 0
    for _ in range(day):
        clock.now += 1
        lines += moments.is_due()
    assert 200 < lines < 400
