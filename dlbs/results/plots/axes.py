"""Plot any quantities over any parameter or quantity, with chosen lines and panels, optionally relative to a baseline."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmark_core.text import truth
from dlbs.core.errors import LogError, did_you_mean
from dlbs.core.text import counted, text
from dlbs.results.columns import hashable
from dlbs.results.grouping import distinguishing_names, label_of, title_name, varying
from dlbs.results.keys import Quantity, key_title, label, quantity_of, titled
from dlbs.results.plots import draw
from dlbs.results.plots.plot import FEWER, MOST_LINES, Options, in_order
from dlbs.results.read.query import check_keys
from dlbs.results.runs import Record, Runs, number, usual_metric
from dlbs.results.tables.cells import cell_of
from dlbs.results.tables.report import shown_value
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_NAMED = 10


class Baseline:
    """Baseline experiments with given values of some parameters, by which otherwise equal experiments are divided.

    Args:
        values: Parameters and their values, which may be texts of numbers and booleans.
        records: All drawn experiments.

    Raises:
        LogError: No experiment has these values.
    """

    def __init__(self, values: Mapping[str, Any], records: Runs) -> None:
        self.values = {name: text(value) for name, value in values.items()}
        self._partners: dict[tuple[Any, ...], Runs] = {}
        self._names: list[str] = []
        self._records = records.where(self.having(records))
        if self._records:
            return
        for name, value in self.values.items():
            there = list(dict.fromkeys(text(found) for found in records.distinct(name) if found is not None))
            if value not in there:
                others = f"; it is {', '.join(there[:_MOST_NAMED])}{' …' if len(there) > _MOST_NAMED else ''}"
                hint = did_you_mean(value, there) or "choose a value that some experiments have"
                raise LogError(
                    f"{name} is {value!r} in no successful experiment{others}", where="--baseline", hint=hint
                )
        raise LogError(
            f"no successful experiment has {self}", where="--baseline", hint="choose values that occur together"
        )

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values.items())

    def has(self, record: Record) -> bool:
        """Whether an experiment belongs to the baseline."""
        return all(_is(record.get(name), value) for name, value in self.values.items())

    def having(self, records: Runs) -> list[bool]:
        """For each experiment whether it belongs to the baseline."""
        return records.each(list(self.values), self.has)

    def match_by(self, names: Sequence[str]) -> None:
        """Match experiments with the baseline by these parameters, except those of the baseline itself."""
        self._names = [name for name in dict.fromkeys(names) if name not in self.values]
        self._partners = self._records.group(self._names)

    def divided(self, cell: Cell, record: Record, key: str) -> Cell | None:
        """Divide the value of a group of runs by that of the baseline; None if the baseline has no value, it is 0, or the quotient is too large.

        Args:
            cell: The value of the runs.
            record: One of the runs.
            key: Key of the quantity.
        """
        if self.has(record):
            return Cell(1.0, runs=cell.runs)
        partners = self._partners.get(tuple(hashable(record.get(name)) for name in self._names), self._records.take([]))
        base = cell_of(key, partners.having(key))
        if not isinstance(base.value, float) or not isinstance(cell.value, float) or base.value == 0:
            return None
        if not math.isfinite(cell.value / base.value):
            return None
        return quotient(cell, base, cell.value / base.value)


def quotient(cell: Cell, base: Cell, value: float, scale: float = 1.0) -> Cell:
    """A quotient of two cells, times a scale, with its interval: from the lower bound over the other's upper one to the upper bound over the lower one.

    The probability that either interval misses is at most the sum of their probabilities (Bonferroni).
    """
    low = high = confidence = None
    bounds = (cell.low, cell.high, base.low, base.high)
    if cell is not base and None not in bounds and min(bound or 0.0 for bound in bounds) > 0:
        low, high = scale * (cell.low or 0.0) / (base.high or 1.0), scale * (cell.high or 0.0) / (base.low or 1.0)
        confidence = max(0.0, (cell.confidence or 0.0) + (base.confidence or 0.0) - 1)
    return Cell(value, "ok", low, high, confidence, min(cell.runs, base.runs), doubtful=cell.doubtful + base.doubtful)


def _is(value: Any, words: str) -> bool:
    """Whether a value equals a given text; booleans have several spellings."""
    if isinstance(value, bool):
        return truth(words) == value
    return value is not None and text(value) == words


_BATCH = "exp.replica_batch"
_MOST_PLACES = 60


@dataclass(slots=True)
class Lines:
    """Lines of a plot with free axes.

    Attributes:
        x: Key of the horizontal axis.
        y: Keys of the quantities.
        drawn: The experiments with an x and a y value.
        series: Parameters that separate lines: the requested ones, and all others that differ.
        runs: Parameters that separate points of a line.
        baseline: Baseline for relative values; None if there is none.
        along: Parameter in whose order the points of a line are joined, if the horizontal axis is measured.
        places: Values of the horizontal axis in their order, with their texts; None if all are numbers.
        labels: A label for each line, in the order of the legend.
    """

    x: str
    y: list[str]
    drawn: Runs
    series: list[str]
    runs: list[str]
    baseline: Baseline | None
    along: str | None
    places: dict[Any, str] | None
    labels: dict[tuple[Any, ...], str] = field(default_factory=dict)

    @property
    def is_measured(self) -> bool:
        """Whether the horizontal axis is a result, which differs between runs."""
        return _is_measured(self.x)

    def quantity(self, key: str) -> Quantity:
        """Name and unit of a key on an axis; relative to a baseline, it has no unit."""
        found = quantity_of(key, self.drawn)
        return Quantity(found.name) if self.baseline and key != self.x else found

    def points(self, members: Runs, key: str) -> tuple[list[draw.Point], int]:
        """Points of a line from left to right, and the number of points without a baseline.

        Args:
            members: The experiments of the line.
            key: The quantity.
        """
        found, lost = [], 0
        factor = self.quantity(key).factor
        for runs in members.having(key).group(self.runs).values():
            cell: Cell | None = cell_of(key, runs)
            if self.baseline and cell is not None:
                cell = self.baseline.divided(cell, runs[0], key)
            if cell is None or not isinstance(cell.value, float):
                lost += 1
            else:
                found.append(self._point(runs, cell.scaled(factor)))
        return sorted(found, key=lambda point: point.x if point.at is None else point.at), lost

    @property
    def texts(self) -> list[str]:
        """Texts of the horizontal axis in their order; empty if all its values are numbers."""
        return list(dict.fromkeys((self.places or {}).values()))

    def _point(self, runs: Runs, cell: Cell) -> draw.Point:
        value = cell.value if isinstance(cell.value, float) else 0.0
        if self.along is None:
            return draw.Point(self._place(runs), value, cell)
        across = cell_of(self.x, runs).scaled(self.quantity(self.x).factor)
        return draw.Point(self._place(runs), value, cell, number(runs[0], self.along) or 0.0, across)

    def _place(self, runs: Runs) -> float:
        if self.places is not None:
            return float(self.texts.index(self.places[hashable(runs[0][self.x])]))
        at = cell_of(self.x, runs).value
        return float(at) * self.quantity(self.x).factor if isinstance(at, (int, float)) else 0.0


def lines_of(runs: Runs, options: Options) -> Lines:
    """Select the lines of a plot with free axes.

    Raises:
        LogError: A key is unknown or has no values, or there are too many lines or texts on the axis.
    """
    x, y = options.x or _BATCH, list(options.y) or [options.value or usual_metric(runs)]
    drawn = _with_values(options, runs, x, y)
    baseline = Baseline(options.baseline, drawn) if options.baseline else None
    chosen = list(dict.fromkeys([*options.series, *options.facet]))
    series, within = _divisions(drawn, x, chosen, options)
    if baseline:
        baseline.match_by([*within, *chosen, *series])
    is_numeric = None not in drawn.numbers(x)
    lines = Lines(x, y, drawn, series, within, baseline, options.along, None if is_numeric else _texts(drawn, x))
    lines.labels = _labels(lines)
    return lines


def _is_measured(key: str) -> bool:
    return key.startswith("results.")


def _with_values(options: Options, runs: Runs, x: str, y: Sequence[str]) -> Runs:
    known = runs.names
    asked = {"--x": [x] if options.x else [], "--y": options.y, "--series": options.series, "--facet": options.facet}
    for flag, names in {**asked, "--baseline": options.baseline}.items():
        check_keys(names, known, flag)
    good = runs.ok
    for key in y:
        if good.having(key):
            continue
        if any(value is not None for value in good.distinct(key)):
            hint = "use texts for the horizontal axis (--x), lines (--series) or panels (--facet)"
            raise LogError(f"{key} has no numbers", where="--y", hint=hint)
        hint = "dlbs parse LOG shows the keys of a log"
        raise LogError(f"no successful experiment has {key}", where="--y", hint=hint)
    placed = good.where([value is not None for value in good.values(x)])
    values = zip(*map(placed.numbers, y), strict=True)
    drawn = placed.where([any(value is not None for value in row) for row in values])
    if not drawn:
        hint = "choose the horizontal axis with --x KEY; dlbs parse LOG shows the keys of a log"
        raise LogError(f"no successful experiment has {x} and {' or '.join(y)}", where="--x", hint=hint)
    return drawn


def _divisions(drawn: Runs, x: str, chosen: Sequence[str], options: Options) -> tuple[list[str], list[str]]:
    """Parameters that separate lines, and those that separate points of a line; only repeats remain within a point."""
    at = [options.along] if options.along else [] if _is_measured(x) else [x]
    given = list(dict.fromkeys([*chosen, *options.baseline, *at]))
    split = [
        name
        for name in distinguishing_names(drawn, given=given, without=["exp.effective_batch"])
        if _divides(drawn, given, name)  # parameters that follow from the given ones would only make labels longer
    ]
    own = [name for name in options.baseline if name not in (x, *chosen)]
    series = [*options.series, *own]
    if at:
        return [*series, *split], at
    # Over a measured value, each experiment is a point; lines are the requested ones, or models.
    title = title_name(drawn)
    if not options.series and title in split:
        series.append(title)
    return series, [name for name in split if name not in series]


def _divides(records: Runs, given: Sequence[str], name: str) -> bool:
    """Whether experiments with equal given parameters differ in this one."""
    return any(len(group.distinct(name)) > 1 for group in records.group(given).values())


def _texts(drawn: Runs, x: str) -> dict[Any, str]:
    places = {hashable(group[0][x]): shown_value(group[0], x) for group in in_order(drawn, [x])}
    if len(places) > _MOST_PLACES:
        hint = FEWER
        raise LogError(f"{len(places)} values of {x} are too many for one plot", where="--x", hint=hint)
    return places


def _labels(lines: Lines) -> dict[tuple[Any, ...], str]:
    """Label each line. The baseline relative to itself is not a line, unless its parameter is the horizontal axis."""
    found: dict[tuple[Any, ...], str] = {}
    shown = sorted(varying(lines.drawn, lines.series), key=lines.series.index)
    for members in in_order(lines.drawn, lines.series):
        base = lines.baseline
        if base is None or lines.x in base.values or not all(base.having(members)):
            key = tuple(hashable(members[0].get(name)) for name in lines.series)
            found[key] = label_of(members[0], shown) if shown else ""
    if not found:
        hint = "choose a parameter that differs between experiments"
        raise LogError(f"all experiments have {lines.baseline}", where="--baseline", hint=hint)
    if len(found) > MOST_LINES:
        hint = f"{FEWER}, or use panels (--facet)"
        raise LogError(f"{len(found)} lines are too many for one plot", hint=hint)
    return found


_MOST_PANELS = 16
_WIDTH_OF_TITLE = 40  # characters


def draw_axes(figure: Figure, runs: Runs, options: Options, title: str = "") -> draw.Description:
    """Draw lines of medians: a row of panels for each quantity, a panel for each facet, all with the same horizontal axis; presets have titles."""
    lines = lines_of(runs, options)
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
    if lines.along:
        notes.append(_label_along(figure, lines, options))
    explained = draw.explain_points(cells)
    if lines.baseline:
        explained = explained.replace("of the median", "of the ratio").replace("from the batches", "of the ratio")
    what = f"{', '.join(lines.quantity(key).name for key in lines.y)} {'by' if lines.places else 'against'} {key_title(lines.x)}"
    if lines.baseline:
        what += f", relative to {lines.baseline}"
    shown = [lines.x, *options.facet, *varying(lines.drawn, lines.series)]
    notes = [explained, *notes, draw.left_out(runs, lines.drawn)]
    shown += [lines.along] if lines.along else []
    return draw.Description(
        title or titled(label(what)), lines.drawn, shown, notes, direct=_is_joined(lines), hollow=True
    )


_MOST_LABELLED = 4  # lines with labels at points


def _label_along(figure: Figure, lines: Lines, options: Options) -> str:
    """Label the points of each line with the parameter along it, and set up the measured axis; returns the explanation."""
    (axes,) = figure.axes
    groups = lines.drawn.group(lines.series)
    points = [lines.points(groups[line], lines.y[0])[0] for line in lines.labels]
    every = [point for line in points for point in line]
    draw.set_scale(axes.xaxis, [point.x for point in every], options.log_x, [one.across for one in every if one.across])
    name = key_title(lines.along or "")
    if len(points) > _MOST_LABELLED:
        return f"lines: from the smallest {name} to the largest"
    for index, line in enumerate(points):
        for point in line:
            axes.annotate(
                f"{point.at:.10g}", (point.x, point.value), xytext=(5, 5), textcoords="offset points", fontsize="small",
                color=draw.colour(index),
            )  # fmt: skip
    return f"labels at points: {name}; lines: from the smallest to the largest"


def _is_joined(lines: Lines) -> bool:
    """Whether points are connected: not between texts, nor between measured values, which have no order."""
    return lines.places is None and (not lines.is_measured or lines.along is not None)


def _x_label(lines: Lines) -> str:
    return label(key_title(lines.x)) if lines.places is not None else str(lines.quantity(lines.x))


def _panels(lines: Lines, facet: Sequence[str]) -> list[Runs]:
    """Experiments of each panel, without a panel that would show only the baseline."""
    panels = in_order(lines.drawn, facet) if facet else [lines.drawn]
    kept = [
        panel
        for panel in panels
        if any(tuple_ in lines.labels for tuple_ in panel.group(lines.series))
        and not (
            lines.baseline and not lines.baseline.values.keys().isdisjoint(facet) and all(lines.baseline.having(panel))
        )
    ]
    if len(kept) * len(lines.y) > _MOST_PANELS:
        count = f"{len(kept)} × {len(lines.y)}" if len(lines.y) > 1 else str(len(kept))
        raise LogError(f"{count} panels are too many for one plot", where="--facet", hint=FEWER)
    return kept


def _draw_quantity(
    places: Sequence[Axes],
    lines: Lines,
    panels: Sequence[Runs],
    key: str,
    options: Options,
    named: set[str],
) -> tuple[list[Cell], int]:
    """Draw one quantity into its panels with a common scale; returns the drawn cells, and the number of values without a baseline."""
    points_drawn: list[draw.Point] = []
    without_base = 0
    for axes, panel in zip(places, panels, strict=True):
        members = panel.group(lines.series)
        for index, (line, words) in enumerate(lines.labels.items()):
            points, lost = lines.points(members.get(line, panel.take([])), key)
            without_base += lost
            if points:
                wide = 10.0 if lines.places is not None else 4.0
                draw.draw_line(
                    axes, points, index, None if words in named else words, lines=1 if lines.is_measured else len(lines.labels),
                    joined=_is_joined(lines), apart=wide,
                )  # fmt: skip
                named.add(words)
                points_drawn += points
        if lines.baseline:
            axes.axhline(1, color=draw.muted(), linewidth=1, linestyle=":", zorder=0)
    if not points_drawn:
        hint = "each value needs a baseline experiment that is equal otherwise"
        raise LogError(f"no value of {key} can be divided by a baseline value", where="--baseline", hint=hint)
    for axes in places[1:]:
        axes.sharey(places[0])
    draw.set_scale(
        places[0].yaxis,
        [*(point.value for point in points_drawn), *([1.0] if lines.baseline else [])],
        options.log_scale,
        [point.cell for point in points_drawn],
    )
    words = str(lines.quantity(key))
    for axes in places:
        axes.set_ylabel(f"{words}\n{label(f'relative to {lines.baseline}')}" if lines.baseline else words)
    return [point.cell for point in points_drawn], without_base


def _facet_title(record: Record, facet: Sequence[str]) -> str:
    words = label(", ".join(f"{key_title(name)} {shown_value(record, name) or 'none'}" for name in facet), None)
    return "\n".join(textwrap.wrap(words, _WIDTH_OF_TITLE)) or words


def _set_x_axis(figure: Figure, lines: Lines, log_x: bool | None) -> None:
    """Set up a horizontal axis of texts in their order, or of numbers."""
    if lines.places is not None:
        if log_x:
            raise LogError(
                f"{lines.x} has texts, not numbers: no logarithmic axis", where="--log-x", hint="remove the flag"
            )
        draw.set_text_x(figure, figure.axes, lines.texts)
        return
    factor = lines.quantity(lines.x).factor
    values = [value * factor for value in lines.drawn.numbers(lines.x) if value is not None]
    if lines.along:
        return  # set up with the intervals of the points
    for axes in figure.axes:
        draw.set_numeric_x(axes, values, log_x, is_parameter=not lines.is_measured, where=lines.x)
