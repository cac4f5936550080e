"""Batch times of one experiment over time, with the records of the monitor and warnings."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, field
from typing import Any

from dlbs.doubts import kind_of, warnings_of
from dlbs.logs import finite
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.statistics.outliers import Outlier, outliers
from dlbs.results.statistics.steady import steady_from
from dlbs.text import short_number, text

__all__ = ["FEWEST_BATCHES", "Series", "series_of"]

FEWEST_BATCHES = 20  # required to detect warm-up, steady part and outliers

_DRIFT = 0.03  # relative, of a clock
_WARMING = 5.0  # degrees Celsius
_COMPETING = 0.05  # share of the CPUs

_MONITOR = {
    "results.use.cpu": "CPU time, % of one core",
    "results.use.mem_res": "resident memory, bytes",
    "results.use.cpu_mhz": "CPU clock, MHz",
    "results.use.cpu_temp": "CPU temperature, °C",
    "results.use.power": "CPU power, W",
    "results.use.gpu_util": "GPU utilisation, %",
    "results.use.gpu_mem": "GPU memory, bytes",
    "results.use.gpu_power": "GPU power, W",
    "results.use.gpu_temp": "GPU temperature, °C",
    "results.use.gpu_clock": "GPU clock, MHz",
}


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


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list):
        return []
    good = [one for value in values if (one := finite(value)) is not None]
    return good if len(good) == len(values) else []


def _monitor(record: Record, began: float | None) -> dict[str, tuple[list[float], list[float]]]:
    moments = _numbers(record.get("results.use.time"))
    if not moments or began is None:
        return {}
    found = {}
    numbers = re.findall("[0-9]+", text(record.get("exp.gpu_ids")))
    for key, name in _MONITOR.items():
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
    if competing is not None and competing > _COMPETING:
        warnings.append(f"CPU contention: {100 * competing:.0f} %; rerun on an idle machine")
    neighbours = record.get("exp.neighbours")
    if isinstance(neighbours, list) and neighbours:
        warnings.append(
            f"{len(neighbours)} other experiments of the plan ran at the same time; run it alone with --jobs 1"
        )
    return warnings + [line for line in warnings_of(record) if kind_of(line) != "CPU contention" or competing is None]
