"""Plots with fixed axes: throughput over batches, latency against throughput, bars, heat maps, accuracy over epochs, and scaling over devices."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark_core.text import short_number
from dlbs.core.errors import LogError, require
from dlbs.core.text import are_finite, counted
from dlbs.results.grouping import common_label, distinguishing_names, label_of, title_name, varying
from dlbs.results.keys import better_of, key_title, label, quantity_of, titled
from dlbs.results.plots import draw
from dlbs.results.plots.axes import draw_axes, quotient
from dlbs.results.plots.limits import mark_knees
from dlbs.results.plots.plot import (
    MOST_LINES,
    SERVED_LATENCY,
    Options,
    check_count,
    check_some_ended_well,
    in_order,
    swept_load,
    with_value,
)
from dlbs.results.runs import FAMILY, RATE, Runs, usual_metric
from dlbs.results.tables.cells import cell_of
from dlbs.results.tables.report import shown_value
from dlbs.results.tables.scaling import COUNTED, Scaling, devices, nothing_to_scale, scalings, speedups
from dlbs.results.tables.table import DOUBTFUL, MISSING, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def throughput(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a line of medians over replica batches for each model and group, with intervals as error bars."""
    key = options.value or usual_metric(runs)
    if not any((batch or 0) > 0 for batch in with_value(runs, key).numbers(_BATCH)):
        hint = "use --type bars, or choose another axis with --x KEY"
        raise LogError(f"no successful experiment has {_BATCH} and {key}", hint=hint)
    return draw_axes(figure, runs, _over(options, _BATCH, key))


def _over(options: Options, x: str, y: str, along: str | None = None) -> Options:
    """The options of free axes for a preset: a line for each model and group."""
    return replace(options, x=x, y=[y], series=["exp.model"], along=along)


_RATE = "results.throughput"
_LATENCIES = ("results.time_p99", "results.time")
_SERVED_RATES = (f"{FAMILY}tokens_per_second", RATE)


def latency_throughput(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a line for each model and group, each point with its batch size or, of a server, its load: from the smallest to the largest."""
    along = swept_load(runs)
    if along:
        rate = next(key for key in _SERVED_RATES if runs.ok.having(key) or key == RATE)
        key = options.value or SERVED_LATENCY
    else:
        rate, along = _RATE, _BATCH
        with_rate = with_value(runs, rate)
        usual = next((one for one in _LATENCIES if None not in with_rate.numbers(one)), _LATENCIES[-1])
        key = options.value or usual
    return _along(figure, runs, options, rate, key, along, "Latency against throughput")


def interactivity(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw the throughput of a server per GPU against that of each user, over rates or numbers of users."""
    per_gpu, per_user = f"{FAMILY}tokens_per_second_gpu", f"{FAMILY}tokens_per_second_user"
    along = swept_load(runs)
    if along is None:
        check_some_ended_well(runs)
        hint = "run a server at several loads: -Vserving.users=1,2,4,8, or -Vserving.target_qps=1,2,4"
        raise LogError("no experiments differ in the load of a server", hint=hint)
    rates, gpus = runs.numbers(f"{FAMILY}tokens_per_second"), runs.numbers("exp.num_gpus")
    shares = [None if rate is None else rate / max(1.0, count or 0) for rate, count in zip(rates, gpus, strict=True)]
    title = "Throughput per GPU against throughput per user"
    return _along(figure, runs.derived(per_gpu, shares), options, per_user, per_gpu, along, title)


def _along(figure: Figure, runs: Runs, options: Options, x: str, y: str, along: str, title: str) -> draw.Description:
    valued = with_value(runs, x).having(y)
    if not any(value is not None for value in valued.numbers(along)):
        hint = "choose another latency with --value KEY"
        raise LogError(f"no successful experiment has {x}, {y} and {along}", hint=hint)
    made = draw_axes(figure, runs, _over(options, x, y, along), title)
    if along != _BATCH and better_of(y) < 0 and mark_knees(figure.axes[0]):
        made.notes.append("knee: latency begins to rise steeply (Kneedle)")
    return made


_MOST_PLACES = 60
_ROOM = 12  # letters that fit below each inch
_ROW = 0.3  # inches per horizontal bar
_HATCHES = ("", "//", "..", "xx")


def bars(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw grouped bars by model or command or, if there is only one, by the varied parameters."""
    key = options.value or usual_metric(runs)
    drawn = with_value(runs, key)
    quantity = quantity_of(key, drawn)
    given = varying(drawn, [title_name(drawn)])
    names = distinguishing_names(drawn, given=given, without=["exp.effective_batch"])
    sets = in_order(drawn, names) if given else [drawn]
    axis = given or names
    places = [label_of(group[0], axis) for group in drawn.group(axis).values()]
    check_count(f"{len(sets)} × {len(places)}", "bars", too_many=len(sets) > MOST_LINES or len(places) > _MOST_PLACES)
    axes = figure.subplots()
    logarithmic = draw.is_logarithmic([value or 0.0 for value in drawn.numbers(key)], options.log_scale)
    # Long labels need horizontal bars.
    lies = sum(map(len, places)) > _ROOM * figure.get_figwidth()
    if lies and options.size is None:
        rows = len(places) * (1 + 0.4 * (len(sets) - 1))
        figure.set_size_inches(figure.get_figwidth(), max(figure.get_figheight() / 2, 1 + _ROW * rows))
    width = 0.8 / len(sets)
    shown = varying(drawn, names)
    cells = []
    for index, members in enumerate(sets):
        words = label(label_of(members[0], shown)) if given else None
        for group in members.group(axis).values():
            cell = cell_of(key, group).scaled(quantity.factor)
            if isinstance(cell.value, float):
                cells.append(cell)
                place = places.index(label_of(group[0], axis)) + (index - (len(sets) - 1) / 2) * width
                _draw(axes, place, cell, 0.92 * width, index, words, lies=lies, dot=logarithmic)
                words = None
    values = [cell.value for cell in cells if isinstance(cell.value, float)]
    if lies:
        axes.set_yticks(range(len(places)), [label(place) for place in places])
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(str(quantity))
        draw.set_scale(axes.xaxis, values, logarithmic, cells)
    else:
        draw.set_text_x(figure, [axes], places)
        axes.set_xlabel(", ".join(map(key_title, axis)))
        axes.set_ylabel(str(quantity))
        draw.set_scale(axes.yaxis, values, logarithmic, cells)
    by = ", ".join(map(key_title, axis))
    title = titled(f"{quantity.name} by {by}") if axis else titled(quantity.name)
    notes = [draw.explain_points(cells, "dots" if logarithmic else "bars"), draw.left_out(runs, drawn)]
    return draw.Description(title, drawn, axis, notes, hollow=True)


def _draw(
    axes: Axes, place: float, cell: Cell, width: float, index: int, words: str | None, *, lies: bool, dot: bool
) -> None:
    """Draw one vertical or horizontal bar, or a dot; hollow if doubtful."""
    value = cell.value if isinstance(cell.value, float) else 0.0
    errors: dict[str, Any] = {"xerr" if lies else "yerr": draw.errors_of([cell])}
    if dot:
        look: dict[str, Any] = {**draw.marks(index), "linestyle": "", "capsize": 3, "elinewidth": 1, "label": words}
        if cell.doubtful:
            look["markerfacecolor"] = axes.get_facecolor()
        x, y = (value, place) if lies else (place, value)
        axes.errorbar(x, y, **errors, **look)
        return
    look = {
        "color": "none" if cell.doubtful else draw.colour(index), "edgecolor": draw.colour(index), "label": words, "capsize": 3,
        "hatch": _HATCHES[index // 8 % len(_HATCHES)], "ecolor": draw.muted(), "error_kw": {"elinewidth": 1},
    }  # fmt: skip
    (axes.barh if lies else axes.bar)(place, value, width, **errors, **look)


_MOST_MAPS = 9
_MODEL, _BATCH = "exp.model", "exp.replica_batch"


def heatmap(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw models against replica batches, one map for each group of experiments that differ otherwise; all have one scale."""
    key = options.value or usual_metric(runs)
    drawn = with_value(runs, key)
    quantity = quantity_of(key, drawn)
    split = distinguishing_names(runs, given=[_MODEL, _BATCH], without=["exp.effective_batch"])
    facets = list(runs.group(split).values())
    check_count(len(facets), "heat maps", too_many=len(facets) > _MOST_MAPS)
    batches = [shown_value(members[0], _BATCH) for members in in_order(runs, [_BATCH])]
    maps = []
    for members in facets:
        rows = []
        for row in members.group([_MODEL]).values():
            found = {shown_value(one[0], _BATCH): one for one in row.group([_BATCH]).values()}
            rows.append([cell_of(key, found.get(batch, row.take([]))).scaled(quantity.factor) for batch in batches])
        maps.append(rows)
    heights = [(0.75 if split else 0.5) + 0.36 * len(rows) for rows in maps]
    width = max(6.0, 2.8 + 0.78 * len(batches))
    if options.size is None:
        figure.set_size_inches(width, 0.6 + sum(heights))
    panels = [axes for (axes,) in figure.subplots(len(maps), 1, squeeze=False, sharex=True, height_ratios=heights)]
    cells = [cell for rows in maps for row in rows for cell in row]
    values = [cell.value for cell in cells if isinstance(cell.value, float)]
    # Logarithms are computed here: matplotlib's colour scale overflows for extreme values.
    logarithmic = draw.is_logarithmic(values, options.log_scale)
    places = [math.log10(value) if logarithmic else value for value in values if value > 0 or not logarithmic]
    norm = require("matplotlib.colors", "reports").Normalize(min(places), max(places))
    image: Any = None
    for axes, rows, members in zip(panels, maps, facets, strict=True):
        numbers = [[_place(cell, logarithmic=logarithmic) for cell in row] for row in rows]
        image = axes.imshow(numbers, aspect="auto", norm=norm)
        _write_numbers(axes, rows, numbers, norm)
        axes.set_xticks(range(len(batches)), list(map(label, batches)))
        models = [shown_value(row[0], _MODEL) for row in members.group([_MODEL]).values()]
        axes.set_yticks(range(len(rows)), [label(model, 40) for model in models])
        axes.grid(visible=False)
        if split:
            words = label(label_of(members[0], split), None)
            axes.set_title("\n".join(textwrap.wrap(words, int(11 * width))), fontsize="medium", loc="left")
    panels[-1].set_xlabel(str(quantity_of(_BATCH, drawn)))
    if len(panels) == 1:
        panels[0].set_ylabel(key_title(_MODEL))
    else:
        figure.supylabel(key_title(_MODEL), fontsize="medium")
    bar = figure.colorbar(image, ax=panels, label=str(quantity))
    draw.plain_ticks(bar.ax.yaxis)
    if logarithmic:
        ticks = draw.log_ticks(10 ** min(places), 10 ** max(places))
        bar.set_ticks(list(map(math.log10, ticks)), labels=list(map(draw.plain_number, ticks)))
    notes = [draw.explain_points(cells, "numbers").partition(";")[0]]
    if any(cell.status == "missing" for cell in cells):
        notes.append(f"{MISSING}: not in the plan, or without a log")
    notes.append(draw.left_out(runs, drawn))
    subject = common_label(drawn, without=[_MODEL, _BATCH, *split])
    return draw.Description(titled(f"{quantity.name} by model and replica batch"), drawn, (), notes, subject)


def _place(cell: Cell, *, logarithmic: bool) -> float:
    """Position of a number on the colour scale; NaN if it has none."""
    if not isinstance(cell.value, float) or (logarithmic and cell.value <= 0):
        return math.nan
    return math.log10(cell.value) if logarithmic else cell.value


def _write_numbers(axes: Axes, rows: list[list[Cell]], numbers: list[list[float]], norm: Any) -> None:
    """Write the number in each cell, or its status."""
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            words = MISSING if cell.status == "missing" else cell.status
            ink: dict[str, Any] = {}
            if isinstance(cell.value, float):
                words = short_number(cell.value) + (f" {DOUBTFUL}" if cell.doubtful else "")
                ink = {"color": "white" if norm(numbers[y][x]) < 0.55 else "black"}
            axes.text(x, y, words, ha="center", va="center", fontsize="small", **ink)


_USUAL = "results.epoch_accuracy_top1"
_EPOCH = "epoch"


def accuracy(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a line of medians over epochs for each model and group."""
    key = options.value or _USUAL
    fine = runs.ok
    curves = [values if are_finite(values) else [] for values in fine.values(key)]
    found = [
        {**run, key: value, _EPOCH: epoch}
        for run, curve in zip(fine, curves, strict=True)
        for epoch, value in enumerate(curve, 1)
    ]
    if not found:
        check_some_ended_well(runs)
        hint = "train.py logs it; --value results.epoch_loss plots the loss"
        raise LogError(f"no successful experiment has {key} of its epochs", hint=hint)
    over, title = _over(options, _EPOCH, key), titled(f"{key_title(key)} by epoch")
    made = draw_axes(figure, Runs.of(found, runs.declarations), over, title)
    axes = figure.axes[0]
    axes.set_xscale("linear")
    # The last points of an accuracy matter, not its distance from zero.
    draw.set_close_y(axes, [run[key] for run in found], options.log_scale)
    axes.set_xticks(draw.whole_ticks(max(run[_EPOCH] for run in found)))
    lost = curves.count([])
    made.notes.append(f"{lost} of {len(runs)} experiments have no value" if lost else "")
    return made


def _scaling(figure: Figure, runs: Runs, options: Options, kind: str) -> draw.Description:
    """Draw the speed-up with the replica batch fixed (`weak`), or the effective one (`strong`)."""
    fixed, follows = ("replica", "effective")[:: 1 if kind == "weak" else -1]
    lines, alone = _lines(list(scalings(runs, kind)))
    if not lines:
        check_some_ended_well(runs)
        if not alone:
            raise LogError("no successful experiment has results.throughput", hint="dlbs status shows failures")
        counts = sorted({*runs.ok.each(COUNTED, devices)})
        what = f"no {fixed} batch ran on two device counts: nothing to scale"
        what = nothing_to_scale(counts) if len(counts) == 1 else what
        raise LogError(what, hint=f"keep the {fixed} batch and vary exp.gpus, or exp.num_local_replicas on CPUs")
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    if not all(0 < point.value < math.inf for _, points in lines for point in points):
        hint = "select other experiments with --filter-query"
        raise LogError("throughputs are not positive, or too far apart for a speed-up", hint=hint)
    axes = figure.subplots()
    xs = sorted({point.x for _, points in lines for point in points})
    draw.set_numeric_x(axes, xs, True, is_parameter=True, where="devices")
    axes.set_yscale("log", base=2)
    axes.plot(xs, xs, color=draw.muted(), linestyle=":", label="ideal", zorder=0)
    for index, (words, points) in enumerate(lines):
        draw.draw_line(axes, points, index, words, lines=len(lines))
    values = [point.value for _, points in lines for point in points] + xs
    axes.set_ylim(min(values) / 1.15, max(values) * 1.15)
    ticks = [2.0**power for power in range(math.floor(math.log2(min(values))), math.ceil(math.log2(max(values))) + 1)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    drawn = runs.ok.having(_RATE)
    axes.set_xlabel("GPUs" if any(drawn.numbers("exp.num_gpus")) else "replicas on CPUs")
    axes.set_ylabel("speed-up vs. smallest device count")
    explained = draw.explain_points([point.cell for _, points in lines for point in points])
    explained = explained.replace("median of", "ratio of throughputs, medians of")
    notes = [explained.replace("interval of the median", "interval of the ratio")]
    if base := xs[0] if xs[0] > 1 else 0:
        notes.append(f"smallest device count {base:g}: speed-up {base:g} by definition")
    if alone:
        notes.append(f"{counted(alone, 'experiment')} with only one device count left out")
    notes.append(draw.left_out(runs, drawn))
    kept = f"exp.{fixed}_batch"
    shown = [*([] if len(drawn.distinct(kept)) == 1 else [kept]), f"exp.{follows}_batch"]
    title = f"{kind.title()} scaling: speed-up with the {fixed} batch fixed"
    return draw.Description(title, drawn, shown, notes, direct=True, hollow=True)


weak_scaling, strong_scaling = (partial(_scaling, kind=kind) for kind in ("weak", "strong"))


def _lines(groups: Sequence[Scaling]) -> tuple[list[tuple[str, list[draw.Point]]], int]:
    """Label and points of each line with at least two points, and the number of experiments with only one."""
    rows = [labels for group in groups for labels in group.throughput.rows]
    differs = [len(set(values)) > 1 for values in zip(*rows, strict=True)]
    found, alone = [], 0
    for group in groups:
        fixed = group.throughput.names[1]
        for (model, batch, *layout), rates in zip(group.throughput.rows, group.throughput.cells, strict=True):
            points = [
                draw.Point(float(up.devices), up.value, quotient(up.rate, up.base, up.value, up.least))
                for up in speedups(group.counts, rates)
            ]
            words = [model if differs[0] else "", f"{fixed} {batch}" if differs[1] else "", *layout]
            words += [group.label] if len(groups) > 1 else []
            if len(points) > 1:
                found.append((", ".join(filter(None, words)) or model, points))
            alone += len(points) == 1
    return found, alone
