"""Speed-up over devices, with the ideal line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import common_label
from dlbs.results.plots.style import label, legend, style
from dlbs.results.tables.scaling import devices, scaling_tables
from dlbs.results.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["strong_scaling", "weak_scaling"]


def weak_scaling(figure: Figure, results: Results) -> None:
    """Speed-up with the replica batch fixed."""
    _draw(figure, results, "weak")


def strong_scaling(figure: Figure, results: Results) -> None:
    """Speed-up with the effective batch fixed."""
    _draw(figure, results, "strong")


def _draw(figure: Figure, results: Results, kind: str) -> None:
    tables = scaling_tables(results.records, results.declarations, kind)[2::4]
    counts = sorted({devices(record) for record in results.records})
    axes = figure.subplots()
    index = 0
    rows = [labels for table in tables for labels in table.rows]
    differs = [len({labels[at] for labels in rows}) > 1 for at in range(2)]
    for table in tables:
        for labels, cells in zip(table.rows, table.cells, strict=True):
            points = [
                (count, cell.value)
                for count, cell in zip(_columns(table), cells, strict=True)
                if isinstance(cell.value, float)
            ]
            if points:
                xs, ys = zip(*points, strict=True)
                group = table.title.partition("(")[2].rstrip(")") if len(tables) > 1 else ""
                words = [labels[0] if differs[0] else "", f"{table.names[1]} {labels[1]}" if differs[1] else "", group]
                name = ", ".join(filter(None, words)) or labels[0]
                axes.plot(xs, ys, label=label(name), **style(index))
                index += 1
    if index == 0:
        raise LogError("no experiment that ended well has results.throughput", hint="dlbs status shows what failed")
    axes.plot(counts, counts, color="#8A8A8A", linestyle=":", label="ideal", zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    low, high = math.floor(math.log2(counts[0])) - 1, math.ceil(math.log2(counts[-1])) + 1
    ticks = [2.0**power for power in range(low, high + 1)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("GPUs (on CPUs: replicas)")
    axes.set_ylabel("speed-up over the fewest")
    fixed = f"{kind} scaling: {'replica' if kind == 'weak' else 'effective'} batch fixed"
    without = ["exp.replica_batch"] if kind == "strong" else []
    axes.set_title(
        label(", ".join(filter(None, [fixed, common_label(results.records, without=without)]))), fontsize="medium"
    )
    legend(figure, axes)


def _columns(table: Table) -> list[int]:
    return [int(column.split()[-1]) for column in table.columns]
