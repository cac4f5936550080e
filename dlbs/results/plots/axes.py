"""Any quantities over any parameter or quantity, in lines and panels of one's choice, divided by a baseline on request."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.results.grouping import common_label, groups
from dlbs.results.plots.lines import Lines, Point, lines_of
from dlbs.results.plots.style import (
    axis_label,
    has_wide_range,
    in_order,
    label,
    left_out,
    legend,
    plain_ticks,
    set_scale,
    style,
)
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.cells import statistic
from dlbs.results.tables.pivot import shown_value
from dlbs.results.tables.table import Cell
from dlbs.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Options, Results

__all__ = ["free_axes"]

_MOST_PANELS = 16
_MOST_TICKS = 12
_WIDTH_OF_TITLE = 34  # characters


def free_axes(figure: Figure, results: Results) -> None:
    """Lines of medians: rows of panels for each quantity, a panel for each facet, all with one horizontal axis."""
    options = results.options
    lines = lines_of(results)
    panels = _panels(lines, options.facet)
    columns = min(len(panels), 4 if len(lines.y) > 1 else 3)
    rows = math.ceil(len(panels) / columns)
    figure.set_size_inches(max(8.0, 3.6 * columns + 1), max(4.8, 3.2 * rows * len(lines.y)))
    grid = figure.subplots(rows * len(lines.y), columns, squeeze=False, sharex=True)
    cells: list[Cell] = []
    named: set[str] = set()
    for at, key in enumerate(lines.y):
        places: list[Axes] = [axes for row in grid[at * rows : (at + 1) * rows] for axes in row]
        for unused in places[len(panels) :]:
            unused.remove()
        del places[len(panels) :]
        cells += _draw_quantity(places, lines, panels, key, options, named)
        for number_, axes in enumerate(places):
            is_lowest = at == len(lines.y) - 1 and number_ + columns >= len(panels)
            axes.tick_params(labelbottom=is_lowest, labelleft=number_ % columns == 0)
            axes.set_xlabel(axis_label(lines.x, lines.drawn) if is_lowest else "")
            if number_ % columns:
                axes.set_ylabel("")
            if options.facet and (at == 0 or rows > 1):
                axes.set_title(_facet_title(panels[number_][0], options.facet), fontsize="medium")
    _set_x_axis(figure, grid[0][0], lines, options.log_x)
    missing = left_out(results.records, lines.drawn)
    shown = [lines.x, *options.facet, *lines.series]
    words = [common_label(lines.drawn, without=shown), statistic("median", cells), missing]
    figure.suptitle("\n".join(map(label, filter(None, words))), fontsize="medium")
    legend(figure)


def _panels(lines: Lines, facet: Sequence[str]) -> list[list[Record]]:
    """The experiments of each panel; one that would show the baseline alone is left out."""
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
        raise LogError(
            f"{count} panels are too many for one plot", where="--facet", hint="choose some with --filter_query"
        )
    return kept


def _draw_quantity(
    places: Sequence[Axes],
    lines: Lines,
    panels: Sequence[Sequence[Record]],
    key: str,
    options: Options,
    named: set[str],
) -> list[Cell]:
    """Draw one quantity into its panels, which share its scale; returns what was drawn."""
    points_drawn: list[Point] = []
    without_base = 0
    for axes, panel in zip(places, panels, strict=True):
        members = groups(panel, lines.series)
        for index, (line, words) in enumerate(lines.labels.items()):
            points, lost = lines.points(members.get(line, []), key)
            without_base += lost
            if points:
                _draw_line(axes, lines, points, index, "" if words in named else words)
                named.add(words)
                points_drawn += points
        if lines.baseline:
            axes.axhline(1, color="#555555", linewidth=1, linestyle=":", zorder=0)
    if not points_drawn:
        hint = "a value is divided by that of the experiment that is equal otherwise"
        raise LogError(f"no value of {key} has one of the baseline to be divided by", where="--baseline", hint=hint)
    for axes in places[1:]:
        axes.sharey(places[0])
    set_scale(places[0], [point.value for point in points_drawn], options.log_scale)
    plain_ticks(places[0].yaxis)  # bytes without an exponent in a corner
    words = axis_label(key, lines.drawn)
    for axes in places:
        # Divided by another of its kind, a quantity has no unit.
        name = words.partition(",")[0]
        axes.set_ylabel(f"{name}\n{label(f'relative to {lines.baseline}')}" if lines.baseline else words)
    if without_base:
        places[0].annotate(
            f"{counted(without_base, 'value')} without a baseline", (0, 0), xytext=(4, 4), xycoords="axes fraction",
            textcoords="offset points", fontsize="small", color="#555555",
        )  # fmt: skip
    return [point.cell for point in points_drawn]


def _draw_line(axes: Axes, lines: Lines, points: Sequence[Point], index: int, words: str) -> None:
    look = style(index)
    shift = 0.0
    if lines.places is not None or lines.is_measured:
        look["linestyle"] = ""  # nothing lies between texts, and measured values have no order
    if lines.places is not None and len(lines.labels) > 1:
        # Side by side, so that error bars do not cover each other.
        shift = min(0.2, 0.6 / (len(lines.labels) - 1)) * (index - (len(lines.labels) - 1) / 2)
    below = [point.value - point.cell.low if point.cell.low is not None else 0.0 for point in points]
    above = [point.cell.high - point.value if point.cell.high is not None else 0.0 for point in points]
    axes.errorbar(
        [point.x + shift for point in points], [point.value for point in points], yerr=[below, above],
        capsize=3 if any(below) or any(above) else 0, label=label(words) if words else None, **look,
    )  # fmt: skip


def _facet_title(record: Record, facet: Sequence[str]) -> str:
    words = label(", ".join(f"{name}={shown_value(record, name) or 'none'}" for name in facet))
    return "\n".join(textwrap.wrap(words, _WIDTH_OF_TITLE)) or words


def _set_x_axis(figure: Figure, axes: Axes, lines: Lines, log_x: bool | None) -> None:
    """Texts in their order; numbers, logarithmic where they double or range widely, with ticks at the values of a parameter that has few."""
    if lines.places is not None:
        if log_x:
            raise LogError(f"{lines.x} has texts, which have no logarithm", where="--log_x", hint="leave it out")
        axes.set_xticks(range(len(lines.places)), list(map(label, lines.places)))
        axes.set_xlim(-0.5, len(lines.places) - 0.5)
        if sum(map(len, lines.places)) > 7 * figure.get_figwidth() / len(
            {one.get_position().x0 for one in figure.axes}
        ):
            for one in figure.axes:
                for words in one.get_xticklabels():
                    words.set(rotation=40, ha="right", rotation_mode="anchor")
        return
    xs = sorted({value for record in lines.drawn if (value := number(record, lines.x)) is not None})
    if log_x and xs[0] <= 0:
        what = f"{lines.x} is {xs[0]:g} in some experiments, which has no logarithm"
        raise LogError(what, where="--log_x", hint="leave it out, or choose others with --filter_query")
    doubles = len(xs) > 1 and all(x > 0 and math.log2(x).is_integer() for x in xs)
    if log_x if log_x is not None else doubles or has_wide_range(xs):
        axes.set_xscale("log", base=2 if doubles else 10)
        plain_ticks(axes.xaxis)
        if len(xs) <= _MOST_TICKS and not lines.is_measured:
            axes.set_xticks(xs, [f"{x:,.10g}" for x in xs])
            axes.minorticks_off()
    elif all(x.is_integer() for x in xs):
        axes.xaxis.set_major_locator(require("matplotlib.ticker", "reports").MaxNLocator(integer=True))
