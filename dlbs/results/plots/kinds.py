"""Kinds of plots by name: draw one, save it, and which kinds are worth showing for given results."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError, Registry, registered, require
from dlbs.core.files import make_parent, write_bytes
from dlbs.core.text import text
from dlbs.results.grouping import distinguishing_names
from dlbs.results.plots.batches import MOST_RUNS
from dlbs.results.plots.draw import DOTS_PER_INCH, TITLE, Description, add_frame, settings, size_of
from dlbs.results.plots.history import PLACES, places_in
from dlbs.results.plots.plot import Options, experiments_in, swept_load
from dlbs.results.runs import FAMILY, Runs, usual_metric
from dlbs.results.tables.cells import doubt_lines
from dlbs.results.tables.scaling import COUNTED, devices

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KINDS: Registry = {
    "throughput": ("dlbs.results.plots.presets:throughput", "lines over replica batches, one for each model"),
    "axes": ("dlbs.results.plots.axes:draw_axes", "any quantities over any parameter, lines and panels of your choice"),
    "weak": ("dlbs.results.plots.presets:weak_scaling", "speed-up over devices with the replica batch fixed"),
    "strong": ("dlbs.results.plots.presets:strong_scaling", "speed-up over devices with the effective batch fixed"),
    "bars": ("dlbs.results.plots.presets:bars", "grouped bars, by model"),
    "distribution": ("dlbs.results.plots.batches:distribution", "each run of each experiment, with boxes"),
    "batches": (
        "dlbs.results.plots.batches:batches",
        "the batch times of each run, as violins, or as points if there are few",
    ),
    "series": (
        "dlbs.results.plots.batches:series",
        "batch times of one run, with what the monitor recorded, or of several",
    ),
    "heatmap": ("dlbs.results.plots.presets:heatmap", "models against replica batches"),
    "latency-throughput": (
        "dlbs.results.plots.presets:latency_throughput",
        "latency against throughput, over replica batches or the load of a server",
    ),
    "interactivity": (
        "dlbs.results.plots.presets:interactivity",
        "throughput of a server per GPU against that per user, over its load",
    ),
    "latency-load": (
        "dlbs.results.plots.limits:latency_load",
        "latency percentiles against offered load, with the knee",
    ),
    "accuracy": ("dlbs.results.plots.presets:accuracy", "accuracy after each epoch of a training"),
    "history": ("dlbs.results.plots.history:history", "a quantity over tags or commits, with changes"),
    "roofline": ("dlbs.results.plots.limits:roofline", "operations per second over operations per byte"),
}


# Metadata without the time, so that equal figures give identical files.
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_CANVASES = {
    "png": ("matplotlib.backends.backend_agg", "FigureCanvasAgg"),
    "svg": ("matplotlib.backends.backend_svg", "FigureCanvasSVG"),
    "pdf": ("matplotlib.backends.backend_pdf", "FigureCanvasPdf"),
}
_OF_TEXTS = (
    r"Glyph \d+ .* missing from",
    "constrained_layout not applied",
)  # beginnings of matplotlib's warnings about texts


def draw(kind: str, runs: Runs, options: Options | None = None) -> Figure:
    """Draw a figure.

    Args:
        kind: A key of `KINDS`.
        runs: Experiments; those without a value are left out, and a note has their number.
        options: Options of the plot.

    Raises:
        LogError: The kind or style is unknown, matplotlib is not installed, or there are no data to plot.
    """
    options = options or Options()
    function = registered(KINDS, kind, "kind of plot")
    looks = settings(options.style)
    size = size_of(options.size) if options.size is not None else None
    figure_module = require("matplotlib.figure", "reports")
    with require("matplotlib", "reports").rc_context(looks), _without_warnings_of_texts():
        figure: Figure = figure_module.Figure(figsize=size, layout="constrained")
        made: Description = function(figure, runs, options)
        if size is not None:
            figure.set_size_inches(size)
        doubts = doubt_lines(made.runs, [options.value or usual_metric(runs), *options.y])
        add_frame(figure, made, options.title, ", ".join(doubts), grows=size is None)
    return figure


def save(figure: Figure, path: str) -> None:
    """Write a figure atomically to a `.png`, `.svg` or `.pdf` file.

    Raises:
        LogError: The file has another suffix.
        ConfigError: The file cannot be written.
    """
    target = Path(path)
    form = target.suffix[1:].lower()
    if form not in FORMATS:
        raise LogError("unknown image format", where=path, hint="use .png, .svg or .pdf")
    make_parent(target)
    write_bytes(target, rendered(figure, form), follow=True)


def title_of(figure: Figure) -> str:
    """Title of a figure of `draw`, as one line."""
    return " ".join(words.get_text() for words in figure.texts if words.get_gid() == TITLE)


def svg(figure: Figure) -> str:
    """Render a figure as SVG text."""
    return rendered(figure, "svg").decode()


def rendered(figure: Figure, form: str, dpi: float | None = None) -> bytes:
    """Render a figure as the bytes of a file.

    Args:
        figure: Result of `draw`.
        form: A key of `FORMATS`.
        dpi: Dots per inch of a PNG file; None for the default.
    """
    out = io.BytesIO()
    module, name = _CANVASES[form]
    with require("matplotlib", "reports").rc_context(settings("light")), _without_warnings_of_texts():
        # `Figure.savefig` draws a figure with a layout twice: once for the layout, although drawing computes it, too.
        figure.set_dpi(dpi or DOTS_PER_INCH)
        canvas = getattr(require(module, "reports"), name)(figure)
        getattr(canvas, f"print_{form}")(out, metadata=FORMATS[form])
    return out.getvalue()


@contextmanager
def _without_warnings_of_texts() -> Iterator[None]:
    """Suppress warnings about missing glyphs and about labels that leave no room for the axes: both are visible in the file."""
    with warnings.catch_warnings():
        for message in _OF_TEXTS:
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


_BATCH = "exp.replica_batch"


def applicable_kinds(runs: Runs) -> list[str]:
    """List the kinds of plots for which results have enough data, in the order of `KINDS`.

    `axes` is never included, because it needs a choice of axes. There may still be too much data for one plot; then drawing raises an error.
    """
    fine = runs.ok
    valued = fine.having(usual_metric(runs))
    timed = valued.where(map(all, zip(*map(valued.numbers, ("results.time", "results.throughput")), strict=True)))
    models, batches = _values(valued, "exp.model"), _values(valued, _BATCH)
    has_times = _has_lists(fine, "results.time_data")
    rates = {*fine.numbers(f"{FAMILY}offered_qps")} - {None}
    moved = zip(*map(fine.numbers, ("results.bytes_per_batch", "results.mfu")), strict=True)
    applies = {
        "throughput": batches > 1,
        "weak": _scales(valued, _BATCH),
        "strong": _scales(valued, "exp.effective_batch"),
        "bars": models > 1 or distinguishing_names(valued, without=["exp.effective_batch"]),
        "distribution": len(experiments_in(valued)[0]) < len(valued),
        "batches": has_times,
        "series": has_times and len(fine) <= MOST_RUNS,
        "heatmap": batches > 1 and models > 1,
        "latency-throughput": swept_load(fine) is not None or _values(timed, _BATCH) > 1,
        "interactivity": swept_load(fine.having(f"{FAMILY}tokens_per_second_user")) is not None,
        "latency-load": len(rates) > 1 or any(fine.present(f"{FAMILY}trials")),
        "accuracy": _has_lists(fine, "results.epoch_accuracy_top1"),
        "history": any(len({*chain(*map(places_in, valued.distinct(axis)))}) > 1 for axis in PLACES),
        # Without a roof, a roofline says little.
        "roofline": any((count or 0) > 0 and mfu for count, mfu in moved),
    }
    return [kind for kind in KINDS if applies.get(kind)]


def _values(runs: Runs, key: str) -> int:
    return len({text(value) for value in runs.distinct(key) if value not in (None, "")})


def _scales(valued: Runs, fixed: str) -> bool:
    """Whether experiments with this parameter fixed ran on several device counts."""
    sets = valued.where(valued.numbers("results.throughput")).group(["exp.model", fixed]).values()
    return any(len(set(found.each(COUNTED, devices))) > 1 for found in sets)


def _has_lists(fine: Runs, key: str) -> bool:
    return any(isinstance(value, list) and len(value) > 1 for value in fine.present(key))
