"""Plot speed-up over devices, with the ideal line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.plots.axes import quotient
from dlbs.results.plots.draw import Description, Point, draw_line, explain_points, muted, set_numeric_x
from dlbs.results.plots.plot import MOST_LINES, check_count, check_some_ended_well
from dlbs.results.tables.scaling import COUNTED, devices, nothing_to_scale, scaling_tables
from dlbs.results.tables.table import Cell, Table
from dlbs.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.plot import Results


def weak_scaling(figure: Figure, results: Results) -> Description:
    """Draw the speed-up with the replica batch fixed."""
    return _draw(figure, results, "weak")


def strong_scaling(figure: Figure, results: Results) -> Description:
    """Draw the speed-up with the effective batch fixed."""
    return _draw(figure, results, "strong")


def _draw(figure: Figure, results: Results, kind: str) -> Description:
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
    missing = len(results.records) - len(drawn)
    notes.append(f"{missing} of {len(results.records)} experiments have no value" if missing else "")
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
