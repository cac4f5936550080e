"""Progress of a benchmark: a line with the rate so far, every few seconds, printed between batches and never while one is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

from pytorch_benchmarks.measure.timing import WINDOW, Schedule

__all__ = ["INTERVAL", "Moments", "Progress", "rate_words"]

INTERVAL = 5.0  # seconds before the first line, and between lines
_SHARE = 0.02  # of the time so far that passes between lines, where that is more: a day makes about 300 lines


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


class Progress:
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
            rate = rate_words(self._instances, median(times[-WINDOW:]), self._unit)
            _print(f"{rate} in warm-up, batch {len(times):,}{of}")

    def timed(self, times: Sequence[float], total: float) -> None:
        """So many timed batches have run, in `total` seconds."""
        if self._moments.is_due():
            rate = rate_words(self._instances * len(times), total, self._unit)
            if self._schedule.min_time:
                how_far = f"{total:.0f} of {self._schedule.min_time:g} s, batch {len(times):,}"
            else:
                how_far = f"batch {len(times):,} of {self._schedule.count:,}"
            _print(f"{rate} so far, {how_far}")


def rate_words(instances: float, seconds: float, unit: str) -> str:
    """`812.3 images/s`."""
    return f"{instances / seconds if seconds > 0 else 0.0:.1f} {unit}/s"


def _print(line: str) -> None:
    print(line, flush=True)
