"""Plot any quantities over any parameter or quantity, with chosen lines and panels, optionally relative to a baseline."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import groups
from dlbs.results.plots.appearance import muted
from dlbs.results.plots.axis import set_numeric_x, set_text_x, set_y_scale
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.lines import Lines, lines_of
from dlbs.results.plots.points import Point, draw_line, explain_points
from dlbs.results.plots.quantities import label, name_of, titled
from dlbs.results.plots.selection import FEWER, in_order
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.pivot import shown_value
from dlbs.results.tables.table import Cell
from dlbs.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Options, Results

__all__ = ["free_axes"]

_MOST_PANELS = 16
_WIDTH_OF_TITLE = 40  # characters


def free_axes(figure: Figure, results: Results) -> Description:
    """Draw lines of medians: a row of panels for each quantity, a panel for each facet, all with the same horizontal axis."""
    options = results.options
    lines = lines_of(results)
    panels = _panels(lines, options.facet)
    columns = min(len(panels), 4 if len(lines.y) > 1 else 3)
    rows = math.ceil(len(panels) / columns)
    if options.size is None and len(panels) * len(lines.y) > 1:
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width, 0.45 * width * columns + 1), max(height, 0.66 * height * rows * len(lines.y)))
    grid = figure.subplots(rows * len(lines.y), columns, squeeze=False, sharex=True)
    _set_x_axis(figure, lines, options.log_x)
    cells: list[Cell] = []
    named: set[str] = set()
    notes = []
    for at, key in enumerate(lines.y):
        places: list[Axes] = [axes for row in grid[at * rows : (at + 1) * rows] for axes in row]
        for unused in places[len(panels) :]:
            unused.remove()
        del places[len(panels) :]
        found, without_base = _draw_quantity(places, lines, panels, key, options, named)
        cells += found
        if without_base:
            notes.append(f"{counted(without_base, 'value')} without a baseline")
        for number_, axes in enumerate(places):
            is_lowest = at == len(lines.y) - 1 and number_ + columns >= len(panels)
            axes.tick_params(labelbottom=is_lowest, labelleft=number_ % columns == 0)
            axes.set_xlabel(_x_label(lines) if is_lowest else "")
            if number_ % columns:
                axes.set_ylabel("")
            if options.facet and (at == 0 or rows > 1):
                axes.set_title(_facet_title(panels[number_][0], options.facet), fontsize="medium")
    explained = explain_points(cells)
    if lines.baseline:
        explained = explained.replace("of the median", "of the ratio").replace("from the batches", "of the ratio")
    what = f"{', '.join(lines.quantity(key).name for key in lines.y)} {'by' if lines.places else 'against'} {name_of(lines.x)}"
    if lines.baseline:
        what += f", relative to {lines.baseline}"
    shown = [lines.x, *options.facet, *lines.series]
    notes = [explained, *notes, left_out(results.records, lines.drawn)]
    return Description(titled(label(what)), lines.drawn, shown, notes, direct=_is_joined(lines), hollow=True)


def _is_joined(lines: Lines) -> bool:
    """Whether points are connected: not between texts, nor between measured values, which have no order."""
    return lines.places is None and not lines.is_measured


def _x_label(lines: Lines) -> str:
    return label(name_of(lines.x)) if lines.places is not None else str(lines.quantity(lines.x))


def _panels(lines: Lines, facet: Sequence[str]) -> list[list[Record]]:
    """Experiments of each panel, without a panel that would show only the baseline."""
    panels = in_order(lines.drawn, facet) if facet else [lines.drawn]
    kept = [
        panel
        for panel in panels
        if any(tuple_ in lines.labels for tuple_ in groups(panel, lines.series))
        and not (
            lines.baseline
            and not lines.baseline.values.keys().isdisjoint(facet)
            and all(map(lines.baseline.has, panel))
        )
    ]
    if len(kept) * len(lines.y) > _MOST_PANELS:
        count = f"{len(kept)} × {len(lines.y)}" if len(lines.y) > 1 else str(len(kept))
        raise LogError(f"{count} panels are too many for one plot", where="--facet", hint=FEWER)
    return kept


def _draw_quantity(
    places: Sequence[Axes],
    lines: Lines,
    panels: Sequence[Sequence[Record]],
    key: str,
    options: Options,
    named: set[str],
) -> tuple[list[Cell], int]:
    """Draw one quantity into its panels with a common scale; returns the drawn cells, and the number of values without a baseline."""
    points_drawn: list[Point] = []
    without_base = 0
    for axes, panel in zip(places, panels, strict=True):
        members = groups(panel, lines.series)
        for index, (line, words) in enumerate(lines.labels.items()):
            points, lost = lines.points(members.get(line, []), key)
            without_base += lost
            if points:
                wide = 10.0 if lines.places is not None else 4.0
                draw_line(
                    axes, points, index, None if words in named else words, lines=1 if lines.is_measured else len(lines.labels),
                    joined=_is_joined(lines), apart=wide,
                )  # fmt: skip
                named.add(words)
                points_drawn += points
        if lines.baseline:
            axes.axhline(1, color=muted(), linewidth=1, linestyle=":", zorder=0)
    if not points_drawn:
        hint = "each value needs a baseline experiment that is equal otherwise"
        raise LogError(f"no value of {key} can be divided by a baseline value", where="--baseline", hint=hint)
    for axes in places[1:]:
        axes.sharey(places[0])
    set_y_scale(
        places[0],
        [*(point.value for point in points_drawn), *([1.0] if lines.baseline else [])],
        options.log_scale,
        [point.cell for point in points_drawn],
    )
    words = str(lines.quantity(key))
    for axes in places:
        axes.set_ylabel(f"{words}\n{label(f'relative to {lines.baseline}')}" if lines.baseline else words)
    return [point.cell for point in points_drawn], without_base


def _facet_title(record: Record, facet: Sequence[str]) -> str:
    words = label(", ".join(f"{name_of(name)} {shown_value(record, name) or 'none'}" for name in facet), None)
    return "\n".join(textwrap.wrap(words, _WIDTH_OF_TITLE)) or words


def _set_x_axis(figure: Figure, lines: Lines, log_x: bool | None) -> None:
    """Set up a horizontal axis of texts in their order, or of numbers."""
    if lines.places is not None:
        if log_x:
            raise LogError(
                f"{lines.x} has texts, not numbers: no logarithmic axis", where="--log_x", hint="remove the flag"
            )
        set_text_x(figure, figure.axes, lines.places)
        return
    factor = lines.quantity(lines.x).factor
    values = [value * factor for record in lines.drawn if (value := number(record, lines.x)) is not None]
    for axes in figure.axes:
        set_numeric_x(axes, values, log_x, is_parameter=not lines.is_measured, where=lines.x)
