"""What a plot is drawn from: results, and what can be chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number

__all__ = ["Options", "Results", "kind_for"]


# Flags that kinds with axes of their own take all the same.
_OWN = {"history": ("--x",), "throughput": ("--log_x",), "latency-throughput": ("--log_x",)}


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about a plot.

    Attributes:
        value: Key of the quantity; None for the usual one.
        title: Title; None for the usual one.
        log_scale: Logarithmic axis of the quantity; None decides by its range.
        peak_tflops: Roofline: peak of the device in 10^12 operations a second; None takes it from the logs, if they know it.
        peak_bandwidth: Roofline: memory bandwidth in 10^9 bytes a second; None draws no slope.
        x: Axes: key of the horizontal axis; None for the replica batch. History: tags or commits if None.
        y: Axes: keys of the quantities; none for `value`.
        series: Axes: parameters that divide lines; others that differ divide them too.
        facet: Axes: parameters that divide panels.
        baseline: Axes: parameters with values; every value is divided by that of the experiment that has these and is equal otherwise.
        log_x: Axes, throughput, latency-throughput: logarithmic horizontal axis; None decides by its values.
        style: A key of `appearance.STYLES`.
        size: Of the whole figure, such as `8x5` (inches), `16x9cm` or `1200x700px`; None for what suits the style and the content.
        mark: History: tags or commits to mark.
    """

    value: str | None = None
    title: str | None = None
    log_scale: bool | None = None
    peak_tflops: float | None = None
    peak_bandwidth: float | None = None
    x: str | None = None
    y: Sequence[str] = ()
    series: Sequence[str] = ()
    facet: Sequence[str] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)
    log_x: bool | None = None
    style: str = "light"
    size: str | None = None
    mark: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """What every kind of plot takes.

    Attributes:
        records: Experiments, failed ones too.
        declarations: Say which parameters identify an experiment.
        options: What was chosen.
    """

    records: Sequence[Record]
    declarations: Mapping[str, Parameter]
    options: Options


def kind_for(kind: str | None, options: Options, records: Iterable[Record]) -> str:
    """The kind of plot: the given one, or `axes` if something about axes is chosen, or else `throughput` or, where nothing has a batch size, `bars`.

    Raises:
        LogError: The given kind has no free axes.
    """
    chosen = {
        "--x": options.x,
        "--y": options.y,
        "--series": options.series,
        "--facet": options.facet,
        "--baseline": options.baseline,
        "--log_x": options.log_x is not None,
    }
    given = [flag for flag, value in chosen.items() if value and flag not in _OWN.get(kind or "", ())]
    if options.mark and kind != "history":
        raise LogError("only a history has tags to mark", where="--mark", hint="add --type history")
    if given and kind not in (None, "axes"):
        raise LogError(
            f"plots of type {kind} have axes of their own", where=given[0], hint="leave out the type, or this"
        )
    if options.y and options.value is not None:
        raise LogError("value and y are the same: give y alone", where="--y")
    if kind or given:
        return kind or "axes"
    return "throughput" if any(number(record, "exp.replica_batch") is not None for record in records) else "bars"
