"""The batch times of one experiment over time: where they came to rest, which stand out, and what the machine did meanwhile."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.text import short_number

__all__ = ["Outlier", "Series", "series_of", "smoothed", "steady_from"]

_OUTLIER = 5.0  # robust standard deviations from the median of the neighbours

_DRIFT = 0.03  # of a clock

_WARMING = 5.0  # degrees Celsius

_COMPETING = 0.05  # share of the processors

_WINDOW = 11  # batches

_MONITOR = {
    "results.use.cpu": "processor time, % of one core",
    "results.use.mem_res": "resident memory, bytes",
    "results.use.cpu_mhz": "processor clock, MHz",
    "results.use.cpu_temp": "processor temperature, °C",
    "results.use.power": "processor power, W",
    "results.use.gpu_util": "GPU utilisation, %",
    "results.use.gpu_mem": "GPU memory, bytes",
    "results.use.gpu_power": "GPU power, W",
    "results.use.gpu_temp": "GPU temperature, °C",
    "results.use.gpu_clock": "GPU clock, MHz",
}


@dataclass(frozen=True, slots=True)
class Outlier:
    """A batch that took much longer or shorter than those around it.

    Attributes:
        batch: Its number among the timed batches, from 1.
        time: Milliseconds.
        times_median: The same as a multiple of the median of its neighbours.
    """

    batch: int
    time: float
    times_median: float


@dataclass(slots=True)
class Series:
    """Batch times with what happened around them.

    Attributes:
        warmup: Times of warm-up batches in milliseconds; empty if the log does not have them.
        times: Times of timed batches in milliseconds.
        began: When the first timed batch began, in seconds since 1970; None if it is not known.
        steady: How many of all batches, warm-up included, belong to the time before they came to rest.
        outliers: Timed batches that stand out.
        monitor: What was watched → (seconds since the first timed batch, values); one entry for each GPU.
        warnings: What makes the times doubtful, and what to do about it.
    """

    warmup: list[float]
    times: list[float]
    began: float | None
    steady: int
    outliers: list[Outlier]
    monitor: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def ends(self) -> list[float]:
        """When each timed batch ended, in seconds since the first one began."""
        ends, total = [], 0.0
        for time in self.times:
            total += time / 1000
            ends.append(total)
        return ends


def series_of(record: Record) -> Series | None:
    """The series of an experiment; None if its log has no batch times."""
    times = _numbers(record.get("results.time_data"))
    if not times:
        return None
    warmup = _numbers(record.get("results.time_warmup_data"))
    made = Series(
        warmup, times, number(record, "results.time_data_start"), steady_from([*warmup, *times]), _outliers(times)
    )
    made.monitor = _monitor(record, made.began)
    made.warnings = _warnings(record, made)
    return made


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list):
        return []
    good = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    return good if len(good) == len(values) else []


def smoothed(values: Sequence[float], window: int = _WINDOW) -> list[float]:
    """Running median: single slow batches do not move it."""
    half = window // 2
    return [statistics.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def steady_from(times: Sequence[float]) -> int:
    """How many batches at the beginning belong to the warm-up: those without which the mean of the rest is best known.

    The marginal standard error rule (White 1997): the truncation with the least variance of the mean of what is left, over batches in fives
    where there are enough, and never more than half of them: a series that still moves then never came to rest. The rule is used on the running
    median, so that a single slow batch late in the series does not count as warm-up.
    """
    count = len(times)
    if count < 6:
        return 0
    values = smoothed(times, 5)
    # Sums from the end, so that each truncation costs the same.
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
    # What lies within the noise of the rest needs no truncation, whatever the rule prefers.
    noise = max(_noise(values[found:]), 0.01 * rest)
    while found > 0 and abs(values[found - 1] - rest) <= 3 * noise:
        found -= 1
    return found


def _noise(values: Sequence[float]) -> float:
    """A robust standard deviation: the median absolute deviation, scaled as for the normal distribution."""
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)


def _outliers(times: Sequence[float]) -> list[Outlier]:
    """The Hampel identifier: far from the running median, measured by the robust deviation of all distances."""
    if len(times) < 10:
        return []
    medians = smoothed(times)
    noise = max(
        _noise([time - median for time, median in zip(times, medians, strict=True)]), 0.01 * statistics.median(times)
    )
    return [
        Outlier(at + 1, time, time / median)
        for at, (time, median) in enumerate(zip(times, medians, strict=True))
        if median > 0 and abs(time - median) > _OUTLIER * noise
    ]


def _monitor(record: Record, began: float | None) -> dict[str, tuple[list[float], list[float]]]:
    moments = _numbers(record.get("results.use.time"))
    if not moments or began is None:
        return {}
    found = {}
    for key, name in _MONITOR.items():
        values = record.get(key)
        rows = values if isinstance(values, list) else []
        many = bool(rows) and all(isinstance(row, list) for row in rows)
        for index, row in enumerate(rows if many else [rows]):
            pairs = [
                (moment - began, float(value))
                for moment, value in zip(moments, row, strict=False)
                if isinstance(value, (int, float)) and not isinstance(value, bool)
            ]
            if pairs:
                title = f"{name} (GPU {index})" if many and len(rows) > 1 else name
                found[title] = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return found


def _warnings(record: Record, series: Series) -> list[str]:
    warnings = []
    total, warmup = len(series.warmup) + len(series.times), len(series.warmup)
    known = warmup if series.warmup else int(number(record, "results.warmup_batches") or 0)
    if series.steady > warmup:
        late = series.steady - warmup
        if series.steady >= total // 2:
            warnings.append("batch times never came to rest: run more batches, and look for what else runs")
        else:
            warnings.append(
                f"the warm-up was too short: the first {late} timed batches belong to it; "
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
                f"{name} drifted from {short_number(before)} to {short_number(after)}: fix the clock, or cool better"
            )
        if "temperature" in name and after - before > _WARMING:
            warnings.append(f"{name} rose from {short_number(before)} to {short_number(after)}: warm up for longer")
    competing = number(record, "results.competing_load")
    if competing is not None and competing > _COMPETING:
        warnings.append(f"other programs used {competing:.0%} of the processors meanwhile: run it alone")
    neighbours = record.get("exp.neighbours")
    if isinstance(neighbours, list) and neighbours:
        warnings.append(f"{len(neighbours)} other experiments of the plan ran at the same time: --jobs 1 runs it alone")
    logged = record.get("results.warnings")
    own = [line for line in logged if isinstance(line, str)] if isinstance(logged, list) else []
    return warnings + [line for line in own if not ("other programs" in line and competing is not None)]
