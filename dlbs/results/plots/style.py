"""How all plots look, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError, did_you_mean
from dlbs.extras import require
from dlbs.results.grouping import common_label, groups, ordered_keys
from dlbs.results.keys import unit_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.samples import none_ended_well
from dlbs.results.tables.cells import statistic
from dlbs.results.tables.table import Cell
from dlbs.text import printable, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "MOST_LINES", "SETTINGS", "add_title", "axis_label", "check_some_ended_well", "has_wide_range", "in_order", "label", "left_out", "legend", "note_doubts", "note_left_out",
    "plain_ticks", "set_scale", "style", "with_value",
]  # fmt: skip


# Colours that stay apart for all common kinds of colour blindness (Okabe and Ito 2008); markers and dashes tell the same a second time.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
_DOUBT = "#aa3333"
_MARKERS = "os^Dvx+*"
_DASHES = ("-", "--", "-.", ":")
SETTINGS = {
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
MOST_LINES = 24
_FEW_TICKS = 4  # the greatest over the least value of a logarithmic axis all of whose ticks have labels
_LONG_LABEL = 24  # characters; beside the axes it would take their room


def label(words: str) -> str:
    """A text for a figure, without control characters and of bounded length."""
    words = printable(words).replace("\n", " ")
    return words if len(words) <= 80 else words[:77] + "…"


def style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": _MARKERS[(index + index // len(COLOURS)) % len(_MARKERS)],
        "linestyle": _DASHES[index // len(COLOURS) % len(_DASHES)],
        "markersize": 5,
    }


def axis_label(key: str, records: Sequence[Record]) -> str:
    """A quantity or parameter with its unit."""
    if key == "exp.replica_batch":
        return "replica batch, instances"
    if key == "results.throughput":
        units = {text(record["results.unit"]) for record in records if record.get("results.unit")}
        return label(f"throughput, {units.pop() if len(units) == 1 else 'instances'}/s")
    if key == "results.time":
        return "time, ms" if any(record.get("command.line") for record in records) else "batch time, ms"
    unit = unit_of(key)
    return label(f"{key}, {unit}" if unit else key)


def add_title(
    axes: Axes, records: Sequence[Record], *, varying: Collection[str] = (), cells: Sequence[Cell] = ()
) -> None:
    """What all experiments of a plot have in common, and what its numbers are; its legend and axes say what differs.

    Args:
        axes: Of the plot.
        records: Those that are drawn.
        varying: Parameters that an axis shows.
        cells: What is drawn.
    """
    lines = filter(None, [common_label(records, without=varying), statistic("median", cells)])
    if words := "\n".join(map(label, lines)):
        axes.set_title(words, fontsize="medium")


def has_wide_range(values: Iterable[float]) -> bool:
    """Whether a logarithmic axis shows values better; those that are 0 or less do not count."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > 30


def set_scale(axes: Axes, values: Iterable[float], log_scale: bool | None) -> None:
    if log_scale if log_scale is not None else has_wide_range(values):
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def plain_ticks(axis: Any) -> None:
    """Numbers as `0.5` and `2,000`: matplotlib's own are formulas, which are switched off here.

    A logarithmic axis has them at the powers of ten, and between these where it shows one power at most.
    """
    ticker = require("matplotlib.ticker", "reports")
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(
        ticker.FuncFormatter(lambda value, _: _between_powers(value, *sorted(axis.get_view_interval())))
    )


def _between_powers(value: float, low: float, high: float) -> str:
    """The label of a tick between two powers of ten; empty where there are enough others."""
    if low <= 0 or math.floor(math.log10(high)) > math.ceil(math.log10(low)):
        return ""
    digit = value / 10 ** math.floor(math.log10(value))
    is_round = any(math.isclose(digit, one) for one in (2, 3, 5, 7))
    return f"{value:,.10g}" if high / low <= _FEW_TICKS or is_round else ""


def legend(figure: Figure) -> None:
    """A legend of all axes beside them, where it covers no data; below them if its labels are long."""
    labels = _labels(figure)
    if len(labels) < 2:
        return
    size = "small" if len(labels) <= 6 else "x-small"
    if _are_long(labels):
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + 0.22 * len(labels))
        figure.legend(loc="outside lower left", fontsize=size)
    else:
        figure.legend(loc="outside right upper", fontsize=size)


def _labels(figure: Figure) -> list[str]:
    return [words for axes in figure.axes for words in axes.get_legend_handles_labels()[1]]


def _are_long(labels: Sequence[str]) -> bool:
    return max(map(len, labels)) > _LONG_LABEL


def note_doubts(figure: Figure, words: str) -> None:
    """Say below a finished figure that results in it are doubtful: above the legend if that is below the axes, else at the lower edge."""
    if figure.legends and _are_long(_labels(figure)):
        (below,) = figure.legends
        below.set_title(label(words), prop=require("matplotlib.font_manager", "reports").FontProperties(size="small"))
        below.get_title().set_color(_DOUBT)
        below.set_alignment("left")
    else:
        figure.supxlabel(label(words), fontsize="small", color=_DOUBT, x=0.01, ha="left")


def check_some_ended_well(records: Sequence[Record]) -> None:
    """Raise a LogError if no experiment ended well, so that there is nothing to draw."""
    if failed := none_ended_well(records):
        raise LogError(failed, hint="dlbs report says why")


def with_value(records: Sequence[Record], key: str) -> list[Record]:
    check_some_ended_well(records)
    good = [record for record in records if status_of(record) == "ok" and number(record, key) is not None]
    if not good:
        hint = did_you_mean(key, set().union(*records)) or "dlbs parse LOG shows the keys of a log"
        raise LogError(f"no experiment that ended well has {key}", hint=hint)
    return good


def left_out(records: Sequence[Record], drawn: Sequence[Record]) -> str:
    """How many experiments are not drawn, in words; empty if all are."""
    missing = len(records) - len(drawn)
    return f"{missing} of {len(records)} experiments have no value" if missing else ""


def note_left_out(axes: Axes, records: Sequence[Record], drawn: Sequence[Record]) -> None:
    """Say above the axes how many experiments are not drawn."""
    if words := left_out(records, drawn):
        axes.annotate(words, (0, 1), xycoords="axes fraction", va="bottom", fontsize="small", color="#555555")


def in_order(records: Sequence[Record], names: Sequence[str]) -> list[list[Record]]:
    """Groups of records in the order in which tables show them."""
    found = groups(records, names)
    return [found[key] for key in ordered_keys(found, names)]
