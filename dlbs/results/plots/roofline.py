"""Plot a roofline: operations per second over operations per byte, with the limits of the device (Williams, Waterman and Patterson, CACM 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, groups, label_of, varying
from dlbs.results.plots.appearance import marks, muted
from dlbs.results.plots.axis import plain_number, plain_ticks
from dlbs.results.plots.frame import Description, left_out
from dlbs.results.plots.quantities import label, quantity_of
from dlbs.results.plots.selection import MOST_LINES, check_count, check_some_ended_well, in_order
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dlbs.results.plots.options import Options, Results

__all__ = ["roofline"]

_KEYS = ("results.flops", "results.flops_per_batch", "results.bytes_per_batch")
_SAME = 0.02  # peaks that differ by less are equal: each is computed from a run
_ROOFS = ["exp.device_title", "exp.dtype"]
_LABEL = 0.25  # room for the label of the memory limit, as a share of the width of the axes


def roofline(figure: Figure, results: Results) -> Description:
    """Draw achieved operations per second over operations per byte, with the limits of the device."""
    drawn = [
        record
        for record in results.records
        if status_of(record) == "ok" and all((number(record, key) or 0) > 0 for key in _KEYS)
        if 0 < _of(record, "results.flops_per_batch") / _of(record, "results.bytes_per_batch") < math.inf
    ]
    if not drawn:
        check_some_ended_well(results.records)
        raise LogError(
            "no experiment has counts of operations and bytes",
            hint="pytorch.passes=memory,flops logs results.flops_per_batch and results.bytes_per_batch",
        )
    axes = figure.subplots()
    names = distinguishing_names(drawn, results.declarations, given=["exp.model"], without=["exp.effective_batch"])
    sets = in_order(drawn, ["exp.model", *names])
    shown = varying(drawn, ["exp.model", *names])
    check_count(len(sets), "points", too_many=len(sets) > MOST_LINES)
    quantity = quantity_of("results.flops", drawn)
    intensities: list[float] = []
    for index, group in enumerate(sets):
        xs = [_of(record, "results.flops_per_batch") / _of(record, "results.bytes_per_batch") for record in group]
        intensities += xs
        ys = [_of(record, "results.flops") * quantity.factor for record in group]
        axes.plot(xs, ys, label=label(label_of(group[0], shown)), **{**marks(index), "linestyle": ""})
    peaks = _peaks(drawn, results.options)
    bandwidth = results.options.peak_bandwidth * 1e9 if results.options.peak_bandwidth else None
    low, high = min(intensities) / 4, max(intensities) * 4
    if bandwidth and peaks:
        low, high = min(low, min(peaks.values()) / bandwidth / 4), max(high, 2 * max(peaks.values()) / bandwidth)
    _draw_roofs(
        axes,
        {name: peak * quantity.factor for name, peak in peaks.items()},
        bandwidth,
        low,
        high,
        quantity.factor,
        quantity.unit,
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("arithmetic intensity, FLOP/byte")
    axes.set_ylabel(f"achieved performance, {quantity.unit}")
    unknown = [
        "" if peaks else "peak of the device unknown: set it with --peak_tflops",
        "" if bandwidth else "memory bandwidth unknown: set it with --peak_bandwidth",
    ]
    notes = ["points: single runs; bytes: read and written by each operation separately", *unknown]
    return Description(
        "Roofline: achieved performance against arithmetic intensity",
        drawn,
        shown,
        [*notes, left_out(results.records, drawn)],
    )


def _peaks(drawn: Sequence[Record], options: Options) -> dict[str, float]:
    """Map names to peaks in operations per second: the given one, or those that the logged MFU was computed with."""
    if options.peak_tflops:
        return {"": 1e12 * options.peak_tflops}
    found: dict[str, float] = {}
    differs = varying(drawn, _ROOFS)
    for members in groups(drawn, differs).values():
        peaks = [_of(one, "results.flops") / share for one in members if (share := number(one, "results.mfu"))]
        peaks = [peak for peak in peaks if math.isfinite(peak)]
        if peaks:
            found[label_of(members[0], differs) if differs else ""] = max(peaks)
    if found and max(found.values()) <= (1 + _SAME) * min(found.values()):
        return {"": max(found.values())}
    return found


def _draw_roofs(
    axes: Axes, peaks: dict[str, float], bandwidth: float | None, low: float, high: float, factor: float, unit: str
) -> None:
    """Draw the compute limits, and the memory limit up to the highest of them."""
    slope = bandwidth * factor if bandwidth else None
    for name, peak in peaks.items():
        axes.plot([max(low, peak / slope) if slope else low, high], [peak, peak], color=muted())
        words = f"peak{f' ({label(name)})' if name else ''}: {_digits(peak)} {unit}"
        axes.annotate(
            words, (high, peak), xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", fontsize="small"
        )
    if slope and bandwidth:
        edge = min(max(peaks.values()) / slope, high) if peaks else high
        axes.plot([low, edge], [low * slope, edge * slope], color=muted())
        middle = math.sqrt(low * edge)
        # Above the line, where no points are, unless the label would extend beyond the axis.
        above = math.log(middle / low) > _LABEL * math.log(high / low)
        axes.annotate(
            f"memory: {_digits(bandwidth / 1e9)} GB/s", (middle, middle * slope), xytext=(-4, 4) if above else (6, -4),
            textcoords="offset points", ha="right" if above else "left", va="bottom" if above else "top", fontsize="small",
        )  # fmt: skip


def _digits(value: float) -> str:
    """Format with at most four digits, without an exponent."""
    return plain_number(float(f"{value:.4g}"))


def _of(record: Record, key: str) -> float:
    return number(record, key) or math.nan
