"""Plot throughput or another quantity over replica batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, label_of, varying
from dlbs.results.plots.axis import set_numeric_x, set_y_scale
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.points import Point, draw_line, explain_points
from dlbs.results.plots.quantities import quantity_of, titled
from dlbs.results.plots.selection import MOST_LINES, check_count, in_order, with_value
from dlbs.results.read.records import number
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import cells_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["throughput"]

_BATCH = "exp.replica_batch"


def throughput(figure: Figure, results: Results) -> Description:
    """Draw a line of medians over replica batches for each model and group, with intervals as error bars."""
    key = results.options.value or usual_metric(results.records)
    drawn = [record for record in with_value(results.records, key) if (number(record, _BATCH) or 0) > 0]
    if not drawn:
        hint = "use --type bars, or choose another axis with --x KEY"
        raise LogError(f"no successful experiment has {_BATCH} and {key}", hint=hint)
    quantity = quantity_of(key, drawn)
    axes = figure.subplots()
    names = distinguishing_names(
        drawn, results.declarations, given=["exp.model", _BATCH], without=["exp.effective_batch"]
    )
    shown = varying(drawn, ["exp.model", *names])
    lines = in_order(drawn, ["exp.model", *names])
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    cells = []
    set_numeric_x(
        axes, [number(record, _BATCH) or 0.0 for record in drawn], results.options.log_x, is_parameter=True, where=_BATCH
    )  # fmt: skip
    for index, line in enumerate(lines):
        points = []
        for runs in in_order(line, [_BATCH]):
            cell = cells_of(key)(runs).scaled(quantity.factor)
            if isinstance(cell.value, float):
                points.append(Point(number(runs[0], _BATCH) or 0.0, cell.value, cell))
        cells += [point.cell for point in points]
        draw_line(axes, points, index, label_of(line[0], shown), lines=len(lines))
    axes.set_xlabel(str(quantity_of(_BATCH, drawn)))
    axes.set_ylabel(str(quantity))
    set_y_scale(axes, [cell.value for cell in cells if isinstance(cell.value, float)], results.options.log_scale, cells)
    return Description(
        titled(f"{quantity.name} against replica batch"),
        drawn,
        [_BATCH],
        [explain_points(cells), left_out(results.records, drawn)],
        direct=True,
        hollow=True,
    )
