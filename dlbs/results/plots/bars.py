"""Bars side by side for each group, by model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import describe, distinguishing_names, title_name
from dlbs.results.plots.style import (
    COLOURS,
    MOST_LINES,
    axis_label,
    in_order,
    label,
    left_out,
    legend,
    set_scale,
    with_value,
)
from dlbs.results.read.records import number
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.pivot import custom_tables
from dlbs.text import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["bars"]


def bars(figure: Figure, results: Results) -> None:
    """Bars side by side for each group, by model."""
    key = results.options.value or usual_metric(results.records)
    drawn = with_value(results.records, key)
    title = title_name(drawn)
    names = distinguishing_names(drawn, results.declarations, given=[title], without=["exp.effective_batch"])
    sets = in_order(drawn, names)
    models = list(dict.fromkeys(text(record.get(title)) for record in drawn))
    if len(sets) > MOST_LINES or len(models) > 60:
        raise LogError(
            f"{len(sets)} × {len(models)} bars are too many for one plot", hint="choose some with --filter_query"
        )
    axes = figure.subplots()
    width = 0.8 / len(sets)
    hatches = ("", "//", "..", "xx")
    for index, group in enumerate(sets):
        (table, *_) = custom_tables(group, results.declarations, [title], [], [key], without=["exp.effective_batch"])
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
    set_scale(
        axes, [value for record in drawn if (value := number(record, key)) is not None], results.options.log_scale
    )
    left_out(axes, results.records, drawn)
    legend(figure, axes)
