"""Plot a quantity over tags or commits in chronological order: medians with intervals, and changes of level."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from dlbs.core.errors import LogError, did_you_mean
from dlbs.core.text import text
from dlbs.results.grouping import label_of
from dlbs.results.keys import Quantity, better_of, key_title, label, quantity_of, titled
from dlbs.results.plots import draw
from dlbs.results.plots.plot import FEWER, Options, check_count, experiments_in, with_value
from dlbs.results.runs import Runs, start_order, usual_metric
from dlbs.results.statistics.series import FALSE_ALARMS, Level, levels_of
from dlbs.results.tables.cells import cell_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PLACES = ("db.tags", "exp.code.commit")
# Parameters that are expected to differ between tags, and do not distinguish experiments.
_CHANGES = ("exp.framework_version", "exp.dlbs_version", "exp.id")
_MOST_TRENDS = 12
_MOST_PLACES = 200
_LONGEST_COMMIT = 10


class TrendLine(NamedTuple):
    """One experiment over time: its label, which is empty if there is only one, its points from left to right, and its levels.

    `x` of a point is the index of the tag or commit.
    """

    words: str
    points: list[draw.Point]
    levels: list[Level]


def history(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a panel for each experiment, all over the same tags or commits."""
    key = options.value or usual_metric(runs)
    valued = with_value(runs, key)
    axis = options.x or next((one for one in PLACES if any(valued.distinct(one))), "")
    if not axis:
        hint = "read tagged results from a store (--db); to add some: dlbs db add LOGS --tag v1"
        raise LogError("no experiment has a tag or a commit", hint=hint)
    drawn = valued.where(valued.each([axis], lambda run: places_in(run.get(axis))))
    if not drawn:
        hint = did_you_mean(axis, valued.names) or f"usual keys: {', '.join(PLACES)}"
        raise LogError(f"no successful experiment has {axis}", where="--x", hint=hint)
    places = _ordered(drawn, axis)
    check_count(len(places), f"values of {axis}", too_many=len(places) > _MOST_PLACES)
    quantity = quantity_of(key, drawn)
    trends = trends_of(drawn, axis, key, quantity)
    check_count(len(trends), "experiments", too_many=len(trends) > _MOST_TRENDS)
    marked = _marked(options.mark, places)
    if options.size is None and len(trends) > 1:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height * (0.25 + 0.42 * len(trends)))
    rows = [axes for (axes,) in figure.subplots(len(trends), 1, squeeze=False, sharex=True)]
    for axes, trend in zip(rows, trends, strict=True):
        draw.draw_line(axes, trend.points, 0, None)
        _draw_changes(axes, trend, better_of(key))
        for place in marked:
            axes.axvline(place, color=draw.muted(), linewidth=1, linestyle=":", zorder=0)
        cells = [point.cell for point in trend.points]
        draw.set_close_y(axes, [point.value for point in trend.points], options.log_scale, cells)
        axes.set_title(label(trend.words), fontsize="medium", loc="left")
        axes.set_ylabel(str(quantity).replace(", ", ",\n") if len(trends) > 1 else str(quantity))
    names = [place[:_LONGEST_COMMIT] if axis == "exp.code.commit" else place for place in places]
    draw.set_text_x(figure, rows, names)
    for axes in rows[:-1]:
        axes.tick_params(labelbottom=False)
    rows[-1].set_xlabel(f"{key_title(axis)}, in chronological order")
    cells = [point.cell for trend in trends for point in trend.points]
    notes = [draw.explain_points(cells)]
    if any(len(trend.levels) > 1 for trend in trends):
        notes.append(
            f"dashed: change of level (E-divisive; false alarms: {100 * FALSE_ALARMS:g} % of series without a change); "
            "lines: median of each level"
        )
    if marked:
        notes.append("dotted: marked by --mark")
    notes.append(draw.left_out(runs, drawn))
    shown = [axis, "exp.effective_batch", *_CHANGES]
    return draw.Description(titled(f"{quantity.name} over {key_title(axis)}s"), drawn, shown, notes, hollow=True)


def places_in(value: Any) -> list[str]:
    """Places on the axis: tags, or the value of another key; empty if there is none."""
    return [text(one) for one in value] if isinstance(value, list) else [text(value)] if value not in (None, "") else []


def trends_of(drawn: Runs, axis: str, key: str, quantity: Quantity) -> list[TrendLine]:
    """Line of each experiment over tags or commits.

    Args:
        drawn: Experiments with the quantity and a tag or commit.
        axis: Key of the horizontal axis.
        key: Key of the quantity.
        quantity: Its name and unit on the axis.
    """
    places = _ordered(drawn, axis)
    experiments, shown = experiments_in(drawn, [*_CHANGES, axis])
    found = []
    for members in experiments:
        points = []
        for at, place in enumerate(places):
            cell = cell_of(key, members.where(place in places_in(value) for value in members.values(axis)))
            if isinstance(cell.value, float):
                scaled = cell.scaled(quantity.factor)
                points.append(draw.Point(float(at), cell.value * quantity.factor, scaled))
        words = label_of(members[0], shown) if shown else ""
        found.append(TrendLine(words, points, levels_of([point.value for point in points])))
    return found


def _ordered(drawn: Runs, axis: str) -> list[str]:
    """Tags or commits in the order in which their first experiments began."""
    first: dict[str, float] = {}
    for record in drawn:
        moment = start_order(record)
        for place in places_in(record.get(axis)):
            first[place] = min(first.get(place, moment), moment)
    return sorted(first, key=lambda place: first[place])


def _marked(wanted: Collection[str], places: Sequence[str]) -> list[int]:
    """Indices of the tags or commits to mark; a prefix of a commit is enough."""
    found = []
    for words in wanted:
        fits = [at for at, place in enumerate(places) if place == words]
        fits = fits or [at for at, place in enumerate(places) if place.startswith(words)]
        if not fits:
            hint = did_you_mean(words, places) or FEWER
            raise LogError(f"{words!r} is not on the horizontal axis", where="--mark", hint=hint)
        found.append(fits[0])
    return found


def _draw_changes(axes: Axes, trend: TrendLine, better: int) -> None:
    """Draw a line at each change of level with the relative difference, and the median of each level."""
    for level in trend.levels if len(trend.levels) > 1 else ():
        span = [trend.points[level.first].x - 0.4, trend.points[level.end - 1].x + 0.4]
        axes.plot(span, [level.median, level.median], color=draw.muted(), linewidth=1, zorder=1)
    for before, after in pairwise(trend.levels):
        ratio = after.median / before.median - 1 if before.median else 0.0
        ink = draw.warning_colour() if ratio * better < 0 else draw.colour(2)
        place = (trend.points[before.end - 1].x + trend.points[after.first].x) / 2
        axes.axvline(place, color=ink, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"{100 * ratio:+.3g} %", (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
            color=ink, fontsize="small", va="top", ha="left",
        )  # fmt: skip
