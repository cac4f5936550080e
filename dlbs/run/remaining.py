"""The remaining time of a plan, estimated from the durations of the experiments that have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlbs.text import duration

__all__ = ["CONFIDENCE", "Durations", "Remaining", "remaining_seconds", "remaining_time"]

CONFIDENCE = 0.9  # level of the interval of the remaining time
_QUANTILE = 1.645  # quantile of the normal distribution for that level
_FEWEST = 3  # durations that an interval requires


@dataclass(slots=True)
class Durations:
    """The durations of ended experiments: count, mean, and sum of squared differences from the mean (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.count += 1
        away = seconds - self.mean
        self.mean += away / self.count
        self.squares += away * (seconds - self.mean)

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Durations:
        """The durations of several experiments."""
        found = cls()
        for one in seconds:
            found.add(one)
        return found


@dataclass(frozen=True, slots=True)
class Remaining:
    """The remaining time in seconds.

    Attributes:
        seconds: The estimate.
        low, high: Its 90 % interval; None if too few experiments have ended.
    """

    seconds: float
    low: float | None = None
    high: float | None = None

    def words(self) -> str:
        """`about 20 min 5 s left (18 min to 24 min)`."""
        words = f"about {duration(self.seconds)} left"
        if self.low is None or self.high is None:
            return words
        low, high = _rough(self.low), _rough(self.high)
        return words if low == high else f"{words} ({low} to {high})"


def _rough(seconds: float) -> str:
    """A duration in words; longer ones are rounded to minutes."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return duration(seconds)
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def remaining_time(durations: Durations, left: int, running: Sequence[float], slots: int) -> Remaining | None:
    """The time until the last experiment ends, with its interval; None before the first has ended.

    The interval assumes independent durations and Student's distribution; it includes the spread of future durations and the error of the mean. It does not
    model plans in which long experiments come last.

    Args:
        durations: Durations of the experiments that have ended.
        left: Experiments that have not ended, those that are running included.
        running: Elapsed seconds of each running experiment.
        slots: Experiments that run at the same time.
    """
    if not durations.count:
        return None
    seconds = remaining_seconds(durations.mean, left, running, slots)
    if durations.count < _FEWEST:
        return Remaining(seconds)
    variance = durations.squares / (durations.count - 1)
    spread = math.sqrt(variance * (left + left**2 / durations.count)) / max(1, min(slots, left))
    half = _student(durations.count - 1) * spread
    return Remaining(seconds, max(0.0, seconds - half), seconds + half)


def _student(freedom: int) -> float:
    """The quantile of Student's distribution, by its expansion (Abramowitz and Stegun 26.7.5): within 6 % from two degrees of freedom on."""
    z = _QUANTILE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def remaining_seconds(mean: float, left: int, running: Sequence[float], slots: int) -> float:
    """Seconds until the last experiment ends.

    Args:
        mean: Duration of an experiment in seconds.
        left: Experiments that have not ended, those that are running included.
        running: Elapsed seconds of each running experiment.
        slots: Experiments that run at the same time.
    """
    rests = [max(0.0, mean - taken) for taken in running]
    work = sum(rests) + mean * max(0, left - len(rests))
    # An experiment cannot be divided between slots.
    return max([work / max(1, min(slots, left)), *rests])
