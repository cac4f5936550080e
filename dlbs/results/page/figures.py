"""Plots on the page drawn by matplotlib: given kinds, or all that are applicable to the results."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.plots.applicable import applicable_kinds
from dlbs.results.plots.figure import draw, svg, title_of
from dlbs.results.plots.kinds import KINDS
from dlbs.results.read.onelog import Record
from dlbs.results.registry import registered

__all__ = ["Plot", "figures_of"]

_PIXELS = 96  # in an inch, in CSS


class Plot(NamedTuple):
    """A plot on the page.

    Attributes:
        kind: A key of the registry of plots.
        title: Its title.
        source: An image as a `data:` URL; empty if it could not be drawn.
        reason: Error with a hint; empty if it was drawn.
        size: Width and height in CSS pixels, which reserve its place on the page.
    """

    kind: str
    title: str
    source: str
    reason: str
    size: tuple[int, int] = (0, 0)


def figures_of(
    records: Sequence[Record], declarations: Mapping[str, Parameter], kinds: Sequence[str] | None = None
) -> list[Plot]:
    """Draw plots of some kinds; a plot that cannot be drawn has a reason instead of an image.

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        kinds: Keys of the registry of plots; None for all that are applicable to the results.

    Raises:
        LogError: A kind is unknown, or matplotlib is not installed.
    """
    for kind in kinds or ():
        registered(KINDS, kind, "kind of plot")
    plots = []
    for kind in applicable_kinds(records, declarations) if kinds is None else dict.fromkeys(kinds):
        try:
            figure = draw(kind, records, declarations)
        except LogError as error:
            plots.append(Plot(kind, KINDS[kind][1].capitalize(), "", str(error)))
            continue
        # As an image, so that it cannot run code or clash with ids of the page.
        image = f"data:image/svg+xml;base64,{base64.b64encode(svg(figure).encode()).decode()}"
        width, height = (round(_PIXELS * inches) for inches in figure.get_size_inches())
        plots.append(Plot(kind, title_of(figure), image, "", (width, height)))
    return plots
