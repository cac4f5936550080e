"""Bars by model, and heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.results.grouping import describe, telling_names
from dlbs.results.plots.style import (
    COLOURS,
    MOST_LINES,
    Options,
    axis_label,
    in_order,
    label,
    left_out,
    legend,
    set_scale,
    with_value,
)
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.pivot import custom_tables
from dlbs.text import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "heat_map"]


def bars(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    """Bars side by side for each setting, by model."""
    key = options.value or "results.throughput"
    drawn = with_value(records, key)
    names = telling_names(drawn, declarations, given=["exp.model"], without=["exp.effective_batch"])
    sets = in_order(drawn, names)
    models = list(dict.fromkeys(text(record.get("exp.model")) for record in drawn))
    if len(sets) > MOST_LINES or len(models) > 60:
        raise LogError(
            f"{len(sets)} × {len(models)} bars are too many for one plot", hint="choose some with --filter_query"
        )
    axes = figure.subplots()
    width = 0.8 / len(sets)
    hatches = ("", "//", "..", "xx")
    for index, group in enumerate(sets):
        (table, *_) = custom_tables(group, declarations, ["exp.model"], [], [key], without=["exp.effective_batch"])
        for labels, cells in zip(table.rows, table.cells, strict=True):
            cell = cells[0]
            if not isinstance(cell.value, float):
                continue
            error = (
                [[cell.value - cell.low], [cell.high - cell.value]]
                if cell.low is not None and cell.high is not None
                else None
            )
            axes.bar(
                models.index(labels[0]) + (index - (len(sets) - 1) / 2) * width, cell.value, 0.95 * width, yerr=error, capsize=3,
                color=COLOURS[index % len(COLOURS)], hatch=hatches[index // len(COLOURS) % len(hatches)],
                label=label(describe(group[0], names) or "all") if labels == table.rows[0] else None,
            )  # fmt: skip
    long = sum(map(len, models)) > 70
    axes.set_xticks(
        range(len(models)),
        [label(model) for model in models],
        rotation=40 if long else 0,
        ha="right" if long else "center",
    )
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(axis_label(key, drawn))
    set_scale(axes, [value for record in drawn if (value := number(record, key)) is not None], options.log_scale)
    left_out(axes, records, drawn)
    legend(figure, axes)


def heat_map(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    """Models against replica batches, one map for each setting that differs otherwise."""
    key = options.value or "results.throughput"
    with_value(records, key)
    tables = custom_tables(
        records, declarations, ["exp.model"], ["exp.replica_batch"], [key], without=["exp.effective_batch"]
    )
    if len(tables) > 9:
        raise LogError(f"{len(tables)} heat maps are too many for one figure", hint="choose some with --filter_query")
    figure.set_size_inches(
        max(6.0, 2.5 + 0.8 * max(len(table.columns) for table in tables)),
        sum(1.6 + 0.4 * len(table.rows) for table in tables),
    )
    colours = require("matplotlib.colors", "reports")
    rows = figure.subplots(
        len(tables), 1, squeeze=False, height_ratios=[1.6 + 0.4 * len(table.rows) for table in tables]
    )
    for (axes,), table in zip(rows, tables, strict=True):
        values = [[cell.value if isinstance(cell.value, float) else math.nan for cell in row] for row in table.cells]
        positive = [value for row in values for value in row if value > 0]
        wide = bool(positive) and max(positive) / min(positive) > 30
        use_log = wide if options.log_scale is None else options.log_scale
        norm = colours.LogNorm(min(positive), max(positive)) if use_log and positive else None
        image = axes.imshow(values, aspect="auto", cmap="cividis", norm=norm)
        middle = (
            math.sqrt(min(positive) * max(positive)) if norm and positive else sum(positive) / max(1, len(positive))
        )
        for y, row in enumerate(table.texts()):
            for x, words in enumerate(row[len(table.names) :]):
                value = values[y][x]
                dark = not math.isnan(value) and value < middle
                axes.text(
                    x, y, label(words.split(" ")[0]), ha="center", va="center", fontsize="small", color="white" if dark else "black"
                )  # fmt: skip
        axes.set_xticks(range(len(table.columns)), [label(column.split()[-1]) for column in table.columns])
        axes.set_yticks(range(len(table.rows)), [label(row[0]) for row in table.rows])
        axes.grid(visible=False)
        axes.set_xlabel("replica batch, instances")
        axes.set_title(label(table.title), fontsize="medium")
        figure.colorbar(image, ax=axes, label=axis_label(key, records))
