"""Drawing a plot of any kind, and writing it to a file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.files import make_parent, write_bytes
from dlbs.results.plots.kinds import KINDS
from dlbs.results.plots.options import Options, Results
from dlbs.results.plots.style import SETTINGS, label, note_doubts
from dlbs.results.read.onelog import Record
from dlbs.results.registry import registered
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import doubt_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "save", "svg"]


def draw(
    kind: str, records: Sequence[Record], declarations: Mapping[str, Parameter], options: Options | None = None
) -> Figure:
    """Draw a figure.

    Args:
        kind: A key of `KINDS`.
        records: Experiments; those without a value are left out, and the figure says how many.
        declarations: Say which parameters identify an experiment.
        options: What can be chosen.

    Raises:
        LogError: There is no such kind, matplotlib is not installed, or there is nothing to draw.
    """
    options = options or Options()
    function = registered(KINDS, kind, "kind of plot")
    figure_module = require("matplotlib.figure", "reports")
    matplotlib = require("matplotlib", "reports")
    with matplotlib.rc_context(SETTINGS):
        figure: Figure = figure_module.Figure(figsize=(8, 4.8), layout="constrained")
        function(figure, Results(list(records), declarations, options))
        if doubts := doubt_lines(records, [options.value or usual_metric(records), *options.y]):
            note_doubts(figure, ", ".join(doubts))
        if options.title is not None:
            if figure.get_suptitle():
                figure.suptitle(label(options.title))
            else:
                figure.axes[0].set_title(label(options.title))
    return figure


def save(figure: Figure, path: str) -> None:
    """Write a figure to a `.png` or `.svg` file, at once or not at all.

    Raises:
        LogError: Another kind of file is asked for.
        ConfigError: It cannot be written.
    """
    target = Path(path)
    if target.suffix not in {".png", ".svg"}:
        raise LogError("unknown kind of image", where=path, hint="name it .png or .svg")
    make_parent(target)
    write_bytes(target, _rendered(figure, target.suffix[1:]), follow=True)


def svg(figure: Figure) -> str:
    """The figure as SVG text."""
    return _rendered(figure, "svg").decode()


def _rendered(figure: Figure, form: str) -> bytes:
    matplotlib = require("matplotlib", "reports")
    out = io.BytesIO()
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font has, and labels that leave no room: the file shows them
        figure.savefig(out, format=form, metadata={"Date": None} if form == "svg" else None)
    return out.getvalue()
