"""Plots of results, drawn by matplotlib without a screen."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.formatting import printable, short_number
from dlbs.parameters import Parameter, text
from dlbs.results.keys import unit_of
from dlbs.results.records import Record, number, status_of
from dlbs.results.series import series_of, smoothed
from dlbs.results.settings import describe, groups, telling_names
from dlbs.results.statistics import require
from dlbs.results.tables import Table, custom_tables, devices, ordered, scaling_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["KINDS", "Options", "draw", "save", "svg"]

# Colours that stay apart for all common kinds of colour blindness (Okabe and Ito 2008); markers and dashes tell the same a second time.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
_MARKERS = "os^Dvx+*"
_DASHES = ("-", "--", "-.", ":")
_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # texts stay texts: they can be searched, and files stay small
    "svg.hashsalt": "dlbs",  # the same figure is the same file
    "text.parse_math": False,  # a dollar in a stranger's name is a dollar
}
_MOST_LINES = 24


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about a plot.

    Attributes:
        value: Key of the quantity; None for the usual one.
        title: Title; None for the usual one.
        log_scale: Logarithmic axis of the quantity; None decides by its range.
        peak_tflops: Roofline: peak of the device in 10^12 operations a second; None takes it from the logs, if they know it.
        peak_bandwidth: Roofline: memory bandwidth in 10^9 bytes a second; None draws no slope.
    """

    value: str | None = None
    title: str | None = None
    log_scale: bool | None = None
    peak_tflops: float | None = None
    peak_bandwidth: float | None = None


def draw(
    kind: str, records: Sequence[Record], declarations: Mapping[str, Parameter], options: Options = Options()
) -> Figure:
    """Draw a figure.

    Args:
        kind: A key of `KINDS`.
        records: Experiments; those without a value are left out, and the figure says how many.
        declarations: Tell which parameters say what an experiment is.
        options: What can be chosen.

    Raises:
        LogError: matplotlib is not installed, or there is nothing to draw.
    """
    figure_module = require("matplotlib.figure", "reports")
    matplotlib = require("matplotlib", "reports")
    with matplotlib.rc_context(_STYLE):
        figure: Figure = figure_module.Figure(figsize=(8, 4.8), layout="constrained")
        KINDS[kind](figure, list(records), declarations, options)
        if options.title is not None:
            figure.axes[0].set_title(_label(options.title))
    return figure


def save(figure: Figure, path: str) -> None:
    """Write a figure to a `.png` or `.svg` file, at once or not at all.

    Raises:
        LogError: Another kind of file is asked for, or it cannot be written.
    """
    target = Path(path)
    if target.suffix not in {".png", ".svg"}:
        raise LogError("unknown kind of picture", where=path, hint="name it .png or .svg")
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(_rendered(figure, target.suffix[1:]))
        os.replace(beside, target)
    except OSError as error:
        raise LogError(f"cannot be written: {error.strerror or error}", where=path) from None
    finally:
        beside.unlink(missing_ok=True)


def svg(figure: Figure) -> str:
    """The figure as SVG text."""
    return _rendered(figure, "svg").decode()


def _rendered(figure: Figure, form: str) -> bytes:
    matplotlib = require("matplotlib", "reports")
    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format=form, metadata={"Date": None} if form == "svg" else None)
    return out.getvalue()


def _label(words: str) -> str:
    """A text for a figure, without control characters and of bounded length."""
    words = printable(words).replace("\n", " ")
    return words if len(words) <= 80 else words[:77] + "…"


def _style(index: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[(index + index // len(_COLOURS)) % len(_MARKERS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
        "markersize": 5,
    }


def _axis_label(key: str, records: Sequence[Record]) -> str:
    if key == "results.throughput":
        units = {text(record["results.unit"]) for record in records if record.get("results.unit")}
        return _label(f"throughput, {units.pop() if len(units) == 1 else 'instances'}/s")
    if key == "results.time":
        return "batch time, ms"
    unit = unit_of(key)
    return _label(f"{key}, {unit}" if unit else key)


def _set_scale(axes: Axes, values: Iterable[float], log_scale: bool | None) -> None:
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) / min(positive) > 30
    if log_scale if log_scale is not None else wide:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def _plain_ticks(axis: Any) -> None:
    """Numbers as `0.5` and `2,000` at the powers of ten: matplotlib's own are formulas, which are switched off here."""
    ticker = require("matplotlib.ticker", "reports")
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    count = len(axes.get_legend_handles_labels()[0])
    if count > 1:
        if count <= 6:
            axes.legend(fontsize="small")
        else:
            figure.legend(loc="outside right upper", fontsize="x-small")


def _with_value(records: Sequence[Record], key: str) -> list[Record]:
    good = [record for record in records if status_of(record) == "ok" and number(record, key) is not None]
    if not good:
        raise LogError(f"no experiment that ended well has {key}", hint="dlbs parse LOG shows the keys of a log")
    return good


def _left_out(axes: Axes, records: Sequence[Record], drawn: Sequence[Record]) -> None:
    missing = len(records) - len(drawn)
    if missing:
        axes.annotate(
            f"{missing} of {len(records)} experiments have no value", (0, 1), xycoords="axes fraction",
            va="bottom", fontsize="small", color="#555555",
        )  # fmt: skip


def _throughput(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    key = options.value or "results.throughput"
    drawn = _with_value(records, key)
    axes = figure.subplots()
    _lines_over(axes, drawn, declarations, key, "exp.replica_batch", [])
    axes.set_xscale("log", base=2)
    ticks = sorted({int(batch) for record in drawn if (batch := number(record, "exp.replica_batch"))})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("replica batch, instances")
    axes.set_ylabel(_axis_label(key, drawn))
    _set_scale(axes, [value for record in drawn if (value := number(record, key)) is not None], options.log_scale)
    _left_out(axes, records, drawn)
    _legend(figure, axes)


def _lines_over(
    axes: Axes,
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    key: str,
    over: str,
    without: Sequence[str],
) -> None:
    """One line for each model and setting: medians, with the interval of each as an error bar."""
    names = telling_names(records, declarations, given=["exp.model", over], without=["exp.effective_batch", *without])
    lines = _in_order(records, ["exp.model", *names])
    if len(lines) > _MOST_LINES:
        raise LogError(f"{len(lines)} lines are too many for one plot", hint="choose some with --filter_query")
    for index, line in enumerate(lines):
        (table, *_) = custom_tables(line, declarations, [over], [], [key], without=["exp.effective_batch", *without])
        points = [
            (float(labels[0]), cells[0].value, cells[0].low, cells[0].high)
            for labels, cells in zip(table.rows, table.cells, strict=True)
            if isinstance(cells[0].value, float) and _is_number(labels[0])
        ]
        if not points:
            continue
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        below = [y - low if low is not None else 0.0 for _, y, low, _ in points]
        above = [high - y if high is not None else 0.0 for _, y, _, high in points]
        axes.errorbar(
            xs, ys, yerr=[below, above], capsize=3 if any(below) or any(above) else 0,
            label=_label(describe(line[0], ["exp.model", *names])), **_style(index),
        )  # fmt: skip


def _in_order(records: Sequence[Record], names: Sequence[str]) -> list[list[Record]]:
    """Groups of records in the order in which tables show them."""
    found = groups(records, names)
    return [found[key] for key in ordered(found, names)]


def _is_number(words: str) -> bool:
    try:
        return math.isfinite(float(words))
    except ValueError:
        return False


def _scaling(
    kind: str,
) -> Callable[[Figure, list[Record], Mapping[str, Parameter], Options], None]:
    def drawn(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
        tables = scaling_tables(records, declarations, kind)[2::4]
        counts = sorted({devices(record) for record in records})
        axes = figure.subplots()
        index = 0
        for table in tables:
            for labels, cells in zip(table.rows, table.cells, strict=True):
                points = [
                    (count, cell.value)
                    for count, cell in zip(_columns(table), cells, strict=True)
                    if isinstance(cell.value, float)
                ]
                if points:
                    xs, ys = zip(*points, strict=True)
                    setting = table.title.partition("(")[2].rstrip(")") if len(tables) > 1 else ""
                    name = ", ".join(filter(None, [labels[0], f"{table.names[1]} {labels[1]}", setting]))
                    axes.plot(xs, ys, label=_label(name), **_style(index))
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
        axes.set_title(f"{kind} scaling: {'replica' if kind == 'weak' else 'effective'} batch fixed")
        _legend(figure, axes)

    return drawn


def _columns(table: Table) -> list[int]:
    return [int(column.split()[-1]) for column in table.columns]


def _bars(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    key = options.value or "results.throughput"
    drawn = _with_value(records, key)
    names = telling_names(drawn, declarations, given=["exp.model"], without=["exp.effective_batch"])
    sets = _in_order(drawn, names)
    models = list(dict.fromkeys(text(record.get("exp.model")) for record in drawn))
    if len(sets) > _MOST_LINES or len(models) > 60:
        raise LogError(
            f"{len(sets)} × {len(models)} bars are too many for one plot", hint="choose some with --filter_query"
        )
    axes = figure.subplots()
    width = 0.8 / len(sets)
    hatches = ("", "//", "..", "xx")
    for index, group in enumerate(sets):
        (table, *_) = custom_tables(group, declarations, ["exp.model"], [], [key], without=["exp.effective_batch"])
        for labels, cells in zip(table.rows, table.cells, strict=True):
            cell = cells[0]
            if not isinstance(cell.value, float):
                continue
            error = (
                [[cell.value - cell.low], [cell.high - cell.value]]
                if cell.low is not None and cell.high is not None
                else None
            )
            axes.bar(
                models.index(labels[0]) + (index - (len(sets) - 1) / 2) * width, cell.value, 0.95 * width, yerr=error, capsize=3,
                color=_COLOURS[index % len(_COLOURS)], hatch=hatches[index // len(_COLOURS) % len(hatches)],
                label=_label(describe(group[0], names) or "all") if labels == table.rows[0] else None,
            )  # fmt: skip
    long = sum(map(len, models)) > 70
    axes.set_xticks(
        range(len(models)),
        [_label(model) for model in models],
        rotation=40 if long else 0,
        ha="right" if long else "center",
    )
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(_axis_label(key, drawn))
    _set_scale(axes, [value for record in drawn if (value := number(record, key)) is not None], options.log_scale)
    _left_out(axes, records, drawn)
    _legend(figure, axes)


def _series(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    if len(records) != 1:
        raise LogError(f"{len(records)} experiments are too many for a time series", hint="give one log")
    series = series_of(records[0])
    if series is None:
        raise LogError("the experiment has no batch times (results.time_data)")
    watched = list(series.monitor.items())[:4]
    figure.set_size_inches(8, 4.2 + 1.3 * len(watched))
    rows = figure.subplots(
        1 + len(watched), 1, sharex=bool(watched), squeeze=False, height_ratios=[3, *[1] * len(watched)]
    )
    axes = rows[0][0]
    # With a monitor, seconds are the axis that both have; else batches say more.
    xs: list[float] = series.ends if watched else [float(n) for n in range(1, len(series.times) + 1)]
    steady = series.steady - len(series.warmup)
    axes.plot(xs, series.times, ".", markersize=4, color=_COLOURS[4], label="batch")
    axes.plot(xs, smoothed(series.times), color=_COLOURS[0], label="running median")
    if series.warmup:
        before = (
            [-value for value in _reversed_sums(series.warmup)] if watched else list(range(1 - len(series.warmup), 1))
        )
        axes.plot(before, series.warmup, ".", markersize=4, color=_COLOURS[7], label="warm-up")
    if steady > 0:
        axes.axvline(xs[min(steady, len(xs) - 1)], color=_COLOURS[1], linestyle="--", label="steady from here")
    outliers = [xs[outlier.batch - 1] for outlier in series.outliers]
    axes.plot(
        outliers,
        [outlier.time for outlier in series.outliers],
        "x",
        color=_COLOURS[1],
        label="outlier" if outliers else None,
    )
    axes.set_ylabel("batch time, ms")
    _set_scale(axes, [*series.warmup, *series.times], options.log_scale)
    for row, (name, (moments, values)) in zip(rows[1:], watched, strict=True):
        row[0].plot(moments, values, color=_COLOURS[2])
        row[0].set_ylabel(_label(name).replace(", ", ",\n"), fontsize="small")
        row[0].set_ylim(bottom=0)
    rows[-1][0].set_xlabel("s since the first timed batch" if watched else "timed batch")
    names = [name for name in ("exp.model", "exp.phase", "exp.dtype", "exp.replica_batch") if name in records[0]]
    axes.set_title(_label(describe(records[0], names)))
    axes.legend(fontsize="small")


def _reversed_sums(milliseconds: Sequence[float]) -> list[float]:
    """Seconds from the end of each warm-up batch to the beginning of timing."""
    total, sums = 0.0, []
    for value in reversed(milliseconds):
        sums.append(total)
        total += value / 1000
    return sums[::-1]


def _heat_map(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    key = options.value or "results.throughput"
    _with_value(records, key)
    tables = custom_tables(
        records, declarations, ["exp.model"], ["exp.replica_batch"], [key], without=["exp.effective_batch"]
    )
    if len(tables) > 9:
        raise LogError(f"{len(tables)} heat maps are too many for one figure", hint="choose some with --filter_query")
    figure.set_size_inches(
        max(6.0, 2.5 + 0.8 * max(len(table.columns) for table in tables)),
        sum(1.6 + 0.4 * len(table.rows) for table in tables),
    )
    colours = require("matplotlib.colors", "reports")
    rows = figure.subplots(
        len(tables), 1, squeeze=False, height_ratios=[1.6 + 0.4 * len(table.rows) for table in tables]
    )
    for (axes,), table in zip(rows, tables, strict=True):
        values = [[cell.value if isinstance(cell.value, float) else math.nan for cell in row] for row in table.cells]
        positive = [value for row in values for value in row if value > 0]
        wide = bool(positive) and max(positive) / min(positive) > 30
        use_log = wide if options.log_scale is None else options.log_scale
        norm = colours.LogNorm(min(positive), max(positive)) if use_log and positive else None
        image = axes.imshow(values, aspect="auto", cmap="cividis", norm=norm)
        middle = (
            math.sqrt(min(positive) * max(positive)) if norm and positive else sum(positive) / max(1, len(positive))
        )
        for y, row in enumerate(table.texts()):
            for x, words in enumerate(row[len(table.names) :]):
                value = values[y][x]
                dark = not math.isnan(value) and value < middle
                axes.text(
                    x, y, _label(words.split(" ")[0]), ha="center", va="center", fontsize="small", color="white" if dark else "black"
                )  # fmt: skip
        axes.set_xticks(range(len(table.columns)), [_label(column.split()[-1]) for column in table.columns])
        axes.set_yticks(range(len(table.rows)), [_label(row[0]) for row in table.rows])
        axes.grid(visible=False)
        axes.set_xlabel("replica batch, instances")
        axes.set_title(_label(table.title), fontsize="medium")
        figure.colorbar(image, ax=axes, label=_axis_label(key, records))


def _roofline(figure: Figure, records: list[Record], declarations: Mapping[str, Parameter], options: Options) -> None:
    drawn = [
        record
        for record in records
        if status_of(record) == "ok"
        and all(number(record, key) for key in ("results.flops", "results.flops_per_batch", "results.bytes_per_batch"))
    ]
    if not drawn:
        raise LogError(
            "no experiment counted its operations and bytes",
            hint="pytorch.passes=memory,flops logs results.flops_per_batch and results.bytes_per_batch",
        )
    axes = figure.subplots()
    names = telling_names(drawn, declarations, given=["exp.model"], without=["exp.effective_batch"])
    intensities = []
    sets = _in_order(drawn, ["exp.model", *names])
    if len(sets) > _MOST_LINES:
        raise LogError(f"{len(sets)} points are too many for one plot", hint="choose some with --filter_query")
    for index, group in enumerate(sets):
        xs = [_of(record, "results.flops_per_batch") / _of(record, "results.bytes_per_batch") for record in group]
        ys = [_of(record, "results.flops") / 1e9 for record in group]
        intensities += xs
        style = {**_style(index), "linestyle": ""}
        axes.plot(xs, ys, label=_label(describe(group[0], ["exp.model", *names])), **style)
    peaks = [_of(record, "results.flops") / share / 1e9 for record in drawn if (share := number(record, "results.mfu"))]
    peak = 1e3 * options.peak_tflops if options.peak_tflops else max(peaks, default=None)
    bandwidth = options.peak_bandwidth
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
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("operations for each byte that kernels read or write, FLOP/byte")
    axes.set_ylabel("achieved, GFLOP/s")
    _left_out(axes, records, drawn)
    _legend(figure, axes)


def _of(record: Record, key: str) -> float:
    return number(record, key) or math.nan


KINDS: dict[str, Callable[[Figure, list[Record], Mapping[str, Parameter], Options], None]] = {
    "throughput": _throughput,
    "weak": _scaling("weak"),
    "strong": _scaling("strong"),
    "bars": _bars,
    "series": _series,
    "heatmap": _heat_map,
    "roofline": _roofline,
}
