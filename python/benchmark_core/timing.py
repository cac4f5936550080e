"""The timed loop of batches, whatever they compute, and lines of progress between them."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import Any, Protocol

from benchmark_core.turns import Turns

# Automatic warm-up ends when the median of five batches differs by at most 3 % from that of the previous five.
WINDOW, TOLERANCE = 5, 0.03
MOST_WARMUP_BATCHES, MOST_WARMUP_SECONDS = 200, 60.0
_LONG_BATCH = 0.25  # of a turn: the first batch of a turn counts if it takes longer
_MOST_AT_A_TIME = 10_000  # events and times that are preallocated
INTERVAL = 5.0  # seconds before the first line, and between lines
_SHARE = 0.02  # of the time so far that passes between lines, where that is more: a day makes about 300 lines


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many batches to run, and when to wait for the device.

    Attributes:
        count: Timed batches, at least one.
        warmup: Warm-up batches; None runs them until their times are steady, at most 200 batches or one minute.
        min_time: Minimum total seconds of the timed batches; 0 runs `count` batches instead.
        sync: `each` waits for the device before and after every batch; `end` lets it run ahead and waits once, as a training loop
            does: a batch's time is then measured from the end of the previous batch on the device to its own end.
    """

    count: int
    warmup: int | None = 0
    min_time: float = 0.0
    sync: str = "each"


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of batches, in seconds.

    Attributes:
        batches: Time of each batch, from before its data are requested until the device has finished it.
        data_waits: Time of each batch spent waiting for its data.
        device: Device time between start and end of each batch's work; None where it cannot be measured.
        total: Wall time of all timed batches.
        warmup: Time of each warm-up batch; the very first includes allocation, tuning and compilation.
        began: Start of the first timed batch, in seconds since 1970.
        warmup_steady: Whether automatic warm-up ended because times were steady; None if it was not automatic.
        result: Result of the last step.
    """

    batches: array[float]
    data_waits: array[float]
    device: array[float] | None
    total: float
    warmup: array[float]
    began: float
    warmup_steady: bool | None
    result: Any

    @property
    def first(self) -> float:
        """Time of the very first batch."""
        return (self.warmup or self.batches)[0]


class Marker(Protocol):
    """A marker in the device's stream of work, with the time at which the device reached it."""

    def record(self) -> Any: ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this event to a later one."""


class Sampler(Protocol):
    """Samples the machine just before and just after the timed batches, never between them."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Watcher(Protocol):
    """Receives the progress of the batches, between two of them, at times that it chooses."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the next report is due."""

    def warmed_up(self, times: Sequence[float]) -> None:
        """Seconds that each warm-up batch took so far."""

    def timed(self, times: Sequence[float], total: float) -> None:
        """Seconds that each timed batch took so far, and all of them together."""


def time_batches(
    step: Callable[[Any], Any],
    batches: Iterator[Any],
    schedule: Schedule,
    *,
    synchronize: Callable[[], Any],
    make_event: Callable[[], Marker] | None = None,
    observers: Sequence[Sampler] = (),
    agree: Callable[[int], int] = lambda number: number,
    watcher: Watcher | None = None,
    turns: Turns | None = None,
    load: Callable[[], float | None] = lambda: None,
) -> Timing:
    """Warm up, then time batches.

    Garbage is collected beforehand and not while timing; the loop neither allocates nor prints. A watcher splits long runs into several loops and can
    print between them; the time between loops is not counted.

    Args:
        step: Does the work of one batch.
        batches: Source of the data.
        schedule: Numbers of batches.
        synchronize: Waits until the device has finished all work.
        make_event: Creates events in the device's stream; None if it has no events.
        observers: Notified when the timed batches begin and end.
        agree: Maximum over all processes of a number: they must run the same number of batches, in the same loops.
        watcher: Notified of the progress between loops; None, in all processes, runs all batches in as few loops as possible.
        turns: Turns that alternate with those of other processes; they, not the schedule, then determine the number of timed batches.
        load: Share of the CPUs that other programs used in the last turn, for its record.
    """
    order = None if turns is None else iter(turns)
    if order is not None:
        next(order)  # the first turn is for warm-up
    run = _Run(step, batches, synchronize, make_event, schedule.sync, agree, watcher)
    steady = None
    if schedule.warmup is None:
        steady = _warm_up_until_steady(run, agree)
    else:
        run.extend(schedule.warmup)
    warmup = run.take()
    with _no_garbage_collection():
        began = time()
        if turns is not None and order is not None:
            for seconds in order:
                with _sampled(observers):
                    batches_before, total = len(run.times.batches), run.times.total
                    run.turn(seconds)
                turns.add(len(run.times.batches) - batches_before, run.times.total - total, load())
        else:
            with _sampled(observers):
                began = time()
                if schedule.min_time:
                    while left := agree(_batches_left(run, warmup, schedule.min_time)):
                        run.extend(left)
                else:
                    run.extend(schedule.count)
    timed = run.take()
    return Timing(timed.batches, timed.waits, timed.device, timed.total, warmup.batches, began, steady, run.result)


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last five batches took as long as the previous five, within 3 %."""
    if len(times) < 2 * WINDOW:
        return False
    before, last = statistics.median(times[-2 * WINDOW : -WINDOW]), statistics.median(times[-WINDOW:])
    return abs(last - before) <= TOLERANCE * before


def _warm_up_until_steady(run: _Run, agree: Callable[[int], int]) -> bool:
    while True:
        run.extend(WINDOW)
        steady = is_steady(run.times.batches)
        over = len(run.times.batches) >= MOST_WARMUP_BATCHES or run.times.total >= MOST_WARMUP_SECONDS
        if not agree(int(not steady and not over)):
            return steady


def _batches_left(run: _Run, warmup: _Times, seconds: float) -> int:
    """Estimate the number of batches still needed; 0 when the time is reached."""
    missing = seconds - run.times.total
    if missing <= 0:
        return 0
    known = (run.times.batches or warmup.batches)[-WINDOW:]
    if not known:
        return 1
    return min(_MOST_AT_A_TIME, max(1, math.ceil(missing / max(statistics.median(known), 1e-9))))


@dataclass(slots=True)
class _Times:
    batches: array[float]
    waits: array[float]
    device: array[float] | None
    total: float = 0.0


@dataclass(slots=True)
class _Run:
    """Batches that run in sequence, with their times so far."""

    step: Callable[[Any], Any]
    batches: Iterator[Any]
    synchronize: Callable[[], Any]
    make_event: Callable[[], Marker] | None
    sync: str
    agree: Callable[[int], int]
    watcher: Watcher | None
    result: Any = None
    times: _Times = field(init=False)
    _is_warm: bool = False
    _known: float = 0.0  # seconds of a batch; 0 before the first one

    def __post_init__(self) -> None:
        self.times = self._none()

    def _none(self) -> _Times:
        return _Times(array("d"), array("d"), None if self.make_event is None else array("d"))

    def take(self) -> _Times:
        """Return the times so far and start new ones."""
        times, self.times = self.times, self._none()
        self._is_warm = True
        return times

    def extend(self, count: int) -> None:
        """Run `count` more batches. The watcher is called between them, never while one is timed.

        All processes pause where one of them has a watcher: a process that ran on would wait in its next batch, which would take longer.
        """
        while count > 0:
            part = min(count, self.agree(self._batches_until_report()) or count)
            self._loop(part)
            count -= part
            if self.watcher is not None:
                self._known = statistics.median(self.times.batches[-WINDOW:])
                if self._is_warm:
                    self.watcher.timed(self.times.batches, self.times.total)
                else:
                    self.watcher.warmed_up(self.times.batches)

    def turn(self, seconds: float) -> None:
        """Run batches for about `seconds`, at least one; a short first one, for which caches and clocks are cold, is not counted."""
        counted, self.times = self.times, self._none()
        self._loop(1)
        first = self.times.total
        if first > _LONG_BATCH * seconds:
            self.times.batches[:0], self.times.waits[:0] = counted.batches, counted.waits
            if self.times.device is not None and counted.device is not None:
                self.times.device[:0] = counted.device
            self.times.total += counted.total
        else:
            self.times = counted
        usual = statistics.median(self.times.batches[-WINDOW:]) if self.times.batches else first
        missing = round((seconds - first) / max(usual, 1e-9))
        if missing > 0 or self.times is counted:
            self._loop(min(_MOST_AT_A_TIME, max(1, missing)))

    def _batches_until_report(self) -> int:
        """Estimated number of batches until the next report is due; one if unknown, 0 without a watcher."""
        if self.watcher is None:
            return 0
        if not self._known:
            return 1
        return max(1, math.ceil(self.watcher.seconds_left / max(self._known, 1e-9)))

    def _loop(self, count: int) -> None:
        """Run `count` batches, one after the other."""
        events = (
            []
            if self.make_event is None
            else [self.make_event() for _ in range(2 * count if self.sync == "each" else count + 1)]
        )
        times, waits = array("d", bytes(8 * count)), array("d", bytes(8 * count))
        if self.sync == "each":
            self._each(times, waits, events)
            total = sum(times)
            on_device = [begin.elapsed_time(end) / 1000 for begin, end in zip(events[::2], events[1::2], strict=True)]
        else:
            total = self._to_the_end(times, waits, events)
            on_device = [begin.elapsed_time(end) / 1000 for begin, end in itertools.pairwise(events)]
            if events:  # the host only knows when it submitted the batch to the device
                times = array("d", on_device)
        self.times.batches.extend(times)
        self.times.waits.extend(waits)
        if self.times.device is not None:
            self.times.device.extend(on_device)
        self.times.total += total

    def _each(self, times: array[float], waits: array[float], events: Sequence[Marker]) -> None:
        step, batches, synchronize = self.step, self.batches, self.synchronize
        result = None
        for index in range(len(times)):
            synchronize()
            start = perf_counter()
            batch = next(batches)
            ready = perf_counter()
            if events:
                events[2 * index].record()
            result = step(batch)
            if events:
                events[2 * index + 1].record()
            synchronize()
            end = perf_counter()
            times[index] = end - start
            waits[index] = ready - start
        self.result = result

    def _to_the_end(self, times: array[float], waits: array[float], events: Sequence[Marker]) -> float:
        """Total wall time of all batches, in seconds."""
        step, batches = self.step, self.batches
        result = None
        self.synchronize()
        begin = perf_counter()
        if events:
            events[0].record()
        for index in range(len(times)):
            start = perf_counter()
            batch = next(batches)
            ready = perf_counter()
            result = step(batch)
            if events:
                events[index + 1].record()
            times[index] = perf_counter() - start
            waits[index] = ready - start
        self.synchronize()
        self.result = result
        return perf_counter() - begin


@contextmanager
def _sampled(observers: Sequence[Sampler]) -> Iterator[None]:
    for observer in observers:
        observer.start()
    yield
    for observer in reversed(observers):
        observer.stop()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    ours = gc.get_freeze_count() == 0  # objects frozen by other code stay frozen
    if ours:
        gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if ours:
            gc.unfreeze()


class Moments:
    """When lines of progress are due: short programs print none, and lines of long ones become rare.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._next = self._began + INTERVAL

    @property
    def seconds_left(self) -> float:
        """Seconds until a line is due, at least 0."""
        return max(0.0, self._next - self._clock())

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def is_due(self) -> bool:
        """Whether a line is due; if so, the next one is due later."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + max(INTERVAL, _SHARE * (now - self._began))
        return True


class ProgressLines:
    """Print the progress of a benchmark: `812.3 images/s so far, batch 40 of 100`.

    Args:
        schedule: How many batches there are.
        instances: In one batch of all replicas together.
        unit: Of an instance.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, schedule: Schedule, instances: int, unit: str, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._schedule, self._instances, self._unit = schedule, instances, unit
        self._moments = Moments(clock)

    @property
    def seconds_left(self) -> float:
        """Seconds until a line is due."""
        return self._moments.seconds_left

    def warmed_up(self, times: Sequence[float]) -> None:
        """So many warm-up batches have run. The rate is that of the last ones: the first batch of all takes much longer."""
        if self._moments.is_due():
            of = "" if self._schedule.warmup is None else f" of {self._schedule.warmup:,}"
            rate = rate_words(self._instances, statistics.median(times[-WINDOW:]), self._unit)
            print(f"{rate} in warm-up, batch {len(times):,}{of}", flush=True)

    def timed(self, times: Sequence[float], total: float) -> None:
        """So many timed batches have run, in `total` seconds."""
        if self._moments.is_due():
            rate = rate_words(self._instances * len(times), total, self._unit)
            if self._schedule.min_time:
                how_far = f"{total:.0f} of {self._schedule.min_time:g} s, batch {len(times):,}"
            else:
                how_far = f"batch {len(times):,} of {self._schedule.count:,}"
            print(f"{rate} so far, {how_far}", flush=True)


def rate_words(instances: float, seconds: float, unit: str) -> str:
    """`812.3 images/s`."""
    return f"{instances / seconds if seconds > 0 else 0.0:.1f} {unit}/s"
