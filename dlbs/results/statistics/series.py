"""Series of numbers over time: batch times of one experiment with its monitor and warnings, and change points with a known rate of false alarms."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark_core.doubts import cpu_contention, doubt_kind, warnings_of
from benchmark_core.text import short_number
from dlbs.core.errors import require
from dlbs.core.text import are_finite, finite, text
from dlbs.results.keys import key_title, unit_of
from dlbs.results.runs import Record, number

if TYPE_CHECKING:
    import numpy

WINDOW = 11  # batches


def smoothed(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Running median, which ignores single slow batches."""
    half = window // 2
    return [statistics.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def steady_from(times: Sequence[float]) -> int:
    """Number of warm-up batches at the beginning: without them, the mean of the rest is most precise.

    The marginal standard error rule (White 1997): the truncation with the smallest variance of the mean of the rest, in batches of five if there
    are enough, and at most half of them: a series that still changes then never became steady. The rule is applied to the running median, so
    that a single slow batch late in the series does not count as warm-up.
    """
    count = len(times)
    if count < 6:
        return 0
    values = smoothed(times, 5)
    # Cumulative sums from the end, so that each truncation has constant cost.
    best, found = math.inf, 0
    total = squares = 0.0
    shift = values[-1]  # near the mean, for exact sums of squares
    for start in range(count - 1, -1, -1):
        value = values[start] - shift
        total += value
        squares += value**2
        left = count - start
        if start > count // 2 or left < 3:
            continue
        error = max(0.0, squares - total**2 / left) / left**2
        if error <= best * (1 + 1e-9):
            best, found = error, start
    rest = statistics.median(values[found:])
    # Values within the noise of the rest need no truncation, whatever the rule prefers.
    noise = max(noise_of(values[found:]), 0.01 * rest)
    while found > 0 and abs(values[found - 1] - rest) <= 3 * noise:
        found -= 1
    return found


def noise_of(values: Sequence[float]) -> float:
    """Robust standard deviation: the median absolute deviation, scaled for the normal distribution."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)


_FAR = 5.0  # robust standard deviations from the local median


@dataclass(frozen=True, slots=True)
class Outlier:
    """A batch that took much longer or shorter than adjacent ones.

    Attributes:
        batch: Its number among the timed batches, from 1.
        time: Milliseconds.
        times_median: Its time as a multiple of the local median.
    """

    batch: int
    time: float
    times_median: float


def outliers(times: Sequence[float]) -> list[Outlier]:
    """Find outliers with the Hampel identifier: by distance from the running median, in robust standard deviations of all distances."""
    if len(times) < 10:
        return []
    medians = smoothed(times)
    noise = max(
        noise_of([time - median for time, median in zip(times, medians, strict=True)]), 0.01 * statistics.median(times)
    )
    return [
        Outlier(at + 1, time, time / median)
        for at, (time, median) in enumerate(zip(times, medians, strict=True))
        if median > 0 and abs(time - median) > _FAR * noise
    ]


FEWEST_BATCHES = 20  # required to detect warm-up, steady part and outliers

_DRIFT = 0.03  # relative, of a clock
_WARMING = 5.0  # degrees Celsius

_MONITOR = tuple(
    f"results.use.{name}"
    for name in (
        "cpu",
        "mem_res",
        "cpu_mhz",
        "cpu_temp",
        "power",
        "gpu_util",
        "gpu_mem",
        "gpu_power",
        "gpu_temp",
        "gpu_clock",
    )
)


@dataclass(slots=True)
class Series:
    """Batch times of one experiment with their context.

    Attributes:
        warmup: Times of warm-up batches in milliseconds; empty if the log lacks them.
        times: Times of timed batches in milliseconds.
        began: Start of the first timed batch in seconds since 1970; None if unknown.
        steady: Number of batches, including warm-up, before the steady state.
        outliers: Outliers among the timed batches.
        monitor: Monitored quantity → (seconds since the first timed batch, values); one entry for each GPU.
        warnings: Warnings about the times, with advice.
    """

    warmup: list[float]
    times: list[float]
    began: float | None
    steady: int
    outliers: list[Outlier]
    monitor: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_conclusive(self) -> bool:
        """Whether there are enough batches to find the steady part and outliers."""
        return len(self.warmup) + len(self.times) >= FEWEST_BATCHES

    @property
    def ends(self) -> list[float]:
        """End of each timed batch, in seconds since the start of the first one."""
        ends, total = [], 0.0
        for time in self.times:
            total += time / 1000
            ends.append(total)
        return ends


def series_of(record: Record) -> Series | None:
    """Make the series of an experiment; None if its log has no batch times."""
    times = _numbers(record.get("results.time_data"))
    if not times:
        return None
    warmup = _numbers(record.get("results.time_warmup_data"))
    made = Series(
        warmup, times, number(record, "results.time_data_start"), steady_from([*warmup, *times]), outliers(times)
    )
    made.monitor = _monitor(record, made.began)
    made.warnings = _warnings(record, made)
    return made


def _numbers(values: object) -> list[float]:
    return list(map(float, values)) if are_finite(values) else []


def _monitor(record: Record, began: float | None) -> dict[str, tuple[list[float], list[float]]]:
    moments = _numbers(record.get("results.use.time"))
    if not moments or began is None:
        return {}
    found = {}
    numbers = re.findall("[0-9]+", text(record.get("exp.gpu_ids")))
    for key in _MONITOR:
        name = f"{key_title(key)}, {unit_of(key)}"
        values = record.get(key)
        rows = values if isinstance(values, list) else []
        many = bool(rows) and all(isinstance(row, list) for row in rows)
        for index, row in enumerate(rows if many else [rows]):
            pairs = [
                (moment - began, one)
                for moment, value in zip(moments, row, strict=False)
                if (one := finite(value)) is not None
            ]
            if pairs:
                number_of = numbers[index] if len(numbers) == len(rows) else index
                title = f"{name} (GPU {number_of})" if many and len(rows) > 1 else name
                found[title] = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return found


def _warnings(record: Record, series: Series) -> list[str]:
    warnings = []
    total, warmup = len(series.warmup) + len(series.times), len(series.warmup)
    known = warmup if series.warmup else int(number(record, "results.warmup_batches") or 0)
    if series.is_conclusive and series.steady > warmup:
        late = series.steady - warmup
        if series.steady >= total // 2:
            warnings.append("batch times did not reach a steady state: run more batches, and check for competing load")
        else:
            warnings.append(
                f"the warm-up was too short by {late} batch{'es' if late > 1 else ''}; set "
                f"-Pexp.num_warmup_batches={known + late} or auto"
            )
    end = series.ends[-1]
    for name, (moments, values) in series.monitor.items():
        inside = [value for moment, value in zip(moments, values, strict=True) if -0.5 <= moment <= end + 0.5]
        if len(inside) < 3:
            continue
        third = max(1, len(inside) // 3)
        before, after = statistics.fmean(inside[:third]), statistics.fmean(inside[-third:])
        if "clock" in name and before > 0 and abs(after / before - 1) > _DRIFT:
            warnings.append(
                f"{name} drifted from {short_number(before)} to {short_number(after)}: fix the clock frequency or improve cooling"
            )
        if "temperature" in name and after - before > _WARMING:
            warnings.append(f"{name} rose from {short_number(before)} to {short_number(after)}: use a longer warm-up")
    competing = number(record, "results.competing_load")
    warnings += cpu_contention(competing)
    neighbours = record.get("exp.neighbours")
    if isinstance(neighbours, list) and neighbours:
        warnings.append(
            f"{len(neighbours)} other experiments of the plan ran at the same time; run it alone with --jobs 1"
        )
    return warnings + [
        line for line in warnings_of(record) if doubt_kind(line) != "CPU contention" or competing is None
    ]


FALSE_ALARMS = 0.01  # share of series without a change in which one is reported
FEWEST = 2  # values between two changes
FEWEST_POINTS = 10  # of fewer values, more than 1 % of the permutations are as extreme as any change
_PERMUTATIONS = 999
_ENOUGH = 10  # permutations at least as extreme, after which the result is certain
_MOST = 400  # values that are analysed: the cost is quadratic


def change_points(values: Sequence[float], *, false_alarms: float = FALSE_ALARMS, seed: int = 1) -> list[int]:
    """Find changes in the distribution of a series: the indices of the first values after each change, in order.

    The split with the largest energy distance between both sides is tested by permuting the values. If it is significant, both sides are searched
    in the same way (Matteson and James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", JASA 109, 2014, with
    exponent 1; as used by MongoDB and Hunter for benchmarks). Permutations stop as soon as ten are at least as extreme, and the test stays exact
    (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).

    In a series of exchangeable values of any distribution, the probability of a reported change is at most `false_alarms`. Pass positive values
    as measured: distances are those of their logarithms. Of longer series, only the last 400 values are analysed.

    Args:
        values: In chronological order.
        false_alarms: Significance level of each test; below 1/1000, nothing is ever found.
        seed: Seed of the permutations, so that the same series always has the same changes.

    Raises:
        LogError: NumPy is not installed.
    """
    numpy = require("numpy", "reports")
    offset = max(0, len(values) - _MOST)
    series = numpy.asarray(values[offset:], dtype=float)
    if (series > 0).all():
        series = numpy.log(series)
    source = numpy.random.default_rng(seed)
    found: list[int] = []
    todo = [(0, len(series))]
    while todo:
        first, end = todo.pop()
        at = _split(numpy, series[first:end], false_alarms, source)
        if at is not None:
            found.append(offset + first + at)
            todo += [(first, first + at), (first + at, end)]
    return sorted(found)


class Level(NamedTuple):
    """A part of a series between two changes: its first value, the one after its last, and its median."""

    first: int
    end: int
    median: float


def levels_of(values: Sequence[float]) -> list[Level]:
    """The parts of a series between the changes that `change_points` finds."""
    edges = pairwise([0, *change_points(values), len(values)])
    return [Level(first, end, statistics.median(values[first:end])) for first, end in edges if first < end]


def _split(numpy: Any, values: numpy.ndarray, level: float, source: Any) -> int | None:
    """Index of the most significant change; None if none is significant."""
    count = len(values)
    if count < 2 * FEWEST:
        return None
    distances = numpy.abs(values[:, None] - values[None, :])
    if not distances.any():
        return None
    statistics = _energies(numpy, distances, numpy.arange(count)[None, :])[0]
    at = int(statistics.argmax())
    # Sums of the same numbers in another order differ in the last bits.
    largest = statistics[at] * (1 - 1e-9)
    extreme = done = 0
    while done < _PERMUTATIONS:
        # As many at once as the test needs at least, so that their order alone decides where it stops.
        several = min(_ENOUGH - extreme, _PERMUTATIONS - done)
        orders = numpy.array([source.permutation(count) for _ in range(several)])
        extreme += int((_energies(numpy, distances, orders).max(axis=1) >= largest).sum())
        done += several
        if extreme >= _ENOUGH:
            return at + FEWEST if extreme / done <= level else None
    return at + FEWEST if (extreme + 1) / (_PERMUTATIONS + 1) <= level else None


def _energies(numpy: Any, distances: numpy.ndarray, orders: numpy.ndarray) -> Any:
    """Scaled energy distance of both sides of each split with enough values on either side.

    Args:
        numpy: The module.
        distances: Of each value to each; shape (values, values).
        orders: Permutations of the values; shape (permutations, values).

    Returns:
        Shape (permutations, splits).
    """
    count = len(distances)
    # Distances of a value to those before it and to those after it, summed over the first k values, and over the last count - k.
    before = numpy.einsum("pij,ij->pi", distances[orders[:, :, None], orders[:, None, :]], numpy.tri(count))
    after = distances.sum(axis=1)[orders] - before
    inner = before.cumsum(axis=1)
    outer = after[:, ::-1].cumsum(axis=1)[:, ::-1]
    left = numpy.arange(FEWEST, count - FEWEST + 1)
    right = count - left
    within_left, within_right = inner[:, left - 1], outer[:, left]
    across = inner[:, -1:] - within_left - within_right
    mean_left = within_left / (left * (left - 1) / 2)
    mean_right = within_right / (right * (right - 1) / 2)
    return left * right / count * (2 * across / (left * right) - mean_left - mean_right)
