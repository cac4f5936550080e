"""Operations per second over operations per byte, below the limits of the device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, label_of, varying
from dlbs.results.plots.style import MOST_LINES, add_title, in_order, label, left_out, legend, plain_ticks, style
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.text import short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Results

__all__ = ["roofline"]


def roofline(figure: Figure, results: Results) -> None:
    """Achieved operations a second over operations for each byte, below what the device can do."""
    drawn = [
        record
        for record in results.records
        if status_of(record) == "ok"
        and all(number(record, key) for key in ("results.flops", "results.flops_per_batch", "results.bytes_per_batch"))
    ]
    if not drawn:
        raise LogError(
            "no experiment counted its operations and bytes",
            hint="pytorch.passes=memory,flops logs results.flops_per_batch and results.bytes_per_batch",
        )
    axes = figure.subplots()
    names = distinguishing_names(drawn, results.declarations, given=["exp.model"], without=["exp.effective_batch"])
    intensities = []
    sets = in_order(drawn, ["exp.model", *names])
    shown = varying(drawn, ["exp.model", *names])
    if len(sets) > MOST_LINES:
        raise LogError(f"{len(sets)} points are too many for one plot", hint="choose some with --filter_query")
    for index, group in enumerate(sets):
        xs = [_of(record, "results.flops_per_batch") / _of(record, "results.bytes_per_batch") for record in group]
        ys = [_of(record, "results.flops") / 1e9 for record in group]
        intensities += xs
        points = {**style(index), "linestyle": ""}
        axes.plot(xs, ys, label=label(label_of(group[0], shown)), **points)
    peaks = [_of(record, "results.flops") / share / 1e9 for record in drawn if (share := number(record, "results.mfu"))]
    peak = 1e3 * results.options.peak_tflops if results.options.peak_tflops else max(peaks, default=None)
    bandwidth = results.options.peak_bandwidth
    low, high = min(intensities) / 4, max(intensities) * 4
    if bandwidth is not None:
        edge = min(peak / bandwidth, high * 4) if peak else high
        low, high = min(low, edge / 4), max(high, edge * 2)
        axes.plot(
            [low, edge],
            [low * bandwidth, edge * bandwidth],
            color="#555555",
            label=f"memory: {short_number(bandwidth)} GB/s",
        )
        if peak:
            axes.plot([edge, high], [peak, peak], color="#555555")
    elif peak:
        axes.plot([low, high], [peak, peak], color="#555555")
    if peak:
        axes.annotate(
            f"peak: {short_number(peak / 1e3)} TFLOP/s", (high, peak), ha="right", va="bottom", fontsize="small"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("operations for each byte that kernels read or write, FLOP/byte")
    axes.set_ylabel("achieved, GFLOP/s")
    left_out(axes, results.records, drawn)
    add_title(axes, drawn)
    legend(figure, axes)


def _of(record: Record, key: str) -> float:
    return number(record, key) or math.nan
