"""Scales and ticks of axes: logarithmic scales for wide ranges, plain numbers at ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.results.plots.quantities import label
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "has_wide_range",
    "is_logarithmic",
    "log_ticks",
    "plain_number",
    "plain_ticks",
    "set_close_y",
    "set_measured_x",
    "set_numeric_x",
    "set_text_x",
    "set_y_scale",
]

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
        raise LogError("no value is greater than 0: no logarithmic axis", where="--log_scale", hint=hint)
    return log_scale if log_scale is not None else has_wide_range(values)


def set_y_scale(axes: Axes, values: Iterable[float], log_scale: bool | None, cells: Iterable[Cell] = ()) -> None:
    """Set up the vertical axis of a quantity: logarithmic, or linear from zero.

    Args:
        axes: Axes of the plot.
        values: All drawn values.
        log_scale: The chosen scale; None decides by the values.
        cells: Cells whose intervals must fit too.
    """
    _set_scale(axes.yaxis, values, log_scale, cells)


def set_close_y(axes: Axes, values: Iterable[float], log_scale: bool | None, cells: Iterable[Cell] = ()) -> None:
    """Set up a vertical axis whose linear scale is tight around the values, for small relative changes."""
    values, cells = list(values), list(cells)
    set_y_scale(axes, values, log_scale, cells)
    if values and axes.get_yscale() == "linear":
        shown = _with_bounds(values, cells)
        margin = 0.1 * (max(shown) - min(shown)) or 0.05 * abs(values[0]) or 1.0
        axes.set_ylim(min(shown) - margin, max(shown) + 2 * margin)


def _with_bounds(values: Iterable[float], cells: Iterable[Cell]) -> list[float]:
    return [*values, *(bound for cell in cells for bound in (cell.low, cell.high) if bound is not None)]


def set_measured_x(axes: Axes, values: Iterable[float], log_x: bool | None, cells: Iterable[Cell] = ()) -> None:
    """Set up the horizontal axis of a quantity: logarithmic, or linear from zero."""
    _set_scale(axes.xaxis, values, log_x, cells)


def _set_scale(axis: Any, values: Iterable[float], chosen: bool | None, cells: Iterable[Cell]) -> None:
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
        raise LogError(what, where="--log_x", hint="remove the flag, or select experiments with --filter_query")
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
