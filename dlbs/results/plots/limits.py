"""Plots of limits: latency percentiles against offered load with the knee and bounds, and rooflines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError
from dlbs.results.grouping import label_of, varying
from dlbs.results.keys import Quantity, label, quantity_of
from dlbs.results.plots import draw
from dlbs.results.plots.plot import MOST_LINES, Options, check_count, check_some_ended_well, experiments_in, in_order
from dlbs.results.runs import FAMILY, PERCENTILES, Record, Runs, number
from dlbs.results.tables.cells import cell_of
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_RATE = "serving.target_qps"
_FEWEST_FOR_A_KNEE = 4
_DEPTH = 0.1  # share of the whole rise; smaller depths are noise, not a knee
_TRIALS = ", trials"


def latency_load(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw a line of latency over arrival rate for each percentile, model and group."""
    fine = runs.ok
    drawn = fine.where(fine.numbers(f"{FAMILY}offered_qps"))
    if not drawn:
        check_some_ended_well(runs)
        raise LogError(
            "no experiment has latencies of queries that arrive at a given rate",
            hint="run the server scenario at several rates: -Pexp.phase=serving -Pserving.scenario=server "
            "-Vserving.target_qps=10,20,40 -Pserving.target_latency=50, or let -Pserving.find=max_qps search",
        )
    axes = figure.subplots()
    sets, shown = experiments_in(drawn, [_RATE])
    lines = [(group, key, loads) for group in sets for key, loads in loads_of(group).items()]
    check_count(len(lines), "lines", too_many=len(lines) > MOST_LINES)
    for index, (group, key, loads) in enumerate(lines):
        words = label_of(group[0], shown) if shown else ""
        # Runs of a search, many at nearly the same rate, are points without a line.
        draw.draw_line(axes, loads, index, f"{words}, {key}" if words else key, joined=not _is_searched(key))
    swept = [line for line in lines if not _is_searched(line[1])]
    knees = [knee for _, key, loads in swept if key == _last(swept) and (knee := knee_of(loads))]
    for knee in knees:
        _mark_knee(axes, knee, "queries/s")
    _draw_bounds(axes, drawn)
    axes.set_xlim(0, 1.05 * max([load.x for *_, loads in lines for load in loads] or [1.0]))
    draw.plain_ticks(axes.xaxis)
    axes.set_xlabel("offered load, queries/s")
    axes.set_ylabel("latency, ms")
    every = [load for *_, loads in lines for load in loads]
    bound = list(filter(None, drawn.numbers("serving.target_latency")))
    draw.set_scale(
        axes.yaxis, [load.value for load in every] + bound[:1], options.log_scale, [load.cell for load in every]
    )
    notes = [draw.explain_points([load.cell for load in every]).replace("from the batches", "from the queries")]
    if knees:
        notes.append("knee: latency begins to rise steeply (Kneedle)")
    if drawn.having(f"{FAMILY}max_qps"):
        notes.append("max: highest rate that keeps the bound; band: its 95 % confidence interval")
    notes.append(draw.left_out(runs, drawn))
    return draw.Description("Latency against offered load", drawn, [_RATE], notes, direct=True, hollow=True)


def _mark_knee(axes: Axes, knee: draw.Point, unit: str) -> None:
    axes.annotate(
        f"knee: {knee.x:,.4g} {unit}", (knee.x, knee.value), xytext=(-8, 14), textcoords="offset points", ha="right",
        fontsize="small", arrowprops={"arrowstyle": "-", "color": draw.muted()},
        bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.7, "pad": 1},
    )  # fmt: skip


def mark_knees(axes: Axes) -> bool:
    """Mark the knee of each line of a finished plot; returns whether there is one."""
    unit = axes.get_xlabel().rpartition(", ")[2]
    found = False
    for container in axes.containers:
        line: Any = container[0]
        loads = sorted((draw.Point(x, y, Cell(None)) for x, y in line.get_xydata().tolist()), key=lambda load: load.x)
        if knee := knee_of(loads):
            _mark_knee(axes, knee, unit)
            found = True
    return found


def loads_of(runs: Runs) -> dict[str, list[draw.Point]]:
    """Map each percentile to latencies in order of rate; runs at one rate are one point, their median. Trials of a search are points too.

    Args:
        runs: Experiments that differ only in the rate, and repeats.
    """
    found: dict[str, list[draw.Point]] = {}
    swept = runs.where([value is None for value in runs.numbers(f"{FAMILY}max_qps")])
    for group in in_order(swept, [_RATE]):
        rate = cell_of(f"{FAMILY}offered_qps", group).value
        for name in PERCENTILES:
            cell = cell_of(f"{FAMILY}latency_{name}", group)
            if isinstance(cell.value, float) and isinstance(rate, float):
                found.setdefault(name, []).append(draw.Point(rate, cell.value, cell))
    for record in runs:
        trials = record.get(f"{FAMILY}trials")
        for trial in trials if isinstance(trials, list) else []:
            load = _trial(trial)
            if load is not None:
                found.setdefault(f"p{number(record, f'{FAMILY}percentile') or 0:g}{_TRIALS}", []).append(load)
    return {name: sorted(loads, key=lambda load: load.x) for name, loads in found.items()}


def knee_of(loads: Sequence[draw.Point]) -> draw.Point | None:
    """Point at which latency begins to rise steeply: the one farthest below the straight line from first to last (Satopää et al., Finding a
    Kneedle in a haystack, ICDCSW 2011), on the nearest non-decreasing curve, since latencies that fall with load are noise.

    Returns:
        None for fewer than four points, or if there is no knee.
    """
    if len(loads) < _FEWEST_FOR_A_KNEE:
        return None
    rising = draw.never_falling([load.value for load in loads])
    first = loads[0]
    width, height = loads[-1].x - first.x, rising[-1] - rising[0]
    if width <= 0 or height <= 0:
        return None
    below = [
        (load.x - first.x) / width - (latency - rising[0]) / height for load, latency in zip(loads, rising, strict=True)
    ]
    farthest = max(range(len(loads)), key=below.__getitem__)
    return loads[farthest] if below[farthest] > _DEPTH else None


def _last(lines: Sequence[tuple[Any, str, Any]]) -> str:
    """Percentile whose knee is marked: the highest available one."""
    return max((key for _, key, _ in lines), key=lambda key: float(key[1:].partition(",")[0]))


def _is_searched(key: str) -> bool:
    return key.endswith(_TRIALS)


def _draw_bounds(axes: Axes, drawn: Runs) -> None:
    """Draw the common latency bound, and the highest rates with their intervals."""
    bounds = {*drawn.numbers("serving.target_latency")}
    if len(bounds) == 1 and (bound := bounds.pop()):
        axes.axhline(bound, color=draw.muted(), linestyle=":", label=f"bound: {bound:,.4g} ms")
    for record in drawn:
        limit, interval = number(record, f"{FAMILY}max_qps"), record.get(f"{FAMILY}max_qps_ci95")
        if limit is not None:
            if isinstance(interval, list) and len(interval) == 2 and all(isinstance(one, float) for one in interval):
                axes.axvspan(interval[0], interval[1], color=draw.muted(), alpha=0.15, linewidth=0)
            axes.axvline(limit, color=draw.muted(), linestyle="--", label=f"max: {limit:,.4g} queries/s")


def _trial(trial: object) -> draw.Point | None:
    """Parse a trial of a search; None if it is malformed or its latency is not finite."""
    if not isinstance(trial, dict):
        return None
    rate, latency = number(trial, "qps"), number(trial, "latency")
    return None if rate is None or latency is None else draw.Point(rate, latency, Cell(None))


_KEYS = ("results.flops", "results.flops_per_batch", "results.bytes_per_batch")
_SAME = 0.02  # peaks that differ by less are equal: each is computed from a run
_ROOFS = ["exp.device_title", "exp.dtype"]
_LABEL = 0.25  # room for the label of the memory limit, as a share of the width of the axes


def roofline(figure: Figure, runs: Runs, options: Options) -> draw.Description:
    """Draw achieved operations per second over operations per byte, with the limits of the device."""
    fine = runs.ok
    drawn = fine.where(
        min(rate or 0, flops or 0, moved or 0) > 0 and 0 < (flops or 0) / (moved or 1) < math.inf
        for rate, flops, moved in zip(*map(fine.numbers, _KEYS), strict=True)
    )
    if not drawn:
        check_some_ended_well(runs)
        raise LogError(
            "no experiment has counts of operations and bytes",
            hint="pytorch.passes=memory,flops logs results.flops_per_batch and results.bytes_per_batch",
        )
    axes = figure.subplots()
    sets, shown = experiments_in(drawn)
    check_count(len(sets), "points", too_many=len(sets) > MOST_LINES)
    quantity = quantity_of("results.flops", drawn)
    intensities: list[float] = []
    for index, group in enumerate(sets):
        xs = [_of(record, "results.flops_per_batch") / _of(record, "results.bytes_per_batch") for record in group]
        intensities += xs
        ys = [_of(record, "results.flops") * quantity.factor for record in group]
        axes.plot(xs, ys, label=label(label_of(group[0], shown)), **{**draw.marks(index), "linestyle": ""})
    peaks = _peaks(drawn, options)
    bandwidth = options.peak_bandwidth * 1e9 if options.peak_bandwidth else None
    low, high = min(intensities) / 4, max(intensities) * 4
    if bandwidth and peaks:
        low, high = min(low, min(peaks.values()) / bandwidth / 4), max(high, 2 * max(peaks.values()) / bandwidth)
    _draw_roofs(axes, peaks, bandwidth, low, high, quantity)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    draw.plain_ticks(axes.xaxis)
    draw.plain_ticks(axes.yaxis)
    axes.set_xlabel("arithmetic intensity, FLOP/byte")
    axes.set_ylabel(f"achieved performance, {quantity.unit}")
    notes = [
        "points: single runs; bytes: read and written by each operation separately",
        "" if peaks else "peak of the device unknown: set it with --peak_tflops",
        "" if bandwidth else "memory bandwidth unknown: set it with --peak_bandwidth",
        draw.left_out(runs, drawn),
    ]
    return draw.Description("Roofline: achieved performance against arithmetic intensity", drawn, shown, notes)


def _peaks(drawn: Runs, options: Options) -> dict[str, float]:
    """Map names to peaks in operations per second: the given one, or those that the logged MFU was computed with."""
    if options.peak_tflops:
        return {"": 1e12 * options.peak_tflops}
    found: dict[str, float] = {}
    differs = varying(drawn, _ROOFS)
    for members in drawn.group(differs).values():
        peaks = [_of(one, "results.flops") / share for one in members if (share := number(one, "results.mfu"))]
        peaks = [peak for peak in peaks if math.isfinite(peak)]
        if peaks:
            found[label_of(members[0], differs) if differs else ""] = max(peaks)
    if found and max(found.values()) <= (1 + _SAME) * min(found.values()):
        return {"": max(found.values())}
    return found


def _draw_roofs(
    axes: Axes, peaks: dict[str, float], bandwidth: float | None, low: float, high: float, quantity: Quantity
) -> None:
    """Draw the compute limits, and the memory limit up to the highest of them."""
    slope = bandwidth * quantity.factor if bandwidth else None
    peaks = {name: peak * quantity.factor for name, peak in peaks.items()}
    for name, peak in peaks.items():
        axes.plot([max(low, peak / slope) if slope else low, high], [peak, peak], color=draw.muted())
        words = f"peak{f' ({label(name)})' if name else ''}: {_digits(peak)} {quantity.unit}"
        axes.annotate(
            words, (high, peak), xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", fontsize="small"
        )
    if slope and bandwidth:
        edge = min(max(peaks.values()) / slope, high) if peaks else high
        axes.plot([low, edge], [low * slope, edge * slope], color=draw.muted())
        middle = math.sqrt(low * edge)
        # Above the line, where no points are, unless the label would extend beyond the axis.
        above = math.log(middle / low) > _LABEL * math.log(high / low)
        axes.annotate(
            f"memory: {_digits(bandwidth / 1e9)} GB/s", (middle, middle * slope), xytext=(-4, 4) if above else (6, -4),
            textcoords="offset points", ha="right" if above else "left", va="bottom" if above else "top", fontsize="small",
        )  # fmt: skip


def _digits(value: float) -> str:
    """Format with at most four digits, without an exponent."""
    return draw.plain_number(float(f"{value:.4g}"))


def _of(record: Record, key: str) -> float:
    return number(record, key) or math.nan
