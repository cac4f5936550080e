"""Input of all plots: options, the selected records, and checks that there is something to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.core.errors import LogError
from dlbs.results.grouping import distinguishing_names, ordered_keys, varying
from dlbs.results.keys import key_hint
from dlbs.results.runs import FAMILY, Runs, none_ended_well

# Flags that kinds with fixed axes accept nevertheless.
_OWN = {"history": ("--x",), "throughput": ("--log-x",), "latency-throughput": ("--log-x",)}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a plot.

    Attributes:
        value: Key of the quantity; None for the default one.
        title: Title; None for the default one.
        log_scale: Logarithmic axis of the quantity; None decides by its range.
        peak_tflops: Roofline: peak of the device in 10^12 operations per second; None takes it from the logs, if available.
        peak_bandwidth: Roofline: memory bandwidth in 10^9 bytes per second; None draws no slope.
        x: Axes: key of the horizontal axis; None for the replica batch. History: None for tags or commits.
        y: Axes: keys of the quantities; empty for `value`.
        series: Axes: parameters that separate lines, in addition to others that differ.
        facet: Axes: parameters that separate panels.
        baseline: Axes: parameters with values; every value is divided by that of the otherwise equal experiment with these values.
        log_x: Axes, throughput, latency-throughput: logarithmic horizontal axis; None decides by its values.
        style: A key of `draw.STYLES`.
        size: Size of the whole figure, such as `8x5` (inches), `16x9cm` or `1200x700px`; None chooses it by style and content.
        mark: History: tags or commits to mark.
        along: Axes over a measured value: the parameter in whose order the points of a line are joined and labelled; set by presets.
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
    along: str | None = None


def kind_for(kind: str | None, options: Options, runs: Runs) -> str:
    """Select the kind of plot: the given one, else `axes` if an option of axes is given, else `throughput`, or `bars` if nothing has a batch size.

    Raises:
        LogError: The given kind has no free axes.
    """
    given = [f"--{name}" for name in ("x", "y", "series", "facet", "baseline") if getattr(options, name)]
    given += ["--log-x"] if options.log_x is not None else []
    given = [flag for flag in given if flag not in _OWN.get(kind or "", ())]
    if options.mark and kind != "history":
        raise LogError("only plots of type history have tags to mark", where="--mark", hint="add --type history")
    if given and kind not in (None, "axes"):
        raise LogError(f"plots of type {kind} have fixed axes", where=given[0], hint="remove --type or this flag")
    if options.y and options.value is not None:
        raise LogError("--value and --y both select the quantity: remove --value", where="--y")
    if kind or given:
        return kind or "axes"
    return "throughput" if runs.having("exp.replica_batch") else "bars"


MOST_LINES = 24
FEWER = "select fewer experiments with --filter-query"


def check_some_ended_well(runs: Runs) -> None:
    """Raise a LogError if no experiment succeeded."""
    if failed := none_ended_well(runs):
        raise LogError(failed, hint="dlbs report shows the reasons")


def check_count(count: int | str, what: str, *, too_many: bool) -> None:
    """Raise a LogError if there are too many items for one plot."""
    if too_many:
        raise LogError(f"{count} {what} are too many for one plot", hint=FEWER)


def with_value(runs: Runs, key: str) -> Runs:
    """Select successful experiments with a number.

    Raises:
        LogError: There are none.
    """
    check_some_ended_well(runs)
    good = runs.ok.having(key)
    if not good:
        raise LogError(f"no successful experiment has {key}", hint=key_hint(key, runs.names))
    return good


def in_order(runs: Runs, names: Sequence[str]) -> list[Runs]:
    """Group records in the order of tables."""
    found = runs.group(names)
    return [found[key] for key in ordered_keys(found, names)]


def experiments_in(runs: Runs, without: Sequence[str] = ()) -> tuple[list[Runs], list[str]]:
    """The runs of each experiment, by model first, and the parameters that label them; parameters `without` are aggregated over."""
    names = distinguishing_names(runs, given=["exp.model"], without=["exp.effective_batch", *without])
    names = ["exp.model", *names]
    return in_order(runs, names), varying(runs, names)


SERVED_LATENCY = f"{FAMILY}latency_p99"
_LOADS = ("serving.users", "serving.target_qps")  # parameters of a sweep over load


def swept_load(runs: Runs) -> str | None:
    """The parameter by which successful experiments sweep over the load of a server; None if there is none."""
    served = runs.ok.having(SERVED_LATENCY)
    return next((name for name in _LOADS if len({*served.numbers(name)} - {None}) > 1), None)
