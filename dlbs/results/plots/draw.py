"""How all plots look: styles, colours, frames, scales, ticks, points and lines of matplotlib."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError, did_you_mean, require
from dlbs.core.text import first_few, text
from dlbs.results.grouping import common_label
from dlbs.results.keys import label
from dlbs.results.runs import Record, Runs
from dlbs.results.tables.table import DOUBTFUL, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DOTS_PER_INCH = 150  # of PNG files, as in styles/light.mplstyle
_COLOURS = 8  # of each style
_MARKERS = "os^Dv<>P"
_DASHES = ("-", "--", "-.", ":")
_DARK = "#14181d"  # background in styles/dark.mplstyle
# Style → one line of help; the others change `light`.
STYLES = {
    "light": "dark on white",
    "dark": "light on black",
    "paper": "smaller, for a column of a paper",
    "slides": "larger, 16:9",
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*(in|cm|mm|px)?\s*", re.ASCII)
_PER_INCH = {"in": 1.0, "cm": 2.54, "mm": 25.4, "px": DOTS_PER_INCH}
_LEAST, _MOST = 1.0, 60.0  # inches


def settings(style: str) -> dict[str, Any]:
    """Settings of matplotlib for a style.

    Raises:
        LogError: The style is unknown.
    """
    if style not in STYLES:
        hint = did_you_mean(style, STYLES) or f"choose from {', '.join(STYLES)}"
        raise LogError(f"unknown style {style!r}", where="--style", hint=hint)
    read, styles = require("matplotlib", "reports").rc_params_from_file, Path(__file__).parent / "styles"
    files = [styles / f"{name}.mplstyle" for name in dict.fromkeys(["light", style])]
    return {name: value for file in files for name, value in read(file, use_default_template=False).items()}


def size_of(words: str) -> tuple[float, float]:
    """Parse a size such as `8x5`, `16x9cm`, `120x80mm` or `1200x700px` into inches; a pixel is 1/150 inch, as in PNG files.

    Raises:
        LogError: It is not a size, or too small or large for a figure.
    """
    found = _SIZE.fullmatch(words)
    if not found:
        raise LogError(f"{words!r} is not a size", where="--size", hint="write 8x5 (inches), 16x9cm or 1200x700px")
    width, height = (float(found[at]) / _PER_INCH[found[3] or "in"] for at in (1, 2))
    if not all(math.isfinite(one) and _LEAST <= one <= _MOST for one in (width, height)):
        what = f"{words!r} is {width:.3g} x {height:.3g} inches"
        raise LogError(what, where="--size", hint=f"choose {_LEAST:g} to {_MOST:g} inches")
    return width, height


def colour(index: int) -> str:
    """Colour of a line, bar or box."""
    colours = require("matplotlib", "reports").rcParams["axes.prop_cycle"].by_key()["color"]
    return str(colours[index % len(colours)])


def marks(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of a line: eight colours, with different markers and dashes in each cycle."""
    return {
        "color": colour(index),
        "marker": _MARKERS[(index + index // _COLOURS) % len(_MARKERS)],
        "linestyle": _DASHES[index // _COLOURS % len(_DASHES)],
    }


def muted() -> str:
    """Colour of background elements: limits, ideal lines, notes."""
    return str(require("matplotlib", "reports").rcParams["axes.edgecolor"])


def warning_colour() -> str:
    """Colour of notes on doubtful results."""
    is_dark = require("matplotlib", "reports").rcParams["figure.facecolor"] == _DARK
    return "#ff9b8a" if is_dark else "#aa3333"


_FEW_TICKS = 4  # largest ratio of maximum to minimum of a logarithmic axis with labels at all ticks
_MOST_TICKS = 12
_WIDE = 30  # ratio of maximum to minimum from which an axis is logarithmic


def has_wide_range(values: Iterable[float]) -> bool:
    """Whether values are better shown on a logarithmic axis; values of 0 or less are ignored."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > _WIDE


def is_logarithmic(values: Iterable[float], log_scale: bool | None) -> bool:
    """Whether the axis of a quantity is logarithmic: as chosen, else depending on the range."""
    values = list(values)
    if log_scale and not any(value > 0 for value in values):
        hint = "remove the flag"
        raise LogError("no value is greater than 0: no logarithmic axis", where="--log-scale", hint=hint)
    return log_scale if log_scale is not None else has_wide_range(values)


def set_close_y(axes: Axes, values: Iterable[float], log_scale: bool | None, cells: Iterable[Cell] = ()) -> None:
    """Set up a vertical axis whose linear scale is tight around the values, for small relative changes."""
    values, cells = list(values), list(cells)
    set_scale(axes.yaxis, values, log_scale, cells)
    if values and axes.get_yscale() == "linear":
        shown = _with_bounds(values, cells)
        margin = 0.1 * (max(shown) - min(shown)) or 0.05 * abs(values[0]) or 1.0
        axes.set_ylim(min(shown) - margin, max(shown) + 2 * margin)


def _with_bounds(values: Iterable[float], cells: Iterable[Cell]) -> list[float]:
    return [*values, *(bound for cell in cells for bound in (cell.low, cell.high) if bound is not None)]


def set_scale(axis: Any, values: Iterable[float], chosen: bool | None, cells: Iterable[Cell] = ()) -> None:
    """Set up the axis of a quantity: logarithmic, or linear from zero.

    Args:
        axis: Horizontal or vertical axis of the plot.
        values: All drawn values.
        chosen: Whether it is logarithmic; None decides by the values.
        cells: Cells whose intervals must fit too.
    """
    values = list(values)
    shown = _with_bounds(values, cells)
    set_limits = getattr(axis.axes, f"set_{axis.axis_name}lim")
    if is_logarithmic(values, chosen):
        positive = [value for value in shown if value > 0]
        getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
        set_limits(*_with_margins(min(positive), max(positive), logarithmic=True))
    elif shown and min(shown) >= 0:
        set_limits(0, 1.06 * max(shown) or 1.0)
    plain_ticks(axis)


def log_ticks(low: float, high: float) -> list[float]:
    """A few round numbers between two bounds: powers of ten or, if these are fewer than three, also 2 and 5 times these."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(ticks) >= 3:
            return ticks
    return [low, high]


def whole_ticks(last: int, most: int = 10) -> list[int]:
    """Round whole numbers from 1 to the last one, which are ticks too, far enough apart for labels."""
    locator = require("matplotlib.ticker", "reports").MaxNLocator(most, steps=[1, 2, 5, 10], integer=True)
    found = [int(one) for one in locator.tick_values(1, last) if 1 < one < last]
    gap = 0.7 * (found[1] - found[0]) if len(found) > 1 else 0
    return sorted({1, *(one for one in found if one - 1 >= gap and last - one >= gap), last})


def plain_number(value: float) -> str:
    """Format the number at a tick: `0.5`, `2,000`."""
    return f"{value:,.10g}"


def plain_ticks(axis: Any) -> None:
    """Format ticks as `0.5` and `2,000` instead of matplotlib's formulas, which are disabled here.

    A logarithmic axis has labels at powers of ten, and between these if it shows at most one power.
    """
    ticker = require("matplotlib.ticker", "reports")
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: plain_number(value)))
    if axis.get_scale() == "log":
        axis.set_minor_formatter(
            ticker.FuncFormatter(lambda value, _: _between_powers(value, *sorted(axis.get_view_interval())))
        )


def _between_powers(value: float, low: float, high: float) -> str:
    """Label of a tick between two powers of ten; empty if there are enough other labels."""
    if low <= 0 or math.floor(math.log10(high)) > math.ceil(math.log10(low)):
        return ""
    digit = value / 10 ** math.floor(math.log10(value))
    is_round = any(math.isclose(digit, one) for one in (2, 3, 5, 7))
    return plain_number(value) if high / low <= _FEW_TICKS or is_round else ""


def set_numeric_x(axes: Axes, values: Iterable[float], log_x: bool | None, *, is_parameter: bool, where: str) -> None:
    """Set up a horizontal axis of numbers: logarithmic if they double or range widely; for a parameter, with ticks at its values.

    Args:
        axes: Axes of the plot.
        values: All drawn values.
        log_x: The chosen scale; None decides by the values.
        is_parameter: The values were chosen, not measured.
        where: Key of the axis, for the message.

    Raises:
        LogError: A logarithmic axis is requested, and some value has no logarithm.
    """
    xs = sorted(set(values))
    if log_x and xs[0] <= 0:
        what = f"{where} is {xs[0]:g} in some experiments: no logarithmic axis"
        raise LogError(what, where="--log-x", hint="remove the flag, or select experiments with --filter-query")
    doubles = len(xs) > 1 and all(x > 0 and math.log2(x).is_integer() for x in xs)
    logarithmic = log_x if log_x is not None else xs[0] > 0 and (doubles or has_wide_range(xs))
    if logarithmic:
        axes.set_xscale("log", base=2 if doubles else 10)
    axes.set_xlim(*_with_margins(xs[0], xs[-1], logarithmic=logarithmic))
    plain_ticks(axes.xaxis)
    if is_parameter:
        ticks = _spread(xs, logarithmic=logarithmic)
        axes.set_xticks(ticks, list(map(plain_number, ticks)))
        axes.minorticks_off()


def _with_margins(low: float, high: float, *, logarithmic: bool) -> tuple[float, float]:
    """Ends of an axis, slightly beyond the values."""
    if logarithmic:
        # In logarithms, because the quotient of extreme values overflows, and half the smallest number is 0.
        factor = 10 ** (0.05 * (math.log10(high) - math.log10(low))) if high > low else 2.0
        return low / factor or low, high * factor
    margin = 0.05 * (high - low) or abs(low) or 1.0
    return low - margin, high + margin


def _spread(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Select values that are far enough apart for labels; the first and the last are kept."""
    places = [math.log(value) if logarithmic else value for value in values]
    gap = (places[-1] - places[0]) / _MOST_TICKS
    kept = [0]
    for at, place in enumerate(places[1:], 1):
        if place - places[kept[-1]] >= gap:
            kept.append(at)
    if kept[-1] != len(values) - 1:
        kept[-1 if len(kept) > 1 else len(kept) :] = [len(values) - 1]
    return [values[at] for at in kept]


def set_text_x(figure: Figure, axes: Sequence[Axes], places: Sequence[str]) -> None:
    """Set up a horizontal axis of texts, slanted if they do not fit.

    Args:
        figure: The figure.
        axes: All axes with this horizontal axis.
        places: The texts from left to right.
    """
    columns = len({one.get_position().x0 for one in figure.axes}) or 1
    slanted = sum(map(len, places)) > 8 * figure.get_figwidth() / columns
    for one in axes:
        one.set_xticks(range(len(places)), [label(place, 40) for place in places])
        one.set_xlim(-0.5, len(places) - 0.5)
        one.grid(axis="x", visible=False)
        if slanted:
            for words in one.get_xticklabels():
                words.set(rotation=35, ha="right", rotation_mode="anchor")


TITLE = "title"  # gid of the lines of the title

_LONG_LABEL = 26  # characters; longer labels are below the axes
_MOST_DIRECT = 6  # lines that are labelled at their ends
_LINE = 1.35  # line height relative to the font size
_LETTER = 0.57  # average letter width relative to the font size
_MARGIN = 5.0  # pt
_NEAR = 0.2  # share of the axes' width: largest distance of a labelled line end from the right

Rect = tuple[float, float, float, float]  # left, bottom, width and height as shares of the figure


@dataclass(slots=True)
class Description:
    """Texts of a plot.

    Attributes:
        what: Its title.
        runs: The drawn experiments.
        shown: Parameters that axes, panels or the legend show.
        notes: Explanations of points, error bars and bands, and omissions.
        subject: Common parameters of all experiments; None for the usual ones.
        direct: Lines may be labelled at their ends instead of in a legend.
        hollow: Doubtful values are hollow.
    """

    what: str
    runs: Runs
    shown: Collection[str] = ()
    notes: list[str] = field(default_factory=list)
    subject: str | None = None
    direct: bool = False
    hollow: bool = False


def left_out(runs: Runs, drawn: Runs) -> str:
    """Note with the number of experiments that are not drawn; empty if all are."""
    missing = len(runs) - len(drawn)
    return f"{missing} of {len(runs)} experiments have no value" if missing else ""


def add_frame(figure: Figure, made: Description, title: str | None, warnings: str, *, grows: bool) -> None:
    """Add texts around finished axes.

    Args:
        figure: Figure with all axes.
        made: Its texts.
        title: Title; None for the default one.
        warnings: Kinds of warnings; may be empty.
        grows: The figure may become higher, so that the axes keep their size.
    """
    size = float(require("matplotlib", "reports").rcParams["font.size"])
    above = [(words, 1.15 * size, "bold", None) for words in _wrapped(figure, title or made.what, 1.35 * size)]
    above += [(words, 0.92 * size, "normal", None) for words in _wrapped(figure, _subtitle(made), 0.92 * size)]
    below = [
        (words, 0.82 * size, "normal", muted())
        for note in filter(None, made.notes)
        for words in _wrapped(figure, label(note, None), 0.82 * size)
    ]
    if warnings:
        warnings = warnings.replace(f"{DOUBTFUL}:", "hollow:") if made.hollow else warnings
        below += [(words, 0.82 * size, "normal", warning_colour()) for words in _wrapped(figure, warnings, 0.82 * size)]
    top, bottom = (sum(_LINE * one[1] for one in lines) + _MARGIN * bool(lines) for lines in (above, below))
    labels = _labels(figure)
    if grows:
        more = (top + bottom) / 72
        if not (made.direct and _can_be_direct(figure)) and len(labels) > 1 and _is_below(labels):
            more += math.ceil(len(labels) / _columns(figure, labels, 0.85 * size)) * _LINE * 0.85 * size / 72
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + more)
    height = figure.get_figheight() * 72
    rect = (0.0, bottom / height, 1.0, max(0.2, 1 - (top + bottom) / height))
    _set_rect(figure, rect)
    _write(figure, above, 1 - _MARGIN / 2 / height)
    _write(figure, below, bottom / height)
    if not (made.direct and _can_be_direct(figure) and _name_lines(figure, 0.9 * size)):
        _add_legend(figure, rect, 0.85 * size)


def _subtitle(made: Description) -> str:
    """Common parameters of all experiments, devices and software."""
    subject = common_label(made.runs, without=made.shown) if made.subject is None else made.subject
    devices = list(map(text, made.runs.distinct("exp.device_title")))
    software = made.runs.each(("exp.framework_title", "exp.framework", "exp.framework_version"), _software)
    found = (first_few(list(dict.fromkeys(filter(None, words)))) for words in (devices, software))
    return label(" · ".join(filter(None, [subject, *found])), None)


def _software(record: Record) -> str:
    if not record.get("exp.framework_version"):
        return ""
    title = text(record.get("exp.framework_title") or record.get("exp.framework"))
    return f"{title} {text(record['exp.framework_version'])}"


def _wrapped(figure: Figure, words: str, size: float) -> list[str]:
    """Wrap text to the width of the figure."""
    room = int((figure.get_figwidth() * 72 - 2 * _MARGIN) / (_LETTER * size))
    return textwrap.wrap(label(words, 600), max(20, room))


def _write(figure: Figure, lines: Sequence[tuple[str, float, str, str | None]], top: float) -> None:
    """Write lines of text below each other; `top` is a share of the figure's height."""
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    for words, size, weight, colour in lines:
        more: dict[str, Any] = {"color": colour} if colour else {}
        made = figure.text(_MARGIN / width, top, words, fontsize=size, fontweight=weight, va="top", **more)
        made.set_gid(TITLE if weight == "bold" else None)
        made.set_in_layout(False)
        top -= _LINE * size / height


def _handles(figure: Figure) -> dict[str, Any]:
    """A mark for each label of all axes, which may share labels."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    return {words: handle for handle, words in reversed(pairs)}


def _labels(figure: Figure) -> list[str]:
    return list(dict.fromkeys(words for axes in figure.axes for words in axes.get_legend_handles_labels()[1]))


def _is_below(labels: Sequence[str]) -> bool:
    return max(map(len, labels)) > _LONG_LABEL


def _columns(figure: Figure, labels: Sequence[str], size: float) -> int:
    """Number of legend columns that fit below the axes."""
    width = max(map(len, labels)) * _LETTER * size + 40
    return max(1, int((figure.get_figwidth() * 72 - 2 * _MARGIN) // width))


def _add_legend(figure: Figure, rect: Rect, size: float) -> None:
    """Add a legend of all axes to the right of them, or below them if its labels are long."""
    labels = _labels(figure)
    if len(labels) < 2:
        return
    left, bottom, width, height = rect
    below = _is_below(labels)
    handles = _handles(figure)
    made = figure.legend(
        [handles[words] for words in labels], labels, loc="lower left" if below else "upper right", bbox_to_anchor=rect, bbox_transform=figure.transFigure, fontsize=size,
        ncols=_columns(figure, labels, size) if below else 1, borderaxespad=0.3,
    )  # fmt: skip
    made.set_in_layout(False)
    # The layout reserves no space for a legend with a fixed position, which this one has so that it covers no title.
    taken = made.get_window_extent()
    wide, high = (taken.width + 6) / figure.bbox.width, (taken.height + 6) / figure.bbox.height
    if below:
        rect = (left, bottom + high, width, max(0.2, height - high))
    else:
        rect = (left, bottom, max(0.2, width - wide), height)
    _set_rect(figure, rect)


def _set_rect(figure: Figure, rect: Rect) -> None:
    """Restrict the axes to a part of the figure."""
    engine: Any = figure.get_layout_engine()
    engine.set(rect=rect)


def _can_be_direct(figure: Figure) -> bool:
    labels = _labels(figure)
    return len(figure.axes) == 1 and 1 < len(labels) <= _MOST_DIRECT and max(map(len, labels)) <= _LONG_LABEL


def _name_lines(figure: Figure, size: float) -> bool:
    """Label each line at its right end, in its colour; false if the ends are not at the right, or the labels do not fit."""
    axes = figure.axes[0]
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    ends = []
    for handle, words in zip(*axes.get_legend_handles_labels(), strict=True):
        line: Any = handle[0] if isinstance(handle, tuple) else handle
        if not hasattr(line, "get_xydata") or line is None or not len(line.get_xydata()):
            return False
        last = max(line.get_transform().transform(line.get_xydata()).tolist())
        if (box.x1 - last[0]) > _NEAR * box.width:
            return False
        ends.append(((last[1] - box.y0) / box.height, words, line.get_color()))
    gap = _LINE * size / 72 * figure.dpi / box.height
    if gap * len(ends) > 1:
        return False
    ends.sort()
    for place, (_, words, colour) in zip(_apart([end[0] for end in ends], gap), ends, strict=True):
        axes.annotate(
            words, (1, place), xytext=(6, 0), xycoords="axes fraction", textcoords="offset points", va="center", color=colour,
            fontsize=size, annotation_clip=False,
        )  # fmt: skip
    return True


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Nearest positions in [0, 1], ascending, with minimum gaps (from the positions minus the gaps)."""
    most = 1 - gap * (len(places) - 1)
    starts = never_falling([place - at * gap for at, place in enumerate(places)])
    return [min(max(start, 0.0), most) + at * gap for at, start in enumerate(starts)]


def never_falling(values: Sequence[float]) -> list[float]:
    """Nearest non-decreasing values (isotonic regression): decreasing values are replaced by their mean with the preceding ones."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


_APART = 4.0  # pt between points of two lines at one x
_WIDEST = 20.0  # pt for the points of all lines at one x


@dataclass(frozen=True, slots=True)
class Point:
    """The median of the runs of one experiment.

    Attributes:
        x: Horizontal position: a number, or the index of a text.
        value: Vertical position.
        cell: The value with its interval, in the same unit.
        at: Order of the point in a line that is not drawn from left to right; None in others.
        across: The horizontal value with its interval, if it is measured too.
    """

    x: float
    value: float
    cell: Cell
    at: float | None = None
    across: Cell | None = None


def errors_of(cells: Sequence[Cell], factor: float = 1.0) -> list[list[float]] | None:
    """Lengths of the error bars below and above numbers; None if no number has an interval."""
    below, above = [], []
    for cell in cells:
        value = cell.value if isinstance(cell.value, float) else 0.0
        below.append(max(0.0, value - cell.low) * factor if cell.low is not None else 0.0)
        above.append(max(0.0, cell.high - value) * factor if cell.high is not None else 0.0)
    return [below, above] if any(below) or any(above) else None


def draw_line(
    axes: Axes, points: Sequence[Point], index: int, words: str | None, *, lines: int = 1, joined: bool = True, apart: float = _APART
) -> None:  # fmt: skip
    """Draw one of several lines.

    Args:
        axes: Axes of the plot.
        points: From left to right.
        index: Index of the line.
        words: Its label; None for a line that is labelled elsewhere.
        lines: Number of lines in these axes; their points at one x are offset horizontally.
        joined: Connect the points.
        apart: Distance between the points of two lines at one x, pt.
    """
    look = marks(index)
    if not joined:
        look["linestyle"] = ""
    transforms = require("matplotlib.transforms", "reports")
    step = min(apart, _WIDEST / max(1, lines - 1)) if lines > 1 else 0.0
    shift = step * (index % lines - (lines - 1) / 2) / 72
    place = axes.transData + transforms.ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)
    xs, values = [point.x for point in points], [point.value for point in points]
    errors = errors_of([point.cell for point in points])
    across = errors_of([point.across for point in points if point.across])
    axes.errorbar(
        xs, values, xerr=across, yerr=errors, capsize=3 if errors else 0, elinewidth=1, label=label(words) if words else None,
        transform=place, **look,
    )  # fmt: skip
    doubtful = [point for point in points if point.cell.doubtful or (point.across and point.across.doubtful)]
    if doubtful:
        background = require("matplotlib", "reports").rcParams["axes.facecolor"]
        axes.plot(
            [point.x for point in doubtful], [point.value for point in doubtful], linestyle="", color=look["color"],
            marker=look["marker"], markerfacecolor=background, transform=place, zorder=3, gid="doubtful",
        )  # fmt: skip


def explain_points(cells: Sequence[Cell], what: str = "points", bars: str = "error bars") -> str:
    """Explain points and error bars: `points: median of 5 runs; error bars: 94 % confidence interval of the median`.

    Args:
        cells: The drawn cells.
        what: Name of the marks of values.
        bars: Name of the marks of intervals.
    """
    figures = [cell for cell in cells if isinstance(cell.value, float) and cell.runs > 0]
    if not figures:
        return ""
    runs = sorted({cell.runs for cell in figures})
    if runs == [1]:
        words = f"{what}: single runs"
    else:
        words = f"{what}: median of {f'{runs[0]} runs' if len(runs) == 1 else f'up to {runs[-1]} runs'}"
    found = []
    if levels := [cell.confidence for cell in figures if cell.runs > 1 and cell.confidence is not None]:
        found.append(f"{_levels(levels)} confidence interval of the median")
    if levels := [cell.confidence for cell in figures if cell.runs == 1 and cell.confidence is not None]:
        of = "" if runs == [1] else " of single runs"
        found.append(f"{_levels(levels)} confidence interval from the batches{of}")
    return f"{words}; {bars}: {', '.join(found)}" if found else f"{words}; no {bars}"


def _levels(levels: Sequence[float]) -> str:
    """Format confidence levels; intervals of enough runs are labelled with the requested 95 %."""
    low, high = (round(100 * min(0.95, level)) for level in (min(levels), max(levels)))
    return f"{low} %" if low == high else f"{low} % to {high} %"
