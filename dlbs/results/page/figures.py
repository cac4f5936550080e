"""The plots on the page, those for which the results have enough to show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.grouping import distinguishing_names, groups
from dlbs.results.plots.figure import draw, svg
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.tables.scaling import devices
from dlbs.text import text

__all__ = ["figures_of"]


def figures_of(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[dict[str, str]]:
    """Title and source, an image as a `data:` URL, of each plot."""
    fine = [record for record in records if status_of(record) == "ok" and number(record, "results.throughput")]
    wanted = []
    if len({number(record, "exp.replica_batch") for record in fine}) > 1:
        wanted.append(("throughput", "Throughput against batch size"))
    several_models = len({text(record.get("exp.model")) for record in fine}) > 1
    if several_models or (not wanted and distinguishing_names(fine, declarations, without=["exp.effective_batch"])):
        wanted.append(("bars", "Throughput"))
    if not fine and len({text(record.get("command.argv")) for record in records if record.get("command.line")}) > 1:
        wanted.append(("bars", "Time of commands"))
    for kind in ("weak", "strong"):
        fixed = "exp.replica_batch" if kind == "weak" else "exp.effective_batch"
        sets = groups(fine, ["exp.model", fixed]).values()
        if any(len({devices(record) for record in found}) > 1 for found in sets):
            wanted.append((kind, f"{kind.title()} scaling"))
    if any(number(record, "results.bytes_per_batch") for record in fine):
        wanted.append(("roofline", "Achieved operations over operations for each byte"))
    if len({number(record, "results.serving.offered_qps") for record in fine} - {None}) > 1 or any(
        record.get("results.serving.trials") for record in fine
    ):
        wanted.append(("latency-load", "Latency against offered load"))
    plots = []
    for kind, title in wanted:
        try:
            source = svg(draw(kind, records, declarations))
        except LogError:  # too many lines for one plot: the tables have them all
            continue
        # As an image, so that nothing in it can run or reach the page's own names.
        plots.append(
            {"title": title, "source": f"data:image/svg+xml;base64,{base64.b64encode(source.encode()).decode()}"}
        )
    return plots
