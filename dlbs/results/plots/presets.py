"""Plots with fixed axes: throughput over batches, latency against throughput, bars, heat maps, accuracy over epochs, and scaling over devices."""

from __future__ import annotations

import math
import textwrap
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark_core.text import short_number
from dlbs.errors import LogError, require
from dlbs.results.grouping import common_label, distinguishing_names, label_of, title_name, varying
from dlbs.results.keys import better_of, key_title, label, quantity_of, titled
from dlbs.results.plots.axes import draw_axes, quotient
from dlbs.results.plots.draw import (
    Description,
    Point,
    colour,
    draw_line,
    errors_of,
    explain_points,
    is_logarithmic,
    left_out,
    log_ticks,
    marks,
    muted,
    plain_number,
    plain_ticks,
    set_close_y,
    set_numeric_x,
    set_scale,
    set_text_x,
    whole_ticks,
)
from dlbs.results.plots.limits import mark_knees
from dlbs.results.plots.plot import (
    MOST_LINES,
    SERVED_LATENCY,
    check_count,
    check_some_ended_well,
    in_order,
    swept_load,
    with_value,
)
from dlbs.results.runs import FAMILY, RATE, Runs, usual_metric
from dlbs.results.tables.cells import cells_of
from dlbs.results.tables.report import shown_value
from dlbs.results.tables.scaling import COUNTED, devices, nothing_to_scale, scaling_tables
from dlbs.results.tables.table import DOUBTFUL, MISSING, Cell, Table
from dlbs.text import are_finite, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.plot import Results


def throughput(figure: Figure, results: Results) -> Description:
    """Draw a line of medians over replica batches for each model and group, with intervals as error bars."""
    key = results.options.value or usual_metric(results.records)
    if not any((batch or 0) > 0 for batch in with_value(results.records, key).numbers(_BATCH)):
        hint = "use --type bars, or choose another axis with --x KEY"
        raise LogError(f"no successful experiment has {_BATCH} and {key}", hint=hint)
    return draw_axes(figure, _over(results, _BATCH, key))


def _over(results: Results, x: str, y: str, along: str | None = None) -> Results:
    """The input of free axes for a preset: a line for each model and group."""
    return replace(results, options=replace(results.options, x=x, y=[y], series=["exp.model"], along=along))


_RATE = "results.throughput"
_LATENCIES = ("results.time_p99", "results.time")
_SERVED_RATES = (f"{FAMILY}tokens_per_second", RATE)


def latency_throughput(figure: Figure, results: Results) -> Description:
    """Draw a line for each model and group, each point with its batch size or, of a server, its load: from the smallest to the largest."""
    records, along = results.records, swept_load(results.records)
    if along:
        rate = next(key for key in _SERVED_RATES if records.ok.having(key) or key == RATE)
        key = results.options.value or SERVED_LATENCY
    else:
        rate, along = _RATE, _BATCH
        with_rate = with_value(records, rate)
        usual = next((one for one in _LATENCIES if None not in with_rate.numbers(one)), _LATENCIES[-1])
        key = results.options.value or usual
    return _along(figure, results, rate, key, along, "Latency against throughput")


def interactivity(figure: Figure, results: Results) -> Description:
    """Draw the throughput of a server per GPU against that of each user, over rates or numbers of users."""
    per_gpu, per_user = f"{FAMILY}tokens_per_second_gpu", f"{FAMILY}tokens_per_second_user"
    records = results.records
    along = swept_load(records)
    if along is None:
        check_some_ended_well(records)
        hint = "run a server at several loads: -Vserving.users=1,2,4,8, or -Vserving.target_qps=1,2,4"
        raise LogError("no experiments differ in the load of a server", hint=hint)
    rates, gpus = records.numbers(f"{FAMILY}tokens_per_second"), records.numbers("exp.num_gpus")
    shares = [None if rate is None else rate / max(1.0, count or 0) for rate, count in zip(rates, gpus, strict=True)]
    derived = replace(results, records=records.derived(per_gpu, shares))
    return _along(figure, derived, per_user, per_gpu, along, "Throughput per GPU against throughput per user")


def _along(figure: Figure, results: Results, x: str, y: str, along: str, title: str) -> Description:
    valued = with_value(results.records, x).having(y)
    if not any(value is not None for value in valued.numbers(along)):
        hint = "choose another latency with --value KEY"
        raise LogError(f"no successful experiment has {x}, {y} and {along}", hint=hint)
    made = draw_axes(figure, _over(results, x, y, along), title)
    if along != _BATCH and better_of(y) < 0 and mark_knees(figure.axes[0]):
        made.notes.append("knee: latency begins to rise steeply (Kneedle)")
    return made


_MOST_PLACES = 60
_ROOM = 12  # letters that fit below each inch
_ROW = 0.3  # inches per horizontal bar
_HATCHES = ("", "//", "..", "xx")


def bars(figure: Figure, results: Results) -> Description:
    """Draw grouped bars by model or command or, if there is only one, by the varied parameters."""
    key = results.options.value or usual_metric(results.records)
    drawn = with_value(results.records, key)
    quantity = quantity_of(key, drawn)
    given = varying(drawn, [title_name(drawn)])
    names = distinguishing_names(drawn, results.declarations, given=given, without=["exp.effective_batch"])
    sets = in_order(drawn, names) if given else [drawn]
    axis = given or names
    places = [label_of(group[0], axis) for group in drawn.group(axis).values()]
    check_count(f"{len(sets)} × {len(places)}", "bars", too_many=len(sets) > MOST_LINES or len(places) > _MOST_PLACES)
    axes = figure.subplots()
    logarithmic = is_logarithmic([value or 0.0 for value in drawn.numbers(key)], results.options.log_scale)
    # Long labels need horizontal bars.
    lies = sum(map(len, places)) > _ROOM * figure.get_figwidth()
    if lies and results.options.size is None:
        rows = len(places) * (1 + 0.4 * (len(sets) - 1))
        figure.set_size_inches(figure.get_figwidth(), max(figure.get_figheight() / 2, 1 + _ROW * rows))
    width = 0.8 / len(sets)
    shown = varying(drawn, names)
    cells = []
    for index, members in enumerate(sets):
        words = label(label_of(members[0], shown)) if given else None
        for group in members.group(axis).values():
            cell = cells_of(key)(group).scaled(quantity.factor)
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
        set_scale(axes.xaxis, values, logarithmic, cells)
    else:
        set_text_x(figure, [axes], places)
        axes.set_xlabel(", ".join(map(key_title, axis)))
        axes.set_ylabel(str(quantity))
        set_scale(axes.yaxis, values, logarithmic, cells)
    by = ", ".join(map(key_title, axis))
    return Description(
        titled(f"{quantity.name} by {by}") if axis else titled(quantity.name),
        drawn,
        axis,
        [explain_points(cells, "dots" if logarithmic else "bars"), left_out(results.records, drawn)],
        hollow=True,
    )


def _draw(
    axes: Axes, place: float, cell: Cell, width: float, index: int, words: str | None, *, lies: bool, dot: bool
) -> None:
    """Draw one vertical or horizontal bar, or a dot; hollow if doubtful."""
    errors, value = errors_of([cell]), cell.value if isinstance(cell.value, float) else 0.0
    if dot:
        look: dict[str, Any] = {**marks(index), "linestyle": "", "capsize": 3, "elinewidth": 1, "label": words}
        if cell.doubtful:
            look["markerfacecolor"] = axes.get_facecolor()
        if lies:
            axes.errorbar(value, place, xerr=errors, **look)
        else:
            axes.errorbar(place, value, yerr=errors, **look)
        return
    look = {
        "color": "none" if cell.doubtful else colour(index), "edgecolor": colour(index), "label": words, "capsize": 3,
        "hatch": _HATCHES[index // 8 % len(_HATCHES)], "ecolor": muted(), "error_kw": {"elinewidth": 1},
    }  # fmt: skip
    if lies:
        axes.barh(place, value, width, xerr=errors, **look)
    else:
        axes.bar(place, value, width, yerr=errors, **look)


_MOST_MAPS = 9
_MODEL, _BATCH = "exp.model", "exp.replica_batch"


def heatmap(figure: Figure, results: Results) -> Description:
    """Draw models against replica batches, one map for each group of experiments that differ otherwise; all have one scale."""
    key, records = results.options.value or usual_metric(results.records), results.records
    drawn = with_value(records, key)
    quantity = quantity_of(key, drawn)
    split = distinguishing_names(records, results.declarations, given=[_MODEL, _BATCH], without=["exp.effective_batch"])
    facets = list(records.group(split).values())
    check_count(len(facets), "heat maps", too_many=len(facets) > _MOST_MAPS)
    batches = [shown_value(members[0], _BATCH) for members in in_order(records, [_BATCH])]
    maps = []
    for members in facets:
        rows = []
        for row in members.group([_MODEL]).values():
            found = {shown_value(runs[0], _BATCH): runs for runs in row.group([_BATCH]).values()}
            rows.append([cells_of(key)(found.get(batch, Runs.of(()))).scaled(quantity.factor) for batch in batches])
        maps.append(rows)
    heights = [(0.75 if split else 0.5) + 0.36 * len(rows) for rows in maps]
    width = max(6.0, 2.8 + 0.78 * len(batches))
    if results.options.size is None:
        figure.set_size_inches(width, 0.6 + sum(heights))
    panels = [axes for (axes,) in figure.subplots(len(maps), 1, squeeze=False, sharex=True, height_ratios=heights)]
    cells = [cell for rows in maps for row in rows for cell in row]
    values = [cell.value for cell in cells if isinstance(cell.value, float)]
    # Logarithms are computed here: matplotlib's colour scale overflows for extreme values.
    logarithmic = is_logarithmic(values, results.options.log_scale)
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
    plain_ticks(bar.ax.yaxis)
    if logarithmic:
        ticks = log_ticks(10 ** min(places), 10 ** max(places))
        bar.set_ticks(list(map(math.log10, ticks)), labels=list(map(plain_number, ticks)))
    notes = [explain_points(cells, "numbers").partition(";")[0]]
    if any(cell.status == "missing" for cell in cells):
        notes.append(f"{MISSING}: not in the plan, or without a log")
    notes.append(left_out(records, drawn))
    subject = common_label(drawn, without=[_MODEL, _BATCH, *split])
    return Description(titled(f"{quantity.name} by model and replica batch"), drawn, (), notes, subject)


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


def accuracy(figure: Figure, results: Results) -> Description:
    """Draw a line of medians over epochs for each model and group."""
    key = results.options.value or _USUAL
    fine = results.records.ok
    curves = [values if are_finite(values) else [] for values in fine.values(key)]
    found = [
        {**run, key: value, _EPOCH: epoch}
        for run, curve in zip(fine, curves, strict=True)
        for epoch, value in enumerate(curve, 1)
    ]
    if not found:
        check_some_ended_well(results.records)
        raise LogError(
            f"no successful experiment has {key} of its epochs",
            hint="train.py logs it; --value results.epoch_loss plots the loss",
        )
    over = _over(replace(results, records=Runs.of(found)), _EPOCH, key)
    made = draw_axes(figure, over, titled(f"{key_title(key)} by epoch"))
    axes = figure.axes[0]
    axes.set_xscale("linear")
    # The last points of an accuracy matter, not its distance from zero.
    set_close_y(axes, [run[key] for run in found], results.options.log_scale)
    axes.set_xticks(whole_ticks(max(run[_EPOCH] for run in found)))
    lost = curves.count([])
    made.notes.append(f"{lost} of {len(results.records)} experiments have no value" if lost else "")
    return made


def _scaling(figure: Figure, results: Results, kind: str) -> Description:
    """Draw the speed-up with the replica batch fixed (`weak`), or the effective one (`strong`)."""
    tables = scaling_tables(results.records, results.declarations, kind)
    speedups = tables[2::4]
    fixed = "replica" if kind == "weak" else "effective"
    lines, alone = _lines(speedups, tables[0::4])
    if not lines:
        check_some_ended_well(results.records)
        if not alone:
            raise LogError("no successful experiment has results.throughput", hint="dlbs status shows failures")
        counts = sorted({*results.records.ok.each(COUNTED, devices)})
        what = (
            nothing_to_scale(counts)
            if len(counts) == 1
            else f"no {fixed} batch ran on two device counts: nothing to scale"
        )
        raise LogError(what, hint=f"keep the {fixed} batch and vary exp.gpus, or exp.num_local_replicas on CPUs")
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    if not all(0 < point.value < math.inf for _, points in lines for point in points):
        hint = "select other experiments with --filter-query"
        raise LogError("throughputs are not positive, or too far apart for a speed-up", hint=hint)
    axes = figure.subplots()
    xs = sorted({point.x for _, points in lines for point in points})
    set_numeric_x(axes, xs, True, is_parameter=True, where="devices")
    axes.set_yscale("log", base=2)
    axes.plot(xs, xs, color=muted(), linestyle=":", label="ideal", zorder=0)
    for index, (words, points) in enumerate(lines):
        draw_line(axes, points, index, words, lines=len(lines))
    values = [point.value for _, points in lines for point in points] + xs
    axes.set_ylim(min(values) / 1.15, max(values) * 1.15)
    ticks = [2.0**power for power in range(math.floor(math.log2(min(values))), math.ceil(math.log2(max(values))) + 1)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    fine = results.records.ok
    drawn = fine.where(fine.numbers("results.throughput"))
    is_cpu = not any(drawn.numbers("exp.num_gpus"))
    axes.set_xlabel("replicas on CPUs" if is_cpu else "GPUs")
    axes.set_ylabel("speed-up vs. smallest device count")
    kept = "exp.replica_batch" if kind == "weak" else "exp.effective_batch"
    explained = explain_points([point.cell for _, points in lines for point in points])
    notes = [
        explained.replace("median of", "ratio of throughputs, medians of").replace(
            "interval of the median", "interval of the ratio"
        )
    ]
    if base := xs[0] if xs[0] > 1 else 0:
        notes.append(f"smallest device count {base:g}: speed-up {base:g} by definition")
    if alone:
        notes.append(f"{counted(alone, 'experiment')} with only one device count left out")
    notes.append(left_out(results.records, drawn))
    shown = [] if len(drawn.distinct(kept)) == 1 else [kept]
    follows = ["exp.effective_batch" if kind == "weak" else "exp.replica_batch"]
    return Description(
        f"{kind.title()} scaling: speed-up with the {fixed} batch fixed",
        drawn,
        [*shown, *follows],
        notes,
        direct=True,
        hollow=True,
    )


weak_scaling, strong_scaling = (partial(_scaling, kind=kind) for kind in ("weak", "strong"))


def _lines(tables: list[Table], throughputs: list[Table]) -> tuple[list[tuple[str, list[Point]]], int]:
    """Label and points of each line with at least two points, and the number of experiments with only one."""
    rows = [labels for table in tables for labels in table.rows]
    differs = [len({labels[at] for labels in rows}) > 1 for at in range(len(rows[0]) if rows else 0)]
    found, alone = [], 0
    for table, measured in zip(tables, throughputs, strict=True):
        group = table.title.partition("(")[2].rstrip(")") if len(tables) > 1 else ""
        for labels, cells, rates in zip(table.rows, table.cells, measured.cells, strict=True):
            base = next((rate for rate in rates if isinstance(rate.value, float)), Cell(None))
            points = [
                Point(float(column.split()[-1]), cell.value, quotient(rate, base, cell.value, _scale(cell, rate, base)))
                for column, cell, rate in zip(table.columns, cells, rates, strict=True)
                if isinstance(cell.value, float)
            ]
            layout = labels[2] if len(labels) > 2 else ""
            words = [
                labels[0] if differs[0] else "",
                f"{table.names[1]} {labels[1]}" if differs[1] else "",
                layout,
                group,
            ]
            if len(points) > 1:
                found.append((", ".join(filter(None, words)) or labels[0], points))
            alone += len(points) == 1
    return found, alone


def _scale(speedup: Cell, rate: Cell, base: Cell) -> float:
    """The speed-up of the smallest device count, by which quotients of throughputs are multiplied."""
    one, rate_, base_ = (cell.value if isinstance(cell.value, float) else 0.0 for cell in (speedup, rate, base))
    return one / rate_ * base_ if rate_ else 1.0
