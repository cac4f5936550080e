"""Plot accuracy or loss after each epoch of a training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.logs import finite
from dlbs.results.grouping import distinguishing_names, label_of, varying
from dlbs.results.plots.appearance import marks
from dlbs.results.plots.axis import plain_ticks
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.quantities import label, quantity_of, titled
from dlbs.results.plots.selection import MOST_LINES, check_count, check_some_ended_well, in_order
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["accuracy"]

_USUAL = "results.epoch_accuracy_top1"


def accuracy(figure: Figure, results: Results) -> Description:
    """Draw a line of medians over epochs for each model and group, with a band from the minimum to the maximum run."""
    key = results.options.value or _USUAL
    drawn = [record for record in results.records if status_of(record) == "ok" and _epochs(record, key)]
    if not drawn:
        check_some_ended_well(results.records)
        raise LogError(
            f"no successful experiment has {key} of its epochs",
            hint="train.py logs it; --value results.epoch_loss plots the loss",
        )
    axes = figure.subplots()
    names = distinguishing_names(drawn, results.declarations, given=["exp.model"], without=["exp.effective_batch"])
    lines = in_order(drawn, ["exp.model", *names])
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    shown = varying(drawn, ["exp.model", *names])
    for index, line in enumerate(lines):
        look = marks(index)
        runs = [_epochs(record, key) for record in line]
        columns = [[run[at] for run in runs if at < len(run)] for at in range(max(map(len, runs)))]
        epochs = list(range(1, len(columns) + 1))
        if len(epochs) > 30:
            look["marker"] = ""
        axes.plot(epochs, list(map(statistics.median, columns)), label=label(label_of(line[0], shown)), **look)
        if len(runs) > 1:
            axes.fill_between(
                epochs, list(map(min, columns)), list(map(max, columns)), color=look["color"], alpha=0.18, linewidth=0
            )
    quantity = quantity_of(key, drawn)
    axes.set_xlabel("epoch")
    axes.set_ylabel(str(quantity))
    longest = max(len(_epochs(record, key)) for record in drawn)
    locator = require("matplotlib.ticker", "reports").MaxNLocator(10, steps=[1, 2, 5, 10], integer=True)
    ticks = sorted({1, longest, *(int(one) for one in locator.tick_values(1, longest) if 1 < one < 0.96 * longest)})
    axes.set_xticks(ticks)
    plain_ticks(axes.yaxis)
    most = max(map(len, lines))
    notes = ["lines: single runs" if most == 1 else f"lines: median of up to {most} runs; bands: minimum to maximum"]
    return Description(
        titled(f"{quantity.name} by epoch"), drawn, (), [*notes, left_out(results.records, drawn)], direct=True
    )


def _epochs(record: Record, key: str) -> Sequence[float]:
    """Value after each epoch; empty if a log has no such list."""
    values = record.get(key)
    found = [one for value in values if (one := finite(value)) is not None] if isinstance(values, list) else []
    return found if isinstance(values, list) and len(found) == len(values) else []
