"""Texts around the axes of a plot: title, devices and software, notes, legend or line labels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlbs.extras import require
from dlbs.results.grouping import common_label
from dlbs.results.plots.appearance import muted, warning_colour
from dlbs.results.plots.quantities import label
from dlbs.results.read.onelog import Record
from dlbs.results.tables.table import DOUBTFUL
from dlbs.text import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TITLE", "Description", "add_frame", "left_out"]

TITLE = "title"  # gid of the lines of the title

_LONG_LABEL = 26  # characters; longer labels are below the axes
_MOST_DIRECT = 6  # lines that are labelled at their ends
_MOST_NAMED = 3  # devices or versions in a title
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
        records: The drawn experiments.
        shown: Parameters that axes, panels or the legend show.
        notes: Explanations of points, error bars and bands, and omissions.
        subject: Common parameters of all experiments; None for the usual ones.
        direct: Lines may be labelled at their ends instead of in a legend.
        hollow: Doubtful values are hollow.
    """

    what: str
    records: Sequence[Record]
    shown: Collection[str] = ()
    notes: list[str] = field(default_factory=list)
    subject: str | None = None
    direct: bool = False
    hollow: bool = False


def left_out(records: Sequence[Record], drawn: Sequence[Record]) -> str:
    """Note with the number of experiments that are not drawn; empty if all are."""
    missing = len(records) - len(drawn)
    return f"{missing} of {len(records)} experiments have no value" if missing else ""


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
    subject = common_label(made.records, without=made.shown) if made.subject is None else made.subject
    devices = [text(record.get("exp.device_title")) for record in made.records]
    software = [
        f"{text(record.get('exp.framework_title') or record.get('exp.framework'))} {text(record['exp.framework_version'])}"
        for record in made.records
        if record.get("exp.framework_version")
    ]
    return label(" · ".join(filter(None, [subject, _distinct(devices), _distinct(software)])), None)


def _distinct(words: Sequence[str]) -> str:
    found = [one for one in dict.fromkeys(words) if one]
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


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


def _labels(figure: Figure) -> list[str]:
    return [words for axes in figure.axes for words in axes.get_legend_handles_labels()[1]]


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
    made = figure.legend(
        loc="lower left" if below else "upper right", bbox_to_anchor=rect, bbox_transform=figure.transFigure, fontsize=size,
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
    """Nearest positions in [0, 1], ascending, with minimum gaps (isotonic regression of the positions minus the gaps)."""
    blocks: list[list[float]] = []
    for at, place in enumerate(places):
        blocks.append([place - at * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + mean * count) / (before[1] + count)
            before[1] += count
    most = 1 - gap * (len(places) - 1)
    starts = [min(max(mean, 0.0), most) for mean, count in blocks for _ in range(int(count))]
    return [start + at * gap for at, start in enumerate(starts)]
