"""Plot heat maps of models against replica batches, with one colour scale for all maps of a figure."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from dlbs.extras import require
from dlbs.results.grouping import common_label, distinguishing_names, groups, label_of
from dlbs.results.plots.axis import is_logarithmic, log_ticks, plain_number, plain_ticks
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.points import explain_points
from dlbs.results.plots.quantities import label, name_of, quantity_of, titled
from dlbs.results.plots.selection import check_count, in_order, with_value
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import cells_of
from dlbs.results.tables.pivot import shown_value
from dlbs.results.tables.table import DOUBTFUL, MISSING, Cell
from dlbs.text import short_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["heatmap"]

_MOST_MAPS = 9
_MODEL, _BATCH = "exp.model", "exp.replica_batch"


def heatmap(figure: Figure, results: Results) -> Description:
    """Draw models against replica batches, one map for each group of experiments that differ otherwise; all have one scale."""
    key, records = results.options.value or usual_metric(results.records), list(results.records)
    drawn = with_value(records, key)
    quantity = quantity_of(key, drawn)
    split = distinguishing_names(records, results.declarations, given=[_MODEL, _BATCH], without=["exp.effective_batch"])
    facets = list(groups(records, split).values())
    check_count(len(facets), "heat maps", too_many=len(facets) > _MOST_MAPS)
    batches = [shown_value(members[0], _BATCH) for members in in_order(records, [_BATCH])]
    maps = []
    for members in facets:
        rows = []
        for row in groups(members, [_MODEL]).values():
            found = {shown_value(runs[0], _BATCH): runs for runs in groups(row, [_BATCH]).values()}
            rows.append([cells_of(key)(found.get(batch, [])).scaled(quantity.factor) for batch in batches])
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
        models = [shown_value(row[0], _MODEL) for row in groups(members, [_MODEL]).values()]
        axes.set_yticks(range(len(rows)), [label(model, 40) for model in models])
        axes.grid(visible=False)
        if split:
            words = label(label_of(members[0], split), None)
            axes.set_title("\n".join(textwrap.wrap(words, int(11 * width))), fontsize="medium", loc="left")
    panels[-1].set_xlabel(str(quantity_of(_BATCH, drawn)))
    if len(panels) == 1:
        panels[0].set_ylabel(name_of(_MODEL))
    else:
        figure.supylabel(name_of(_MODEL), fontsize="medium")
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
