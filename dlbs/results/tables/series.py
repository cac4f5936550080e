"""Format the batch times of one experiment: as text with bars, outliers and warnings, or as a table with a row per batch."""

from __future__ import annotations

import itertools
import statistics

from benchmark_core.text import short_number
from dlbs.results.statistics.series import FEWEST_BATCHES, Series, smoothed
from dlbs.results.tables.table import Cell, Table

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 72
_MOST_OUTLIERS = 10


def series_lines(series: Series) -> list[str]:
    """Format a series for a terminal, line by line."""
    times = series.times
    settled = series.times[max(0, series.steady - len(series.warmup)) :]
    lines = [
        f"warm-up: {_batches(len(series.warmup))}; timed: {len(times)}, median {short_number(statistics.median(times))} ms, "
        f"{short_number(min(times))} to {short_number(max(times))} ms",
        "",
        *_spark("batch times, ms", [*series.warmup, *times], len(series.warmup)),
        *_spark("smoothed, ms", smoothed([*series.warmup, *times]), len(series.warmup)),
        "",
    ]
    if not series.is_conclusive:
        return [
            *lines,
            f"too few batches to detect warm-up, steady part and outliers: {FEWEST_BATCHES} are needed (exp.num_batches)",
            *_monitor_and_warnings(series),
        ]
    lines += [
        f"steady from batch {series.steady + 1} on, warm-up included: {_needed(series)}",
        f"median of the steady part: {short_number(statistics.median(settled))} ms",
    ]
    if series.outliers:
        lines.append(
            f"{len(series.outliers)} of {_batches(len(times))} {'are outliers' if len(series.outliers) > 1 else 'is an outlier'}:"
        )
        worst = sorted(series.outliers, key=lambda outlier: -abs(outlier.times_median - 1))[:_MOST_OUTLIERS]
        lines += [
            f"  batch {outlier.batch}: {short_number(outlier.time)} ms, {outlier.times_median:.2f} times the local median"
            for outlier in sorted(worst, key=lambda outlier: outlier.batch)
        ]
        if len(series.outliers) > _MOST_OUTLIERS:
            lines.append(f"  and {len(series.outliers) - _MOST_OUTLIERS} smaller ones")
    else:
        lines.append("no outliers")
    return [*lines, *_monitor_and_warnings(series)]


def series_table(title: str, series: Series) -> Table:
    """Time, running median and end of each batch; a row for each, those of the warm-up first."""
    outliers = {outlier.batch for outlier in series.outliers}
    rows = [[f"warm-up {number}"] for number in range(1, len(series.warmup) + 1)]
    cells = [[Cell(time), Cell(None, "warm-up"), Cell(None, "warm-up"), Cell("")] for time in series.warmup]
    found = zip(series.times, smoothed(series.times), series.ends, strict=True)
    for number, (time, middle, end) in enumerate(found, 1):
        rows.append([str(number)])
        cells.append([Cell(time), Cell(middle), Cell(end), Cell("outlier" if number in outliers else "")])
    columns = ["time, ms", "running median, ms", "end, s", "mark"]
    return Table(title, ["batch"], rows, columns, cells)


def _monitor_and_warnings(series: Series) -> list[str]:
    lines = []
    for name, (_, values) in series.monitor.items():
        lines += ["", *_spark(name, values, 0)]
    return [*lines, *(f"warning: {warning}" for warning in series.warnings)]


def _batches(count: int) -> str:
    return f"{count:,} batch{'' if count == 1 else 'es'}"


def _needed(series: Series) -> str:
    if series.steady == 0:
        return "no warm-up was needed" if series.warmup else "the timed batches needed no further warm-up"
    return f"{_batches(series.steady)} of warm-up {'were' if series.steady > 1 else 'was'} needed"


def _spark(name: str, values: list[float], warmup: int) -> list[str]:
    """Format a line of bars with its scale; a mark below shows where timing began."""
    columns = min(_WIDTH, len(values))
    edges = [round(index * len(values) / columns) for index in range(columns + 1)]
    means = [statistics.fmean(values[begin:end]) for begin, end in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(_BARS[round((mean - low) * scale)] for mean in means)
    lines = [f"{name}, {short_number(low)} to {short_number(high)}", f"  {bars}"]
    if warmup:
        lines.append("  " + " " * min(columns - 1, round(warmup * columns / len(values))) + "↑ timed from here")
    return lines
