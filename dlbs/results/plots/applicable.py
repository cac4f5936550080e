"""Kinds of plots that are applicable to results, and plots as SVG, for pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import distinguishing_names, groups
from dlbs.results.plots.figure import draw, svg
from dlbs.results.plots.history import places_of
from dlbs.results.plots.kinds import KINDS
from dlbs.results.plots.options import Options
from dlbs.results.plots.series import MOST_RUNS
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.scaling import devices
from dlbs.text import text

__all__ = ["applicable_kinds", "svg_of"]

_BATCH = "exp.replica_batch"


def applicable_kinds(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """List the kinds of plots for which results have enough data, in the order of `KINDS`.

    `axes` is never included, because it needs a choice of axes. There may still be too much data for one plot; then drawing raises an error.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
    """
    key = usual_metric(records)
    fine = [record for record in records if status_of(record) == "ok"]
    valued = [record for record in fine if number(record, key) is not None]
    found = {kind for kind, applies in _APPLIES.items() if applies(fine, valued)}
    if _differ(valued, declarations):
        found.add("bars")
    if len(_repeated(valued, declarations)) < len(valued):
        found.add("distribution")
    return [kind for kind in KINDS if kind in found]


def svg_of(
    kind: str, records: Sequence[Record], declarations: Mapping[str, Parameter], options: Options | None = None
) -> str:
    """Draw a plot of any kind as SVG text.

    Args:
        kind: A key of `KINDS`.
        records: The experiments to draw; `series` takes one.
        declarations: Declared parameters, with those that identify an experiment.
        options: Options of the plot, including the style.

    Raises:
        LogError: There are no data to plot, or too many.
    """
    return svg(draw(kind, records, declarations, options))


def _differ(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> bool:
    return bool(distinguishing_names(records, declarations, without=["exp.effective_batch"])) or (
        _values(records, "exp.model") > 1
    )


def _repeated(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[list[Record]]:
    """Runs of each experiment."""
    names = distinguishing_names(records, declarations, given=["exp.model"], without=["exp.effective_batch"])
    return list(groups(records, ["exp.model", *names]).values())


def _values(records: Sequence[Record], key: str) -> int:
    return len({text(record[key]) for record in records if record.get(key) not in (None, "")})


def _scales(fixed: str) -> Callable[[Sequence[Record], Sequence[Record]], bool]:
    """Return a test whether experiments with this parameter fixed ran on several device counts."""

    def applies(_: Sequence[Record], valued: Sequence[Record]) -> bool:
        with_rate = [record for record in valued if number(record, "results.throughput")]
        sets = groups(with_rate, ["exp.model", fixed]).values()
        return any(len({devices(record) for record in found}) > 1 for found in sets)

    return applies


def _has_list(key: str) -> Callable[[Sequence[Record], Sequence[Record]], bool]:
    return lambda fine, _: any(isinstance(record.get(key), list) and len(record[key]) > 1 for record in fine)


def _has_places(_: Sequence[Record], valued: Sequence[Record]) -> bool:
    return any(
        len({place for record in valued for place in places_of(record, axis)}) > 1
        for axis in ("db.tags", "exp.env.git_revision")
    )


def _is_served(fine: Sequence[Record], _: Sequence[Record]) -> bool:
    rates = {number(record, "results.serving.offered_qps") for record in fine} - {None}
    return len(rates) > 1 or any(record.get("results.serving.trials") for record in fine)


def _has_batches(_: Sequence[Record], valued: Sequence[Record]) -> bool:
    return _values(valued, _BATCH) > 1


# Kind → test whether successful experiments, and those of them with the default quantity, have enough data.
_APPLIES: dict[str, Callable[[Sequence[Record], Sequence[Record]], bool]] = {
    "throughput": _has_batches,
    "weak": _scales("exp.replica_batch"),
    "strong": _scales("exp.effective_batch"),
    "batches": _has_list("results.time_data"),
    "series": lambda fine, _: len(fine) <= MOST_RUNS and _has_list("results.time_data")(fine, _),
    "heatmap": lambda _, valued: _has_batches(_, valued) and _values(valued, "exp.model") > 1,
    "latency-throughput": lambda _, valued: _has_batches(
        [], [one for one in valued if number(one, "results.time") and number(one, "results.throughput")]
    ),
    "latency-load": _is_served,
    "accuracy": _has_list("results.epoch_accuracy_top1"),
    "history": _has_places,
    "roofline": lambda fine, _: any((number(record, "results.bytes_per_batch") or 0) > 0 for record in fine),
}
