"""The plots on the page, those for which the results have enough to show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.plots.applicable import applicable_kinds
from dlbs.results.plots.figure import draw, svg, title_of
from dlbs.results.read.onelog import Record

__all__ = ["figures_of"]


def figures_of(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[dict[str, str]]:
    """Kind, title and source, an image as a `data:` URL, of each plot."""
    plots = []
    for kind in applicable_kinds(records, declarations):
        try:
            figure = draw(kind, records, declarations)
        except LogError:  # too many lines for one plot: the tables have them all
            continue
        # As an image, so that nothing in it can run or reach the page's own names.
        source = base64.b64encode(svg(figure).encode()).decode()
        plots.append({"kind": kind, "title": title_of(figure), "source": f"data:image/svg+xml;base64,{source}"})
    return plots
