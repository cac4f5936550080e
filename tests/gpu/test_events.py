"""The arithmetic of events, on a device whose every duration is known: it is played, with the host's clock, and no time goes by."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from benchmark_core import timing
from benchmark_core.timing import Schedule, time_batches

COUNT = 8


@dataclass
class Machine:
    """A host, and a device that works through what it is given, in order; times are seconds.

    Attributes:
        data: That the host waits for a batch.
        launch: That the host needs to give a batch to the device.
        work: That the device needs for it.
        now: The host's clock.
        free: When the device will have finished what it was given.
    """

    data: float
    launch: float
    work: float
    now: float = 0.0
    free: float = 0.0
    events: list[Marker] = field(default_factory=list)

    def step(self, _: object) -> None:
        self.now += self.launch
        self.free = max(self.free, self.now) + self.work

    def synchronize(self) -> None:
        self.now = max(self.now, self.free)

    def batches(self) -> Iterator[int]:
        for number in itertools.count():
            self.now += self.data
            yield number

    def event(self) -> Marker:
        self.events.append(Marker(self))
        return self.events[-1]


class Marker:
    """When the device got to it, as a CUDA event: at once if it has nothing to do, else behind what it does."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.when = machine, float("nan")

    def record(self) -> None:
        self.when = max(self.machine.free, self.machine.now)

    def elapsed_time(self, end: Marker) -> float:
        return 1000 * (end.when - self.when)


# data, launch, work → with `each`: a batch, the device; with `end`: a batch in the long run.
CASES = {
    "the device is the bottleneck": ((0.0, 1.0, 5.0), 6.0, 6.0, 5.0),
    "launching is": ((0.0, 3.0, 1.0), 4.0, 4.0, 3.0),
    "data are": ((7.0, 1.0, 2.0), 10.0, 3.0, 8.0),
    "data hide behind the device": ((2.0, 1.0, 5.0), 8.0, 6.0, 5.0),
}


def run(machine: Machine, sync: str, monkeypatch: pytest.MonkeyPatch) -> timing.Timing:
    monkeypatch.setattr(timing, "perf_counter", lambda: machine.now)
    return time_batches(
        machine.step,
        machine.batches(),
        Schedule(COUNT, 2, sync=sync),
        synchronize=machine.synchronize,
        make_event=machine.event,
    )


@pytest.mark.parametrize("case", CASES)
def test_waiting_for_each_batch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is all of it; what the events say is launch and work, since the first is recorded before the launch."""
    (data, launch, work), batch, device, _ = CASES[case]
    found = run(Machine(data, launch, work), "each", monkeypatch)
    assert list(found.batches) == pytest.approx([batch] * COUNT)
    assert found.device is not None
    assert list(found.device) == pytest.approx([device] * COUNT)
    assert list(found.data_waits) == pytest.approx([data] * COUNT)
    assert found.total == pytest.approx(COUNT * batch)


@pytest.mark.parametrize("case", CASES)
def test_waiting_at_the_end(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is from the end of the one before to its own; together they are all of the time."""
    (data, launch, work), *_, batch = CASES[case]
    found = run(Machine(data, launch, work), "end", monkeypatch)
    assert list(found.batches)[1:] == pytest.approx([batch] * (COUNT - 1))
    assert found.batches[0] == pytest.approx(data + launch + work)  # nothing to hide behind yet
    assert found.device == found.batches
    assert sum(found.batches) == pytest.approx(found.total)


def test_warm_up_is_over_before_the_first_timed_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(Machine(0.0, 1.0, 50.0), "end", monkeypatch)
    assert list(found.warmup) == pytest.approx([51.0, 50.0])
    assert found.batches[0] == pytest.approx(51.0)


@pytest.mark.parametrize(("sync", "events"), [("each", 2 * (COUNT + 2)), ("end", COUNT + 1 + 2 + 1)])
def test_no_event_is_used_for_two_moments(sync: str, events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.0, 1.0, 1.0)
    run(machine, sync, monkeypatch)
    assert len(machine.events) == events
    assert not any(event.when != event.when for event in machine.events)  # each was recorded


def test_a_minimum_of_time_counts_the_time_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.0, 0.5, 2.0)
    monkeypatch.setattr(timing, "perf_counter", lambda: machine.now)
    found = time_batches(
        machine.step,
        machine.batches(),
        Schedule(1, 2, min_time=100.0, sync="end"),
        synchronize=machine.synchronize,
        make_event=machine.event,
    )
    assert 100.0 <= found.total <= 106.0
    assert found.device is not None
    assert len(found.device) == len(found.batches) in range(48, 53)
