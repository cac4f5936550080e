"""Lines and points of a plot with free axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, groups, hashable, label_of, title_name, varying
from dlbs.results.plots.baseline import Baseline
from dlbs.results.plots.options import Options, Results
from dlbs.results.plots.points import Point
from dlbs.results.plots.quantities import Quantity, quantity_of
from dlbs.results.plots.selection import FEWER, MOST_LINES, in_order
from dlbs.results.read.onelog import Record
from dlbs.results.read.query import check_keys
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import cells_of
from dlbs.results.tables.pivot import shown_value
from dlbs.results.tables.table import Cell

__all__ = ["Lines", "lines_of"]

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
        places: Texts of the horizontal axis in their order; None if all its values are numbers.
        labels: A label for each line, in the order of the legend.
    """

    x: str
    y: list[str]
    drawn: list[Record]
    series: list[str]
    runs: list[str]
    baseline: Baseline | None
    places: list[str] | None
    labels: dict[tuple[Any, ...], str] = field(default_factory=dict)

    @property
    def is_measured(self) -> bool:
        """Whether the horizontal axis is a result, which differs between runs."""
        return _is_measured(self.x)

    def quantity(self, key: str) -> Quantity:
        """Name and unit of a key on an axis; relative to a baseline, it has no unit."""
        found = quantity_of(key, self.drawn)
        return Quantity(found.name) if self.baseline and key != self.x else found

    def points(self, members: Sequence[Record], key: str) -> tuple[list[Point], int]:
        """Points of a line from left to right, and the number of points without a baseline.

        Args:
            members: The experiments of the line.
            key: The quantity.
        """
        found, lost = [], 0
        factor = self.quantity(key).factor
        valued = [record for record in members if number(record, key) is not None]
        for runs in groups(valued, self.runs).values():
            cell: Cell | None = cells_of(key)(runs)
            if self.baseline and cell is not None:
                cell = self.baseline.divided(cell, runs[0], key)
            if cell is None or not isinstance(cell.value, float):
                lost += 1
            else:
                found.append(Point(self._place(runs), cell.value * factor, cell.scaled(factor)))
        return sorted(found, key=lambda point: point.x), lost

    def _place(self, runs: list[Record]) -> float:
        if self.places is not None:
            return float(self.places.index(shown_value(runs[0], self.x)))
        at = cells_of(self.x)(runs).value
        return float(at) * self.quantity(self.x).factor if isinstance(at, (int, float)) else 0.0


def lines_of(results: Results) -> Lines:
    """Select the lines of a plot with free axes.

    Raises:
        LogError: A key is unknown or has no values, or there are too many lines or texts on the axis.
    """
    options, records = results.options, results.records
    x, y = options.x or _BATCH, list(options.y) or [options.value or usual_metric(records)]
    drawn = _with_values(options, records, x, y)
    baseline = Baseline(options.baseline, drawn) if options.baseline else None
    chosen = list(dict.fromkeys([*options.series, *options.facet]))
    series, runs = _divisions(drawn, results.declarations, x, chosen, options)
    if baseline:
        baseline.match_by([*runs, *chosen, *series])
    is_numeric = all(number(record, x) is not None for record in drawn)
    lines = Lines(x, y, drawn, series, runs, baseline, None if is_numeric else _texts(drawn, x))
    lines.labels = _labels(lines)
    return lines


def _is_measured(key: str) -> bool:
    return key.startswith("results.")


def _with_values(options: Options, records: Sequence[Record], x: str, y: Sequence[str]) -> list[Record]:
    known = dict.fromkeys(name for record in records for name in record)
    asked = {"--x": [x] if options.x else [], "--y": options.y, "--series": options.series, "--facet": options.facet}
    for flag, names in {**asked, "--baseline": options.baseline}.items():
        check_keys(names, known, flag)
    good = [record for record in records if status_of(record) == "ok"]
    for key in y:
        if any(number(record, key) is not None for record in good):
            continue
        if any(record.get(key) is not None for record in good):
            hint = "use texts for the horizontal axis (--x), lines (--series) or panels (--facet)"
            raise LogError(f"{key} has no numbers", where="--y", hint=hint)
        hint = "dlbs parse LOG shows the keys of a log"
        raise LogError(f"no successful experiment has {key}", where="--y", hint=hint)
    drawn = [one for one in good if one.get(x) is not None and any(number(one, key) is not None for key in y)]
    if not drawn:
        hint = "choose the horizontal axis with --x KEY; dlbs parse LOG shows the keys of a log"
        raise LogError(f"no successful experiment has {x} and {' or '.join(y)}", where="--x", hint=hint)
    return drawn


def _divisions(
    drawn: Sequence[Record], declarations: Mapping[str, Parameter], x: str, chosen: Sequence[str], options: Options
) -> tuple[list[str], list[str]]:
    """Parameters that separate lines, and those that separate points of a line; only repeats remain within a point."""
    at = [] if _is_measured(x) else [x]
    given = list(dict.fromkeys([*chosen, *options.baseline, *at]))
    split = [
        name
        for name in distinguishing_names(drawn, declarations, given=given, without=["exp.effective_batch"])
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


def _divides(records: Sequence[Record], given: Sequence[str], name: str) -> bool:
    """Whether experiments with equal given parameters differ in this one."""
    return any(len({hashable(one.get(name)) for one in group}) > 1 for group in groups(records, given).values())


def _texts(drawn: Sequence[Record], x: str) -> list[str]:
    places = list(dict.fromkeys(shown_value(group[0], x) for group in in_order(drawn, [x])))
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
        if base is None or lines.x in base.values or not all(map(base.has, members)):
            key = tuple(hashable(members[0].get(name)) for name in lines.series)
            found[key] = label_of(members[0], shown) if shown else ""
    if not found:
        hint = "choose a parameter that differs between experiments"
        raise LogError(f"all experiments have {lines.baseline}", where="--baseline", hint=hint)
    if len(found) > MOST_LINES:
        hint = f"{FEWER}, or use panels (--facet)"
        raise LogError(f"{len(found)} lines are too many for one plot", hint=hint)
    return found
