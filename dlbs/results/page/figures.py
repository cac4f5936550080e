"""The plots on the page that matplotlib draws: any kinds of the registry, or those for which the results have enough to show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, groups
from dlbs.results.plots.figure import draw, svg
from dlbs.results.plots.kinds import KINDS
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.registry import registered
from dlbs.results.tables.scaling import devices
from dlbs.text import text

__all__ = ["Plot", "figures_of", "usual_kinds"]


class Plot(NamedTuple):
    """A plot on the page.

    Attributes:
        kind: A key of the registry of plots.
        title: What it shows.
        source: An image as a `data:` URL; empty if it could not be drawn.
        reason: Why it could not be drawn, and what to do; empty if it was.
    """

    kind: str
    title: str
    source: str
    reason: str


def figures_of(
    records: Sequence[Record], declarations: Mapping[str, Parameter], kinds: Sequence[str] | None = None
) -> list[Plot]:
    """The plots of some kinds. One that cannot be drawn says why.

    Args:
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        kinds: Keys of the registry of plots; None for those for which the results have enough to show.

    Raises:
        LogError: There is no such kind, or matplotlib is not installed.
    """
    for kind in kinds or ():
        registered(KINDS, kind, "kind of plot")
    chosen = usual_kinds(records, declarations) if kinds is None else dict.fromkeys(kinds, "")
    plots = []
    for kind, words in chosen.items():
        title = words or KINDS[kind][1].capitalize()
        try:
            source = svg(draw(kind, records, declarations))
        except LogError as error:
            plots.append(Plot(kind, title, "", str(error)))
            continue
        # As an image, so that nothing in it can run or reach the page's own names.
        image = f"data:image/svg+xml;base64,{base64.b64encode(source.encode()).decode()}"
        plots.append(Plot(kind, title, image, ""))
    return plots


def usual_kinds(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> dict[str, str]:
    """The kinds of plots for which the results have enough to show, each with its title on the page."""
    fine = [record for record in records if status_of(record) == "ok" and number(record, "results.throughput")]
    wanted: dict[str, str] = {}
    if len({number(record, "exp.replica_batch") for record in fine}) > 1:
        wanted["throughput"] = "Throughput against batch size"
    several_models = len({text(record.get("exp.model")) for record in fine}) > 1
    if several_models or (not wanted and distinguishing_names(fine, declarations, without=["exp.effective_batch"])):
        wanted["bars"] = "Throughput"
    if not fine and len({text(record.get("command.argv")) for record in records if record.get("command.line")}) > 1:
        wanted["bars"] = "Time of commands"
    for kind in ("weak", "strong"):
        fixed = "exp.replica_batch" if kind == "weak" else "exp.effective_batch"
        sets = groups(fine, ["exp.model", fixed]).values()
        if any(len({devices(record) for record in found}) > 1 for found in sets):
            wanted[kind] = f"{kind.title()} scaling"
    if any(number(record, "results.bytes_per_batch") for record in fine):
        wanted["roofline"] = "Achieved operations over operations for each byte"
    if len({number(record, "results.serving.offered_qps") for record in fine} - {None}) > 1 or any(
        record.get("results.serving.trials") for record in fine
    ):
        wanted["latency-load"] = "Latency against offered load"
    return wanted
