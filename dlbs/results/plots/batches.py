"""Plots of times: runs as boxes, batches as violins, and the batch times of one run with what the monitor recorded."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError, require
from dlbs.core.experiment import describe
from dlbs.core.text import are_finite
from dlbs.results.grouping import distinguishing_names, label_of, title_name, varying
from dlbs.results.keys import label, prefixed, quantity_of, titled
from dlbs.results.plots import draw
from dlbs.results.plots.plot import Options, check_count, check_some_ended_well, in_order, with_value
from dlbs.results.runs import Record, Runs, usual_metric
from dlbs.results.statistics.series import WINDOW, Series, series_of, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_ROWS = 40
_MOST_SHAPES = 500  # points drawn as shapes in an SVG file; more are embedded as an image
_ROW = 0.34  # inches
_FEWEST_FOR_A_BOX = 5  # quartiles of fewer values are meaningless
_FEWEST_FOR_A_VIOLIN = 10
_LONGEST_LABEL = 60


def distribution(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a row for each experiment: a point for each run, and a box if there are enough runs."""
    key = options.value or usual_metric(runs)
    drawn = with_value(runs, key)
    quantity = quantity_of(key, drawn)
    names = _names(drawn)
    rows = in_order(drawn, names)
    _check_rows(len(rows))
    shown = varying(drawn, names)
    axes = _rows(figure, options, [_label(row[0], shown) for row in rows])
    for at, row in enumerate(rows):
        values = [(value or 0.0) * quantity.factor for value in row.numbers(key)]
        if len(values) >= _FEWEST_FOR_A_BOX:
            _draw_box(axes, at, values, 0.3)
        _draw_runs(axes, at, row, values, as_pixels=len(drawn) > _MOST_SHAPES)
    _finish(axes, [(value or 0.0) * quantity.factor for value in drawn.numbers(key)], options, str(quantity))
    boxed = any(len(row) >= _FEWEST_FOR_A_BOX for row in rows)
    notes = ["points: single runs" + ("; box: quartiles and median; whiskers: minimum and maximum" if boxed else "")]
    notes.append(draw.left_out(runs, drawn))
    return draw.Description(titled(f"{quantity.name}: distribution of runs"), drawn, names, notes, hollow=True)


def _draw_runs(axes: Axes, at: int, row: Runs, values: Sequence[float], *, as_pixels: bool) -> None:
    """Draw a point for each run, hollow if it is doubtful."""
    for doubtful in (False, True):
        places = [place for place, doubts in enumerate(row.doubts) if bool(doubts) == doubtful]
        face: Any = axes.get_facecolor() if doubtful else draw.colour(0)
        if places:
            axes.plot(
                [values[place] for place in places], [at + _scatter(place) for place in places], "o", markersize=4, color=draw.colour(0),
                markerfacecolor=face, alpha=0.85, rasterized=as_pixels,
            )  # fmt: skip


def batches(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a violin of the batch times of each run, with median, quartiles, and all batches."""
    check_some_ended_well(runs)
    fine = runs.ok
    found = [values if are_finite(values) else [] for values in fine.values("results.time_data")]
    drawn = fine.where(found)
    if not drawn:
        raise LogError(
            "no successful experiment has batch times (results.time_data)",
            hint="dlbs parse LOG shows the keys of a log",
        )
    _check_rows(len(drawn))
    names = [*_names(drawn), *varying(drawn, ["exp.repeat"])]
    times_of = dict(zip(drawn.rows, filter(None, found), strict=True))
    rows = [(record, row) for one in in_order(drawn, names) for record, row in zip(one, one.rows, strict=True)]
    experiments = in_order(drawn, [name for name in names if name != "exp.repeat"])
    colours = {row: at for at, members in enumerate(experiments) for row in members.rows}
    shown, repeat = varying(drawn, names), varying(drawn, ["exp.repeat"])
    labels, before = [], -1
    for record, row in rows:
        # An experiment is labelled at its first run.
        is_first = colours[row] != before
        before = colours[row]
        labels.append(_label(record, shown if is_first else repeat))
    axes = _rows(figure, options, labels)
    for at, (_, row) in enumerate(rows):
        times = times_of[row]
        ink = draw.colour(colours[row] % 2 * 2)  # adjacent experiments differ
        if _is_violin(times):
            _draw_violin(axes, at, times, ink)
            _draw_box(axes, at, times, 0.07, whiskers=False)
        else:
            axes.plot(times, [at] * len(times), ".", color=ink, markersize=4)
    quantity = quantity_of("results.time_data", drawn)
    _finish(axes, [time for times in times_of.values() for time in times], options, str(quantity))
    notes = []
    if is_violin := [_is_violin(times) for times in times_of.values()]:
        if any(is_violin):
            notes.append("violin: density of the timed batches of one run; line and bar inside: median and quartiles")
        if not all(is_violin):
            notes.append("points: the timed batches of one run, if they are too few for a violin, or equal")
    notes.append(draw.left_out(runs, drawn))
    return draw.Description(titled(f"{quantity.name}: distribution within runs"), drawn, names, notes)


def _is_violin(times: Sequence[float]) -> bool:
    return len(times) >= _FEWEST_FOR_A_VIOLIN and min(times) < max(times)


def _names(drawn: Runs) -> list[str]:
    """Parameters that distinguish rows."""
    title = varying(drawn, [title_name(drawn)])
    return [*title, *distinguishing_names(drawn, given=title, without=["exp.effective_batch"])]


def _label(record: Record, shown: Sequence[str]) -> str:
    return label(label_of(record, shown), _LONGEST_LABEL) if shown else "all runs"


def _check_rows(count: int) -> None:
    check_count(count, "rows", too_many=count > _MOST_ROWS)


def _rows(figure: Figure, options: Options, labels: Sequence[str]) -> Axes:
    """Create axes with a row for each label, the first one at the top."""
    if options.size is None:
        scale = figure.get_figheight() / 4.8
        figure.set_size_inches(figure.get_figwidth(), scale * max(2.0, 1.0 + _ROW * len(labels)))
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return axes


def _finish(axes: Axes, values: Sequence[float], options: Options, words: str) -> None:
    if draw.is_logarithmic(values, options.log_scale):
        axes.set_xscale("log")
    draw.plain_ticks(axes.xaxis)
    axes.set_xlabel(words)


def _scatter(place: int) -> float:
    """Vertical offset of a point in its row by the golden ratio, so that equal values do not hide each other."""
    return 0.4 * ((place * 0.6180339887) % 1 - 0.5)


def _draw_box(axes: Axes, at: int, values: Sequence[float], half: float, *, whiskers: bool = True) -> None:
    """Draw quartiles and median, and lines to minimum and maximum."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    axes.fill_between([low, high], at - half, at + half, color=draw.muted(), alpha=0.25, linewidth=0)
    axes.plot([middle, middle], [at - half, at + half], color=draw.muted(), linewidth=1.6)
    if whiskers:
        axes.plot([min(values), low], [at, at], color=draw.muted(), linewidth=1)
        axes.plot([high, max(values)], [at, at], color=draw.muted(), linewidth=1)


def _draw_violin(axes: Axes, at: int, values: Sequence[float], ink: str) -> None:
    """Draw a kernel density (Gaussian, Scott's bandwidth) with the height of the row, from minimum to maximum."""
    density = require("matplotlib.mlab", "reports").GaussianKDE(values, "scott")
    numpy = require("numpy", "reports")
    xs = numpy.linspace(min(values), max(values), 100)
    heights = density.evaluate(xs)
    heights = 0.42 * heights / heights.max()
    axes.fill_between(xs, at - heights, at + heights, color=ink, alpha=0.55, linewidth=0)


MOST_RUNS = 12  # panels of one plot
_MOST_IN_A_COLUMN = 3
_MOST_WATCHED = 4
_FEWEST_SAMPLES = 3


def series(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw batch times, raw and smoothed: of one run above the monitored quantities, on one axis of seconds; of several runs in a panel each."""
    having = runs.where([isinstance(value, list) for value in runs.values("results.time_data")])
    check_count(len(having), "runs", too_many=len(having) > MOST_RUNS)
    found = {row: one for row, run in zip(having.rows, having, strict=True) if (one := series_of(run)) is not None}
    if not found:
        raise LogError("no experiment has batch times (results.time_data)")
    drawn = runs.take(list(found))
    if len(found) == 1:
        return _one_run(figure, options, drawn, *found.values())
    made = _several_runs(figure, options, drawn, list(found.values()))
    made.notes.append(draw.left_out(runs, drawn))
    return made


def _several_runs(figure: Figure, options: Options, runs: Runs, found: Sequence[Series]) -> draw.Description:
    names = [*distinguishing_names(runs), *varying(runs, ["exp.repeat"])]
    columns = 1 if len(runs) <= _MOST_IN_A_COLUMN else 2
    rows = -(-len(runs) // columns)
    if options.size is None:
        figure.set_size_inches(figure.get_figwidth(), 0.4 + 1.6 * rows)
    places = figure.subplots(rows, columns, squeeze=False).T.ravel()  # columns are filled from top to bottom
    for at, (axes, run, one) in enumerate(zip(places, runs, found, strict=False), 1):
        if at % rows == 0 or at == len(runs):
            axes.set_xlabel("timed batch")
        _draw_batches(axes, one, in_seconds=False, most_ticks=10 // columns)
        axes.set_title(label(label_of(run, names), None), fontsize="medium", loc="left")
        draw.set_scale(axes.yaxis, [*one.warmup, *one.times], options.log_scale)
    for axes in places[len(runs) :]:
        axes.remove()
    figure.supylabel("batch time, ms", fontsize="medium")
    notes = [f"running median: of {WINDOW} batches; each run has its own scales"]
    return draw.Description("Batch times of single runs", runs, names, notes)


def _one_run(figure: Figure, options: Options, runs: Runs, found: Series) -> draw.Description:
    watched = list(found.monitor.items())[:_MOST_WATCHED]
    if options.size is None:
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() * (0.88 + 0.27 * len(watched)))
    rows = figure.subplots(
        1 + len(watched), 1, sharex=bool(watched), squeeze=False, height_ratios=[3, *[1] * len(watched)]
    )
    axes = rows[0][0]
    _draw_batches(axes, found, in_seconds=bool(watched))
    axes.set_ylabel("batch time, ms")
    draw.set_scale(axes.yaxis, [*found.warmup, *found.times], options.log_scale)
    for row, (name, (moments, values)) in zip(rows[1:], watched, strict=True):
        if "bytes" in name:
            unit, factor = prefixed("bytes", max(values))
            name, values = name.replace("bytes", unit), [value * factor for value in values]
        row[0].plot(moments, values, color=draw.colour(2))
        row[0].set_ylabel(label(name).replace(", ", ",\n").replace(" (GPU", "\n(GPU"), fontsize="small")
        row[0].set_ylim(0, 1.1 * max(values) or 1.0)
        draw.plain_ticks(row[0].yaxis)
    if watched:
        _look_at_batches(axes, found, watched[0][1][0])
    rows[-1][0].set_xlabel("time since the first timed batch, s" if watched else "timed batch")
    notes = [f"running median: of {WINDOW} batches"]
    if more := list(found.monitor)[_MOST_WATCHED:]:
        notes.append(f"also recorded: {'; '.join(more)}")
    return draw.Description("Batch times of one run", runs, (), notes, subject=describe(runs[0]))


def _look_at_batches(axes: Axes, found: Series, moments: Sequence[float]) -> None:
    """Limit the axis to the time of the batches plus half of it on each side, because start and end of a program may take much longer."""
    first, last = -sum(found.warmup) / 1000, found.ends[-1]
    low, high = first - 0.5 * (last - first), last + 0.5 * (last - first)
    inside = [moment for moment in moments if low <= moment <= high]
    if len(inside) >= _FEWEST_SAMPLES:
        margin = 0.03 * (last - first)
        axes.set_xlim(min(first, *inside) - margin, max(last, *inside) + margin)


def _draw_batches(axes: Axes, found: Series, *, in_seconds: bool, most_ticks: int = 10) -> None:
    """Draw warm-up and timed batches with the boundary between them, over batches or seconds."""
    # Seconds are the common axis with the monitor; without it, batch numbers are clearer.
    xs: list[float] = found.ends if in_seconds else [float(n) for n in range(1, len(found.times) + 1)]
    axes.plot(xs, found.times, ".", markersize=4, color=draw.colour(4), label="batch")
    axes.plot(xs, smoothed(found.times), color=draw.colour(0), label="running median")
    if found.warmup:
        before = [-value for value in _reversed_sums(found.warmup)] if in_seconds else range(1 - len(found.warmup), 1)
        axes.plot(list(before), found.warmup, ".", markersize=4, color=draw.colour(7), label="warm-up")
        boundary = 0.0 if in_seconds else 0.5
        axes.axvline(boundary, color=draw.muted(), linewidth=1, linestyle=":", label="timing begins")
    steady = found.steady - len(found.warmup)
    if steady > 0 and found.is_conclusive:
        axes.axvline(xs[min(steady, len(xs) - 1)], color=draw.colour(1), linestyle="--", label="steady from here")
    if outliers := found.outliers:
        axes.plot(
            [xs[one.batch - 1] for one in outliers], [one.time for one in outliers], "x", color=draw.colour(1), label="outlier"
        )  # fmt: skip
    if in_seconds:
        draw.plain_ticks(axes.xaxis)
        return
    # There is no batch -7.5 and no timed batch 0: ticks are at timed batches.
    ticks = draw.whole_ticks(len(xs), most_ticks)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])


def _reversed_sums(milliseconds: Sequence[float]) -> list[float]:
    """Seconds from the end of each warm-up batch to the start of timing."""
    total, sums = 0.0, []
    for value in reversed(milliseconds):
        sums.append(total)
        total += value / 1000
    return sums[::-1]
