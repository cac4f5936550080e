"""Plot latency against throughput over batch sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, label_of, varying
from dlbs.results.plots.appearance import marks
from dlbs.results.plots.axis import set_measured_x, set_y_scale
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.points import errors_of, explain_points
from dlbs.results.plots.quantities import label, quantity_of
from dlbs.results.plots.selection import MOST_LINES, check_count, in_order, with_value
from dlbs.results.read.records import number
from dlbs.results.tables.cells import cells_of
from dlbs.text import short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["latency_throughput"]

_RATE, _BATCH = "results.throughput", "exp.replica_batch"
_LATENCIES = ("results.time_p99", "results.time")
_MOST_NAMED = 4  # largest number of lines with labels at points


def latency_throughput(figure: Figure, results: Results) -> Description:
    """Draw a line for each model and group from the smallest batch to the largest, each point with its batch size."""
    with_rate = with_value(results.records, _RATE)
    key = results.options.value or next(
        (one for one in _LATENCIES if all(number(record, one) is not None for record in with_rate)), _LATENCIES[-1]
    )
    drawn = [record for record in with_rate if number(record, key) is not None and number(record, _BATCH)]
    if not drawn:
        hint = "choose another latency with --value KEY"
        raise LogError(f"no successful experiment has {_RATE}, {key} and {_BATCH}", hint=hint)
    axes = figure.subplots()
    names = distinguishing_names(
        drawn, results.declarations, given=["exp.model", _BATCH], without=["exp.effective_batch"]
    )
    lines = in_order(drawn, ["exp.model", *names])
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    shown = varying(drawn, ["exp.model", *names])
    latency, rate = quantity_of(key, drawn), quantity_of(_RATE, drawn)
    cells, latencies, rates = [], [], []
    for index, line in enumerate(lines):
        look = marks(index)
        points = []
        for runs in in_order(line, [_BATCH]):
            x, y = cells_of(_RATE)(runs), cells_of(key)(runs).scaled(latency.factor)
            if isinstance(x.value, float) and isinstance(y.value, float):
                points.append((x.value, y.value, x, y, number(runs[0], _BATCH) or 0.0))
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        axes.errorbar(
            xs, ys, xerr=errors_of([point[2] for point in points]), yerr=errors_of([point[3] for point in points]),
            capsize=2, elinewidth=1, label=label(label_of(line[0], shown)), **look,
        )  # fmt: skip
        if hollow := [point for point in points if point[2].doubtful or point[3].doubtful]:
            axes.plot(
                [point[0] for point in hollow], [point[1] for point in hollow], linestyle="", color=look["color"],
                marker=look["marker"], markerfacecolor=axes.get_facecolor(), zorder=3, gid="doubtful",
            )  # fmt: skip
        if len(lines) <= _MOST_NAMED:
            for x_value, y_value, *_, batch in points:
                axes.annotate(
                    short_number(batch).rstrip("0").rstrip("."), (x_value, y_value), xytext=(5, 5), textcoords="offset points",
                    fontsize="small", color=look["color"],
                )  # fmt: skip
        cells += [point[2] for point in points]
        latencies += [point[3] for point in points]
        rates += xs
    set_measured_x(axes, rates, results.options.log_x, cells)
    set_y_scale(
        axes, [cell.value for cell in latencies if isinstance(cell.value, float)], results.options.log_scale, latencies
    )
    axes.set_xlabel(str(rate))
    axes.set_ylabel(f"latency: {latency}")
    which = "labels at points: replica batch; lines" if len(lines) <= _MOST_NAMED else "lines"
    notes = [
        explain_points(cells),
        f"{which}: from the smallest batch to the largest",
        left_out(results.records, drawn),
    ]
    return Description("Latency against throughput", drawn, [_BATCH], notes, hollow=True)
