"""Draw a trend as SVG in the page: points with their intervals, levels between changes, and a link for each point."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable

from dlbs.results.history.trends import Trend
from dlbs.text import short_number

__all__ = ["sparkline", "trend_chart"]

_WIDTH, _HEIGHT = 960.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 76.0, 16.0, 34.0, 58.0
_LABELS = 8  # under the horizontal axis


def _escaped(words: str) -> str:
    from markupsafe import escape

    return str(escape("".join(letter if letter.isprintable() else "?" for letter in words)))


def _levels(trend: Trend) -> list[tuple[int, int, float]]:
    """First and last point of each segment without a change, and its median."""
    measured = trend.measured
    starts = [0, *(measured.index(change.at) for change in trend.changes), len(measured)]
    return [
        (
            measured[first],
            measured[end - 1],
            statistics.median(float(trend.points[at].value or 0) for at in measured[first:end]),
        )
        for first, end in itertools.pairwise(starts)
        if end > first
    ]


def sparkline(trend: Trend) -> str:
    """Draw the values of a trend in one line of text; changes are dots. The adjacent texts contain the same information."""
    width, height = 160.0, 28.0
    values = [(at, float(trend.points[at].value or 0)) for at in trend.measured]
    low, high = min(value for _, value in values), max(value for _, value in values)
    last = max(1, len(trend.points) - 1)

    def place(at: int, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low) if high > low else 0.5
        return 4 + (width - 8) * at / last, height - 4 - (height - 8) * share

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*pair) for pair in values))
    by_place = dict(values)
    dots = "".join(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>'.format(
            "worse" if change.is_worse else "better", *place(change.at, by_place[change.at])
        )
        for change in trend.changes
    )
    return f'<svg class="spark" viewBox="0 0 {width:g} {height:g}" aria-hidden="true"><polyline points="{path}"/>{dots}</svg>'


def trend_chart(trend: Trend, title: str, chosen: int, address: Callable[[int], str]) -> str:
    """Draw the chart of a trend.

    Args:
        trend: The trend, with at least one value.
        title: Label of its vertical axis, with the unit.
        chosen: Index of the baseline point.
        address: Function from the index of a point to its link.
    """
    points = trend.points
    measured = trend.measured
    bounds = [value for at in measured for value in _extent(trend, at)]
    low, high = min(bounds), max(bounds)
    margin = (high - low or abs(high) or 1.0) * 0.08
    low, high = low - margin, high + margin
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points))

    def x(at: float) -> float:
        return _LEFT + step * (at + 0.5)

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="group" aria-label="{_escaped(title)} over time">',
        f'<text class="axis" x="{_LEFT - 70:g}" y="16">{_escaped(title)}</text>',
    ]
    for value in _ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(
            f'<text class="axis" text-anchor="end" x="{_LEFT - 8:g}" y="{y(value) + 4:.1f}">{short_number(value)}</text>'
        )
    labelled = range(0, len(points), max(1, -(-len(points) // _LABELS)))
    for at in labelled:
        parts.append(
            f'<text class="axis" text-anchor="middle" x="{x(at):.1f}" y="{_HEIGHT - 34:g}">{_escaped(_short(points[at].name))}</text>'
        )
        if points[at].day not in points[at].name:
            parts.append(
                f'<text class="axis" text-anchor="middle" x="{x(at):.1f}" y="{_HEIGHT - 18:g}">{_escaped(points[at].day)}</text>'
            )
    for first, end, level in _levels(trend):
        parts.append(
            f'<line class="level" x1="{x(first - 0.4):.1f}" x2="{x(end + 0.4):.1f}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
        )
    for change in trend.changes:
        kind = "worse" if change.is_worse else "better"
        parts.append(
            f'<line class="change {kind}" x1="{x(change.at - 0.5):.1f}" x2="{x(change.at - 0.5):.1f}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}"/>'
        )
        parts.append(
            f'<text class="change {kind}" text-anchor="middle" x="{x(change.at - 0.5):.1f}" y="{_TOP - 5:g}">{change.words}</text>'
        )
    radius = 5 if len(points) < 100 else 3
    for at in measured:
        point = points[at]
        lower, upper = _extent(trend, at)
        words = f"{point.name}: {short_number(float(point.value or 0))}, {len(point.values)} run{'s' if len(point.values) != 1 else ''}"
        words += f", {point.doubtful} doubtful" if point.doubtful else ""
        kind = "point chosen" if at == chosen else "point doubtful" if point.doubtful else "point"
        inner = f'<line class="interval" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(lower):.1f}" y2="{y(upper):.1f}"/>'
        inner += f'<circle class="{kind}" cx="{x(at):.1f}" cy="{y(float(point.value or 0)):.1f}" r="{radius}"/>'
        shown = f"{words} (baseline)" if at == chosen else f"{words}; compare"
        inner += f"<title>{_escaped(shown)}</title>"
        parts.append(
            inner if at == chosen else f'<a href="{_escaped(address(at))}" aria-label="{_escaped(shown)}">{inner}</a>'
        )
    return "\n".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round values between two bounds."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _extent(trend: Trend, at: int) -> tuple[float, float]:
    """Bounds of a point's interval; twice its value if it has none."""
    point = trend.points[at]
    interval = point.interval
    value = float(point.value or 0)
    return (interval.low, interval.high) if interval is not None else (value, value)


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
