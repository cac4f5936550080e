"""Which experiments make which line of a plot with free axes, and where their points are."""

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
    """What is drawn.

    Attributes:
        x: Key of the horizontal axis.
        y: Keys of the quantities.
        drawn: The experiments that have an x and a y.
        series: Parameters that divide lines: those that were asked for, and all others that differ.
        runs: Parameters that divide the points of a line.
        baseline: Divides all values; None if there is none.
        places: Texts of the horizontal axis in their order; None if all of its values are numbers.
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
        """Whether the horizontal axis is a result, which differs from run to run."""
        return _is_measured(self.x)

    def quantity(self, key: str) -> Quantity:
        """How an axis shows a key. Divided by another of its kind, a quantity has no unit."""
        found = quantity_of(key, self.drawn)
        return Quantity(found.name) if self.baseline and key != self.x else found

    def points(self, members: Sequence[Record], key: str) -> tuple[list[Point], int]:
        """The points of a line from left to right, and how many have no baseline.

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
    """What a plot with free axes draws.

    Raises:
        LogError: A key is not known, has no value, or there are too many lines or places.
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
            hint = "texts can be on the horizontal axis (--x), divide lines (--series) or panels (--facet)"
            raise LogError(f"{key} has no numbers", where="--y", hint=hint)
        hint = "dlbs parse LOG shows the keys of a log"
        raise LogError(f"no experiment that ended well has {key}", where="--y", hint=hint)
    drawn = [one for one in good if one.get(x) is not None and any(number(one, key) is not None for key in y)]
    if not drawn:
        hint = "choose the horizontal axis with --x KEY; dlbs parse LOG shows the keys of a log"
        raise LogError(f"no experiment that ended well has {x} and {' or '.join(y)}", where="--x", hint=hint)
    return drawn


def _divisions(
    drawn: Sequence[Record], declarations: Mapping[str, Parameter], x: str, chosen: Sequence[str], options: Options
) -> tuple[list[str], list[str]]:
    """The parameters that divide lines, and those that divide the points of a line; repeats are all that is left then."""
    at = [] if _is_measured(x) else [x]
    given = list(dict.fromkeys([*chosen, *options.baseline, *at]))
    split = [
        name
        for name in distinguishing_names(drawn, declarations, given=given, without=["exp.effective_batch"])
        if _divides(drawn, given, name)  # what follows from the given ones would only make labels longer
    ]
    own = [name for name in options.baseline if name not in (x, *chosen)]
    series = [*options.series, *own]
    if at:
        return [*series, *split], at
    # Over a measured value each experiment is a point: lines are those that were asked for, or models.
    title = title_name(drawn)
    if not options.series and title in split:
        series.append(title)
    return series, [name for name in split if name not in series]


def _divides(records: Sequence[Record], given: Sequence[str], name: str) -> bool:
    """Whether experiments that agree in the given parameters differ in this one."""
    return any(len({hashable(one.get(name)) for one in group}) > 1 for group in groups(records, given).values())


def _texts(drawn: Sequence[Record], x: str) -> list[str]:
    places = list(dict.fromkeys(shown_value(group[0], x) for group in in_order(drawn, [x])))
    if len(places) > _MOST_PLACES:
        hint = FEWER
        raise LogError(f"{len(places)} values of {x} are too many for one plot", where="--x", hint=hint)
    return places


def _labels(lines: Lines) -> dict[tuple[Any, ...], str]:
    """A label for each line. The baseline divided by itself is no line, unless its parameter is the horizontal axis."""
    found: dict[tuple[Any, ...], str] = {}
    shown = sorted(varying(lines.drawn, lines.series), key=lines.series.index)
    for members in in_order(lines.drawn, lines.series):
        base = lines.baseline
        if base is None or lines.x in base.values or not all(map(base.has, members)):
            key = tuple(hashable(members[0].get(name)) for name in lines.series)
            found[key] = label_of(members[0], shown) if shown else ""
    if not found:
        hint = "give a value of a parameter that differs"
        raise LogError(f"all experiments have {lines.baseline}", where="--baseline", hint=hint)
    if len(found) > MOST_LINES:
        hint = f"{FEWER}, or divide them into panels with --facet"
        raise LogError(f"{len(found)} lines are too many for one plot", hint=hint)
    return found
