"""The batches of one run, and what the monitor recorded meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.experiment import describe
from dlbs.results.plots.style import COLOURS, label, set_scale
from dlbs.results.statistics.series import series_of
from dlbs.results.statistics.steady import smoothed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["series"]


def series(figure: Figure, results: Results) -> None:
    """Batch times, raw and smoothed, above what was watched, on one axis of seconds."""
    if len(results.records) != 1:
        raise LogError(f"{len(results.records)} experiments are too many for a time series", hint="give one log")
    found = series_of(results.records[0])
    if found is None:
        raise LogError("the experiment has no batch times (results.time_data)")
    watched = list(found.monitor.items())[:4]
    figure.set_size_inches(8, 4.2 + 1.3 * len(watched))
    rows = figure.subplots(
        1 + len(watched), 1, sharex=bool(watched), squeeze=False, height_ratios=[3, *[1] * len(watched)]
    )
    axes = rows[0][0]
    # With a monitor, seconds are the axis that both have; else batches say more.
    xs: list[float] = found.ends if watched else [float(n) for n in range(1, len(found.times) + 1)]
    steady = found.steady - len(found.warmup)
    axes.plot(xs, found.times, ".", markersize=4, color=COLOURS[4], label="batch")
    axes.plot(xs, smoothed(found.times), color=COLOURS[0], label="running median")
    if found.warmup:
        before = (
            [-value for value in _reversed_sums(found.warmup)] if watched else list(range(1 - len(found.warmup), 1))
        )
        axes.plot(before, found.warmup, ".", markersize=4, color=COLOURS[7], label="warm-up")
    if steady > 0 and found.is_conclusive:
        axes.axvline(xs[min(steady, len(xs) - 1)], color=COLOURS[1], linestyle="--", label="steady from here")
    outliers = [xs[outlier.batch - 1] for outlier in found.outliers]
    axes.plot(
        outliers,
        [outlier.time for outlier in found.outliers],
        "x",
        color=COLOURS[1],
        label="outlier" if outliers else None,
    )
    axes.set_ylabel("batch time, ms")
    set_scale(axes, [*found.warmup, *found.times], results.options.log_scale)
    for row, (name, (moments, values)) in zip(rows[1:], watched, strict=True):
        row[0].plot(moments, values, color=COLOURS[2])
        row[0].set_ylabel(label(name).replace(", ", ",\n"), fontsize="small")
        row[0].set_ylim(bottom=0)
    rows[-1][0].set_xlabel("s since the first timed batch" if watched else "timed batch")
    axes.set_title(label(describe(results.records[0])))
    axes.legend(fontsize="small")


def _reversed_sums(milliseconds: Sequence[float]) -> list[float]:
    """Seconds from the end of each warm-up batch to the beginning of timing."""
    total, sums = 0.0, []
    for value in reversed(milliseconds):
        sums.append(total)
        total += value / 1000
    return sums[::-1]
