"""What a plot is drawn from: results, and what can be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlbs.config.declarations import Parameter
from dlbs.results.read.onelog import Record

__all__ = ["Options", "Results"]


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about a plot.

    Attributes:
        value: Key of the quantity; None for the usual one.
        title: Title; None for the usual one.
        log_scale: Logarithmic axis of the quantity; None decides by its range.
        peak_tflops: Roofline: peak of the device in 10^12 operations a second; None takes it from the logs, if they know it.
        peak_bandwidth: Roofline: memory bandwidth in 10^9 bytes a second; None draws no slope.
    """

    value: str | None = None
    title: str | None = None
    log_scale: bool | None = None
    peak_tflops: float | None = None
    peak_bandwidth: float | None = None


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
