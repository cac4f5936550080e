"""Plot grouped bars by model; dots if the axis is logarithmic, because it has no zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlbs.results.grouping import distinguishing_names, groups, label_of, title_name, varying
from dlbs.results.plots.appearance import colour, marks, muted
from dlbs.results.plots.axis import is_logarithmic, set_measured_x, set_text_x, set_y_scale
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.points import errors_of, explain_points
from dlbs.results.plots.quantities import label, name_of, quantity_of, titled
from dlbs.results.plots.selection import MOST_LINES, check_count, in_order, with_value
from dlbs.results.read.records import number
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import cells_of
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["bars"]

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
    sets = in_order(drawn, names) if given else [list(drawn)]
    axis = given or names
    places = [label_of(group[0], axis) for group in groups(drawn, axis).values()]
    check_count(f"{len(sets)} × {len(places)}", "bars", too_many=len(sets) > MOST_LINES or len(places) > _MOST_PLACES)
    axes = figure.subplots()
    logarithmic = is_logarithmic([number(record, key) or 0.0 for record in drawn], results.options.log_scale)
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
        for group in groups(members, axis).values():
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
        set_measured_x(axes, values, logarithmic, cells)
    else:
        set_text_x(figure, [axes], places)
        axes.set_xlabel(", ".join(map(name_of, axis)))
        axes.set_ylabel(str(quantity))
        set_y_scale(axes, values, logarithmic, cells)
    by = ", ".join(map(name_of, axis))
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
