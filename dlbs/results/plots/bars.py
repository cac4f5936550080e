"""Bars side by side for each group, by model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, groups, label_of, title_name, varying
from dlbs.results.plots.style import (
    COLOURS,
    MOST_LINES,
    add_title,
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
from dlbs.results.tables.cells import cells_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["bars"]


def bars(figure: Figure, results: Results) -> None:
    """Bars side by side for each group, by model or command; where there is one only, by the parameters that vary."""
    key = results.options.value or usual_metric(results.records)
    drawn = with_value(results.records, key)
    given = varying(drawn, [title_name(drawn)])
    names = distinguishing_names(drawn, results.declarations, given=given, without=["exp.effective_batch"])
    sets = in_order(drawn, names) if given else [list(drawn)]
    axis = given or names
    places = [label_of(group[0], axis) for group in groups(drawn, axis).values()]
    if len(sets) > MOST_LINES or len(places) > 60:
        raise LogError(
            f"{len(sets)} × {len(places)} bars are too many for one plot", hint="choose some with --filter_query"
        )
    axes = figure.subplots()
    width = 0.8 / len(sets)
    hatches = ("", "//", "..", "xx")
    shown = varying(drawn, names)
    cells = []
    for index, members in enumerate(sets):
        for at, group in enumerate(groups(members, axis).values()):
            cell = cells_of(key)(group)
            if not isinstance(cell.value, float):
                continue
            cells.append(cell)
            error = (
                [[cell.value - cell.low], [cell.high - cell.value]]
                if cell.low is not None and cell.high is not None
                else None
            )
            axes.bar(
                places.index(label_of(group[0], axis)) + (index - (len(sets) - 1) / 2) * width, cell.value, 0.95 * width, yerr=error,
                capsize=3, color=COLOURS[index % len(COLOURS)], hatch=hatches[index // len(COLOURS) % len(hatches)],
                label=label(label_of(members[0], shown)) if at == 0 else None,
            )  # fmt: skip
    long = sum(map(len, places)) > 70
    axes.set_xticks(
        range(len(places)),
        [label(place) for place in places],
        rotation=40 if long else 0,
        ha="right" if long else "center",
    )
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(axis_label(key, drawn))
    set_scale(
        axes, [value for record in drawn if (value := number(record, key)) is not None], results.options.log_scale
    )
    left_out(axes, results.records, drawn)
    add_title(axes, drawn, cells=cells)
    legend(figure, axes)
