"""Lines of medians with error bars: points of different lines at one x are offset, and doubtful ones are hollow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlbs.extras import require
from dlbs.results.plots.appearance import marks
from dlbs.results.plots.quantities import label
from dlbs.results.tables.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "draw_line", "errors_of", "explain_points"]

_APART = 4.0  # pt between points of two lines at one x
_WIDEST = 20.0  # pt for the points of all lines at one x


@dataclass(frozen=True, slots=True)
class Point:
    """The median of the runs of one experiment.

    Attributes:
        x: Horizontal position: a number, or the index of a text.
        value: Vertical position.
        cell: The value with its interval, in the same unit.
    """

    x: float
    value: float
    cell: Cell


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
    axes.errorbar(
        xs, values, yerr=errors, capsize=3 if errors else 0, elinewidth=1, label=label(words) if words else None,
        transform=place, **look,
    )  # fmt: skip
    doubtful = [point for point in points if point.cell.doubtful]
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
