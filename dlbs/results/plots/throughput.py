"""Throughput, or another quantity, over replica batches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, label_of, varying
from dlbs.results.plots.style import (
    MOST_LINES,
    add_title,
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
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.pivot import custom_tables
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["throughput"]

_BATCH = "exp.replica_batch"


def throughput(figure: Figure, results: Results) -> None:
    """A line for each model and group over replica batches."""
    key = results.options.value or usual_metric(results.records)
    drawn = with_value(results.records, key)
    axes = figure.subplots()
    cells = _draw_lines(axes, drawn, results.declarations, key)
    axes.set_xscale("log", base=2)
    ticks = sorted({int(batch) for record in drawn if (batch := number(record, _BATCH))})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("replica batch, instances")
    axes.set_ylabel(axis_label(key, drawn))
    set_scale(
        axes, [value for record in drawn if (value := number(record, key)) is not None], results.options.log_scale
    )
    left_out(axes, results.records, drawn)
    add_title(axes, drawn, varying=[_BATCH], cells=cells)
    legend(figure, axes)


def _draw_lines(axes: Axes, drawn: Sequence[Record], declarations: Mapping[str, Parameter], key: str) -> list[Cell]:
    """One line for each model and group: medians, with the interval of each as an error bar; returns what was drawn."""
    found: list[Cell] = []
    names = distinguishing_names(drawn, declarations, given=["exp.model", _BATCH], without=["exp.effective_batch"])
    shown = varying(drawn, ["exp.model", *names])
    lines = in_order(drawn, ["exp.model", *names])
    if len(lines) > MOST_LINES:
        raise LogError(f"{len(lines)} lines are too many for one plot", hint="choose some with --filter_query")
    for index, line in enumerate(lines):
        (table, *_) = custom_tables(line, declarations, [_BATCH], [], [key], without=["exp.effective_batch"])
        points = [
            (float(labels[0]), cells[0].value, cells[0].low, cells[0].high)
            for labels, cells in zip(table.rows, table.cells, strict=True)
            if isinstance(cells[0].value, float) and _is_number(labels[0])
        ]
        if not points:
            continue
        found += [cell for row in table.cells for cell in row]
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        below = [y - low if low is not None else 0.0 for _, y, low, _ in points]
        above = [high - y if high is not None else 0.0 for _, y, _, high in points]
        axes.errorbar(
            xs, ys, yerr=[below, above], capsize=3 if any(below) or any(above) else 0,
            label=label(label_of(line[0], shown)), **style(index),
        )  # fmt: skip
    return found


def _is_number(words: str) -> bool:
    try:
        return math.isfinite(float(words))
    except ValueError:
        return False
