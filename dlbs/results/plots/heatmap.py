"""Models against replica batches, by colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.results.plots.style import axis_label, label, with_value
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.pivot import custom_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["heatmap"]


def heatmap(figure: Figure, results: Results) -> None:
    """Models against replica batches, one map for each group of experiments that differ otherwise."""
    key = results.options.value or usual_metric(results.records)
    with_value(results.records, key)
    tables = custom_tables(
        results.records,
        results.declarations,
        ["exp.model"],
        ["exp.replica_batch"],
        [key],
        without=["exp.effective_batch"],
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
        use_log = wide if results.options.log_scale is None else results.options.log_scale
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
        figure.colorbar(image, ax=axes, label=axis_label(key, results.records))
