"""Draw plots of any kind and write them to files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.files import make_parent, write_bytes
from dlbs.results.plots.appearance import DOTS_PER_INCH, STYLES, settings, size_of
from dlbs.results.plots.frame import TITLE, Description, add_frame
from dlbs.results.plots.kinds import KINDS
from dlbs.results.plots.options import Options, Results
from dlbs.results.read.onelog import Record
from dlbs.results.registry import registered
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import doubt_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw", "rendered", "save", "svg", "title_of"]

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


def draw(
    kind: str, records: Sequence[Record], declarations: Mapping[str, Parameter], options: Options | None = None
) -> Figure:
    """Draw a figure.

    Args:
        kind: A key of `KINDS`.
        records: Experiments; those without a value are left out, and a note has their number.
        declarations: Declared parameters, with those that identify an experiment.
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
        figure: Figure = figure_module.Figure(figsize=size or STYLES[options.style][2], layout="constrained")
        made: Description = function(figure, Results(list(records), declarations, options))
        if size is not None:
            figure.set_size_inches(size)
        doubts = doubt_lines(made.records, [options.value or usual_metric(records), *options.y])
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
