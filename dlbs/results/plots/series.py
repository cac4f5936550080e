"""Plot the batch times of runs: one run with the records of the monitor, several runs in a panel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.experiment import describe
from dlbs.extras import require
from dlbs.results.grouping import distinguishing_names, label_of
from dlbs.results.plots.appearance import colour, muted
from dlbs.results.plots.axis import plain_ticks, set_y_scale
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.quantities import in_bytes, label
from dlbs.results.plots.selection import check_count
from dlbs.results.read.onelog import Record
from dlbs.results.statistics.series import Series, series_of
from dlbs.results.statistics.steady import WINDOW, smoothed
from dlbs.text import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["MOST_RUNS", "series"]

MOST_RUNS = 12  # panels of one plot
_MOST_WATCHED = 4
_FEWEST_SAMPLES = 3


def series(figure: Figure, results: Results) -> Description:
    """Draw batch times, raw and smoothed: of one run above the monitored quantities, on one axis of seconds; of several runs in a panel each."""
    having = [record for record in results.records if isinstance(record.get("results.time_data"), list)]
    check_count(len(having), "runs", too_many=len(having) > MOST_RUNS)
    runs = [(record, one) for record in having if (one := series_of(record)) is not None]
    if not runs:
        raise LogError("no experiment has batch times (results.time_data)")
    if len(runs) == 1:
        return _one_run(figure, results, *runs[0])
    return _several_runs(figure, results, runs)


def _several_runs(figure: Figure, results: Results, runs: Sequence[tuple[Record, Series]]) -> Description:
    records = [record for record, _ in runs]
    names = distinguishing_names(records, results.declarations)
    names += ["exp.repeat"] if len({text(record.get("exp.repeat")) for record in records}) > 1 else []
    if results.options.size is None:
        figure.set_size_inches(figure.get_figwidth(), 0.4 + 1.6 * len(runs))
    for (axes,), (record, found) in zip(figure.subplots(len(runs), 1, squeeze=False), runs, strict=True):
        _draw_batches(axes, found, in_seconds=False)
        axes.set_title(label(label_of(record, names), None), fontsize="medium", loc="left")
        set_y_scale(axes, [*found.warmup, *found.times], results.options.log_scale)
    figure.supylabel("batch time, ms", fontsize="medium")
    figure.axes[-1].set_xlabel("timed batch")
    notes = [f"running median: of {WINDOW} batches; each run has its own scales", left_out(results.records, records)]
    return Description("Batch times of single runs", records, names, notes)


def _one_run(figure: Figure, results: Results, record: Record, found: Series) -> Description:
    watched = list(found.monitor.items())[:_MOST_WATCHED]
    if results.options.size is None:
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() * (0.88 + 0.27 * len(watched)))
    rows = figure.subplots(
        1 + len(watched), 1, sharex=bool(watched), squeeze=False, height_ratios=[3, *[1] * len(watched)]
    )
    axes = rows[0][0]
    _draw_batches(axes, found, in_seconds=bool(watched))
    axes.set_ylabel("batch time, ms")
    set_y_scale(axes, [*found.warmup, *found.times], results.options.log_scale)
    for row, (name, (moments, values)) in zip(rows[1:], watched, strict=True):
        if "bytes" in name:
            unit, factor = in_bytes(max(values))
            name, values = name.replace("bytes", unit), [value * factor for value in values]
        row[0].plot(moments, values, color=colour(2))
        row[0].set_ylabel(label(name).replace(", ", ",\n").replace(" (GPU", "\n(GPU"), fontsize="small")
        row[0].set_ylim(0, 1.1 * max(values) or 1.0)
        plain_ticks(row[0].yaxis)
    if watched:
        _look_at_batches(axes, found, watched[0][1][0])
    rows[-1][0].set_xlabel("time since the first timed batch, s" if watched else "timed batch")
    notes = [f"running median: of {WINDOW} batches"]
    if more := list(found.monitor)[_MOST_WATCHED:]:
        notes.append(f"also recorded: {'; '.join(more)}")
    return Description("Batch times of one run", [record], (), notes, subject=describe(record))


def _look_at_batches(axes: Axes, found: Series, moments: Sequence[float]) -> None:
    """Limit the axis to the time of the batches plus half of it on each side, because start and end of a program may take much longer."""
    first, last = -sum(found.warmup) / 1000, found.ends[-1]
    low, high = first - 0.5 * (last - first), last + 0.5 * (last - first)
    inside = [moment for moment in moments if low <= moment <= high]
    if len(inside) >= _FEWEST_SAMPLES:
        margin = 0.03 * (last - first)
        axes.set_xlim(min(first, *inside) - margin, max(last, *inside) + margin)


def _draw_batches(axes: Axes, found: Series, *, in_seconds: bool) -> None:
    """Draw warm-up and timed batches with the boundary between them, over batches or seconds."""
    # Seconds are the common axis with the monitor; without it, batch numbers are clearer.
    xs: list[float] = found.ends if in_seconds else [float(n) for n in range(1, len(found.times) + 1)]
    axes.plot(xs, found.times, ".", markersize=4, color=colour(4), label="batch")
    axes.plot(xs, smoothed(found.times), color=colour(0), label="running median")
    if found.warmup:
        before = [-value for value in _reversed_sums(found.warmup)] if in_seconds else range(1 - len(found.warmup), 1)
        axes.plot(list(before), found.warmup, ".", markersize=4, color=colour(7), label="warm-up")
        boundary = 0.0 if in_seconds else 0.5
        axes.axvline(boundary, color=muted(), linewidth=1, linestyle=":", label="timing begins")
    steady = found.steady - len(found.warmup)
    if steady > 0 and found.is_conclusive:
        axes.axvline(xs[min(steady, len(xs) - 1)], color=colour(1), linestyle="--", label="steady from here")
    if outliers := found.outliers:
        axes.plot(
            [xs[one.batch - 1] for one in outliers], [one.time for one in outliers], "x", color=colour(1), label="outlier"
        )  # fmt: skip
    if in_seconds:
        plain_ticks(axes.xaxis)
        return
    # There is no batch -7.5 and no timed batch 0: ticks are at timed batches.
    locator = require("matplotlib.ticker", "reports").MaxNLocator(10, steps=[1, 2, 5, 10], integer=True)
    inside = [int(tick) for tick in locator.tick_values(1, len(xs)) if 1 < tick <= len(xs)]
    axes.set_xticks([1, *inside], [f"{tick:,}" for tick in (1, *inside)])


def _reversed_sums(milliseconds: Sequence[float]) -> list[float]:
    """Seconds from the end of each warm-up batch to the start of timing."""
    total, sums = 0.0, []
    for value in reversed(milliseconds):
        sums.append(total)
        total += value / 1000
    return sums[::-1]
