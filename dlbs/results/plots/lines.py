"""Lines: throughput over batch sizes, scaling over devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.grouping import describe, telling_names
from dlbs.results.plots.style import (
    MOST_LINES,
    Options,
    axis_label,
    in_order,
    label,
    left_out,
    legend,
    set_scale,
    style,
    with_value,
)
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.pivot import Table, custom_tables
from dlbs.results.tables.scaling import devices, scaling_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["scaling", "throughput"]


def throughput(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    """A line for each model and setting over replica batches."""
    key = options.value or "results.throughput"
    drawn = with_value(records, key)
    axes = figure.subplots()
    _lines_over(axes, drawn, declarations, key, "exp.replica_batch", [])
    axes.set_xscale("log", base=2)
    ticks = sorted({int(batch) for record in drawn if (batch := number(record, "exp.replica_batch"))})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("replica batch, instances")
    axes.set_ylabel(axis_label(key, drawn))
    set_scale(axes, [value for record in drawn if (value := number(record, key)) is not None], options.log_scale)
    left_out(axes, records, drawn)
    legend(figure, axes)


def _lines_over(
    axes: Axes,
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    key: str,
    over: str,
    without: Sequence[str],
) -> None:
    """One line for each model and setting: medians, with the interval of each as an error bar."""
    names = telling_names(records, declarations, given=["exp.model", over], without=["exp.effective_batch", *without])
    lines = in_order(records, ["exp.model", *names])
    if len(lines) > MOST_LINES:
        raise LogError(f"{len(lines)} lines are too many for one plot", hint="choose some with --filter_query")
    for index, line in enumerate(lines):
        (table, *_) = custom_tables(line, declarations, [over], [], [key], without=["exp.effective_batch", *without])
        points = [
            (float(labels[0]), cells[0].value, cells[0].low, cells[0].high)
            for labels, cells in zip(table.rows, table.cells, strict=True)
            if isinstance(cells[0].value, float) and _is_number(labels[0])
        ]
        if not points:
            continue
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        below = [y - low if low is not None else 0.0 for _, y, low, _ in points]
        above = [high - y if high is not None else 0.0 for _, y, _, high in points]
        axes.errorbar(
            xs, ys, yerr=[below, above], capsize=3 if any(below) or any(above) else 0,
            label=label(describe(line[0], ["exp.model", *names])), **style(index),
        )  # fmt: skip


def _is_number(words: str) -> bool:
    try:
        return math.isfinite(float(words))
    except ValueError:
        return False


def scaling(
    kind: str,
) -> Callable[[Figure, list[Record], Mapping[str, Parameter], Options], None]:
    """What draws the speed-up over devices, with the ideal line; `kind` is weak or strong."""

    def drawn(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
        tables = scaling_tables(records, declarations, kind)[2::4]
        counts = sorted({devices(record) for record in records})
        axes = figure.subplots()
        index = 0
        for table in tables:
            for labels, cells in zip(table.rows, table.cells, strict=True):
                points = [
                    (count, cell.value)
                    for count, cell in zip(_columns(table), cells, strict=True)
                    if isinstance(cell.value, float)
                ]
                if points:
                    xs, ys = zip(*points, strict=True)
                    setting = table.title.partition("(")[2].rstrip(")") if len(tables) > 1 else ""
                    name = ", ".join(filter(None, [labels[0], f"{table.names[1]} {labels[1]}", setting]))
                    axes.plot(xs, ys, label=label(name), **style(index))
                    index += 1
        if index == 0:
            raise LogError("no experiment that ended well has results.throughput", hint="dlbs status shows what failed")
        axes.plot(counts, counts, color="#8A8A8A", linestyle=":", label="ideal", zorder=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        low, high = math.floor(math.log2(counts[0])) - 1, math.ceil(math.log2(counts[-1])) + 1
        ticks = [2.0**power for power in range(low, high + 1)]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("GPUs (on CPUs: replicas)")
        axes.set_ylabel("speed-up over the fewest")
        axes.set_title(f"{kind} scaling: {'replica' if kind == 'weak' else 'effective'} batch fixed")
        legend(figure, axes)

    return drawn


def _columns(table: Table) -> list[int]:
    return [int(column.split()[-1]) for column in table.columns]
