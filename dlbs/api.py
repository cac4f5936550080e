"""The Python API: what the command line does, on the same code, for notebooks and scripts. `import dlbs` offers all of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, overload

from dlbs.arguments import with_arguments
from dlbs.config.config import Config
from dlbs.config.load import load_config as _load_declarations
from dlbs.errors import ConfigError, LaunchError, LogError, did_you_mean, suggestion
from dlbs.executors.registry import load_executor
from dlbs.experiment import Experiment
from dlbs.launch.script import Launcher
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.files import read_plan
from dlbs.plan.order import ORDERS, ordered
from dlbs.plan.pipeline import processor_for, resolved_in_order, unlabelled_names
from dlbs.results.plots.figure import draw, save
from dlbs.results.plots.options import Options, kind_for
from dlbs.results.read.frame import records_of
from dlbs.results.read.records import load_records
from dlbs.results.statistics.compare import Comparison
from dlbs.results.statistics.compare import compare as _compare
from dlbs.results.statistics.estimators import ESTIMATORS
from dlbs.results.statistics.rules import Rules
from dlbs.results.statistics.samples import none_ended_well, usual_metric
from dlbs.results.statistics.within import ComparisonBy, compare_by
from dlbs.run.events import Callback, Event
from dlbs.run.policies import Policies
from dlbs.run.summary import Summary
from dlbs.run.validate import PlanProblem, Validator
from dlbs.run.whole import look_through, run_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from typing_extensions import Unpack  # type checkers have it; typing does from Python 3.11 on

    Results: TypeAlias = str | Iterable[str] | pd.DataFrame | Sequence[dict[str, Any]]

__all__ = ["build_plan", "compare", "load_config", "plot", "resolve", "run_plan", "validate"]

Path_ = str | os.PathLike[str]
Plan = Config | Iterable[Experiment]


class CompareOptions(TypedDict, total=False):
    """Options of `compare`, whatever is compared: the rules of a comparison, for type checkers, which cannot derive them."""

    metric: str
    threshold: float
    confidence: float
    simultaneous: bool
    estimator: str
    trust_single_runs: bool
    trust_doubtful: bool
    match: Sequence[str]
    ignore: Sequence[str]


@with_arguments
def load_config(
    files: Path_ | Iterable[Path_] = (),
    *,
    parameters: Mapping[str, Any] | Iterable[str] = (),
    variables: Mapping[str, Sequence[Any]] | Iterable[str] = (),
    extensions: Iterable[Mapping[str, Any] | str] = (),
    select: Iterable[str] = (),
    exclude: Iterable[str] = (),
    discard_default: bool = False,
    command: Sequence[str] | None = None,
) -> Config:
    """Load a configuration: the shipped files, files of yours, and what is set here; the packs that it names are added.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> config.variables
    {'exp.replica_batch': [16, 32]}

    Args:
        files: YAML or JSON files, later ones winning.
        parameters: Name → value, or `name=value` texts as `-P` takes them.
        variables: Name → values, or `name=[...]` texts as `-V` takes them. Their product is the plan.
        extensions: Mappings with `condition`, `parameters` and `cases`, or their JSON texts.
        select: Run the packs with one of these words as name, tag or install group.
        exclude: Of them, leave out those with one of these words.
        discard_default: Leave the shipped values out; the declarations stay.
        command: The words of a command to benchmark: `["sort", "--parallel", "{threads}", "data"]` with `variables={"threads": [1, 2]}`.

    Raises:
        ConfigError: A file is malformed, a name is unknown, or a value has the wrong type.
    """
    files = [files] if isinstance(files, (str, os.PathLike)) else files
    return configure(
        files,
        parameters=parameters,
        variables=variables,
        extensions=extensions,
        select=select,
        exclude=exclude,
        discard_default=discard_default,
        command=command,
    )


@with_arguments
def build_plan(config: Config) -> Iterator[Experiment]:
    """The experiments of a configuration: the product of its variables, its extensions, its repeats. Values are not resolved.

    >>> config = dlbs.load_config(parameters={"exp.framework": "dummy"}, variables={"exp.model": ["a", "b"]})
    >>> [experiment["exp.model"] for experiment in dlbs.build_plan(config)]
    ['a', 'b']

    Args:
        config: A configuration.

    Returns:
        A stream of dictionaries, parameter → raw value. A plan of any size takes the memory of one experiment.

    Raises:
        ConfigError: A condition is malformed or about a name that nothing defines.
    """
    return build(config)


@with_arguments
def resolve(config: Config, plan: Path_ | Iterable[Experiment] | None = None) -> Iterator[Experiment]:
    """Experiments with final values: references and expressions evaluated, types and domains checked. Nothing of a plan is run.

    >>> config = dlbs.load_config(parameters={"exp.framework": "dummy", "exp.gpus": "0,1"})
    >>> [experiment["exp.effective_batch"] for experiment in dlbs.resolve(config)]
    [32]

    Args:
        config: Makes the plan, or declares the parameters of the given one.
        plan: Experiments, or the path of a plan file (`dlbs build --plan FILE`); by default those that the configuration makes.

    Returns:
        A stream of dictionaries, parameter → JSON value. Lists and dictionaries may be shared between experiments.

    Raises:
        DlbsError: A value cannot be resolved; the message has the parameters that led there.
    """
    if plan is None:
        plan = build(config)
    elif isinstance(plan, (str, os.PathLike)):
        plan = read_plan(plan)
    return processor_for(config).resolve_all(plan)


@with_arguments
def validate(plan: Plan, *, executor: str = "local") -> list[PlanProblem]:
    """What would make experiments fail, found without running anything: all problems at once.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False}, variables={"exp.gpus": ["", "4711"]}
    ... )
    >>> [problem.count for problem in dlbs.validate(config)]
    [1]

    Args:
        plan: A configuration, or resolved experiments.
        executor: What is going to run them: a name of `dlbs run --executor`.

    Returns:
        Problems; each has `what`, `hint`, one of the experiments that have it, and how many have it. Empty if all is well.

    Raises:
        DlbsError: A value cannot be resolved.
    """
    validator = Validator(load_executor(executor)(Path.cwd()))
    validator.check_all(resolve(plan) if isinstance(plan, Config) else _resolved(plan))
    return validator.problems


@with_arguments
def run_plan(
    plan: Plan,
    *,
    executor: str = "local",
    jobs: int | None = None,
    order: str = "plan",
    order_seed: int = 1,
    retries: int = 0,
    max_failures: int = 0,
    time_limit: float | None = None,
    validation: bool = True,
    wait: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Summary:
    """Run what is not finished, and leave a log file for each experiment; what a killed run left is ended first.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> summary = dlbs.run_plan(config, on_event=lambda event: print(event.kind, event.done, event.total))
    started 0 2
    ended 1 2
    started 1 2
    ended 2 2
    >>> summary.exit_code, dict(summary.outcomes)
    (0, {'ok': 2})

    Ctrl-C stops the experiments that run and returns a summary with `stop_signal`; the same call goes on.

    Args:
        plan: A configuration, or resolved experiments. Relative log files begin in the current directory.
        executor: A name of `dlbs run --executor`, or `module:Class`.
        jobs: Experiments at the same time; None for what suits the executor.
        order: `plan`, `round-robin` or `random`.
        order_seed: Of `random`.
        retries: How often an experiment that failed is tried again.
        max_failures: After so many failed experiments no more are started; 0 for any number.
        time_limit: Seconds after which what runs is stopped; None for none.
        validation: Look for problems before anything runs.
        wait: Wait until another run that writes to the same log directories has ended, instead of refusing.
        on_event: Is called when an experiment starts, is tried again, or ends.

    Returns:
        What became of the plan: how many experiments ended in which way, and the exit code that `dlbs run` would have.

    Raises:
        ConfigError: The plan is empty or has problems; nothing was run.
        LaunchError: Another run writes to the same logs, the executor cannot run anything, or this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("a plan runs in the main thread only, since signals stop it", where="run_plan")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"{jobs} experiments at the same time", where="jobs", hint="give 1 or more, or None")
    if order not in ORDERS:
        raise ConfigError(f"no order {order!r}", where="order", hint=suggestion(order, ORDERS))
    chosen = load_executor(executor)(Path.cwd(), jobs)
    given = plan if isinstance(plan, Config) else list(_resolved(plan))
    planned, experiments = (_repeatable(given, one, order_seed) for one in ("plan", order))
    unlabelled = unlabelled_names(plan if isinstance(plan, Config) else load_config(), None)
    manifest = look_through(planned(), chosen, validate=validation, unlabelled=unlabelled)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    return run_whole(
        experiments(),
        manifest,
        Callback(on_event),
        chosen,
        show=_ignore,
        policies=Policies(retries, max_failures, deadline),
        wait=wait,
    )


@overload
def compare(a: Results, b: Results, **options: Unpack[CompareOptions]) -> Comparison: ...


@overload
def compare(a: Results, *, by: str, baseline: Any = None, **options: Unpack[CompareOptions]) -> ComparisonBy: ...


@with_arguments
def compare(
    a: Results,
    b: Results | None = None,
    *,
    by: str | None = None,
    baseline: Any = None,
    metric: str | None = None,
    threshold: float = 0.03,
    confidence: float = 0.95,
    simultaneous: bool = False,
    estimator: str = "rank",
    trust_single_runs: bool = False,
    trust_doubtful: bool = False,
    match: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Comparison | ComparisonBy:
    """Compare experiments B with experiments A, or the values of a parameter within A: faster, slower, the same, or inconclusive.

    >>> before = [{"exp.model": "a", "exp.status": "ok", "results.throughput": 100.0 + n} for n in range(5)]
    >>> after = [{**run, "results.throughput": 1.2 * run["results.throughput"]} for run in before]
    >>> dlbs.compare(before, after).counts
    {'faster': 1}
    >>> runs = [{**run, "runtime.malloc": "system"} for run in before] + [{**run, "runtime.malloc": "keep"} for run in after]
    >>> dlbs.compare(runs, by="runtime.malloc", baseline="system").counts
    {'keep': {'faster': 1}}

    Args:
        a: The experiments that others are compared with: paths as `dlbs compare` takes them, a frame of `load_results`, or records.
        b: The others; None with `by`.
        by: Compare the values of this parameter within A.
        baseline: With `by`: the value that others are compared with; None for the first one in the plan.
        metric: Key of the quantity; what is better, more or less of it, is known from its name. None for the throughput, or the time
            where no experiment has a throughput.
        threshold: Share by which a ratio may differ from 1 and count as the same.
        confidence: Of each interval.
        simultaneous: Make the intervals so wide that all of them together have this confidence.
        estimator: `rank` (Hodges-Lehmann) or `mean`.
        trust_single_runs: Give verdicts on fewer than three runs.
        trust_doubtful: Give verdicts on doubtful runs, those with warnings.
        match: Match experiments by these parameters alone.
        ignore: Parameters that do not tell experiments apart.

    Returns:
        The comparison; `matches` has the ratio, its interval and the verdict of each experiment, `regressions` the bad ones. With `by`,
        `comparisons` has such a comparison of each other value with the baseline.

    Raises:
        LogError: A path finds nothing, a parameter or value is unknown, a share is out of range, or numpy is not installed.
        TypeError: Neither or both of `b` and `by` are given.
    """
    if (b is None) == (by is None) or (by is None and baseline is not None):
        raise TypeError("compare() takes two sets of results, or one with by=NAME and, if need be, baseline=VALUE")
    _check_share("threshold", threshold, 0.0)
    _check_share("confidence", confidence, 0.5)
    if estimator not in ESTIMATORS:
        raise LogError(f"no estimator {estimator!r}", where="estimator", hint=suggestion(estimator, ESTIMATORS))
    sides = [_records(one) for one in (a, b) if one is not None]
    known = {name for side in sides for record in side for name in record}
    everything = [record for side in sides for record in side]
    if metric is None and (failed := none_ended_well(everything)):
        raise LogError(failed, hint="exp.status_msg of each says why")
    metric = usual_metric(everything) if metric is None else metric
    if known and metric not in known:
        raise LogError(f"no experiment has {metric!r}", where="metric", hint=did_you_mean(metric, known))
    declarations = _load_declarations().declarations
    rules = Rules(
        metric, threshold, confidence, simultaneous, estimator, trust_single_runs, trust_doubtful, match, ignore
    )
    if by is not None:
        return compare_by(sides[0], declarations, rules, by=by, baseline=baseline)
    return _compare(sides[0], sides[1], declarations, rules)


@with_arguments
def plot(
    results: Results,
    kind: str | None = None,
    path: Path_ | None = None,
    *,
    value: str | None = None,
    x: str | None = None,
    y: str | Sequence[str] = (),
    series: str | Sequence[str] = (),
    facet: str | Sequence[str] = (),
    baseline: Mapping[str, Any] | None = None,
    title: str | None = None,
    log_scale: bool | None = None,
    log_x: bool | None = None,
    peak_tflops: float | None = None,
    peak_bandwidth: float | None = None,
    style: str = "light",
    size: str | tuple[float, float] | None = None,
    mark: str | Sequence[str] = (),
) -> Figure:
    """Draw results, as `dlbs plot` does.

    >>> runs = [
    ...     {"exp.model": "a", "exp.replica_batch": n, "exp.status": "ok", "results.throughput": 50.0 * n} for n in (1, 2, 4)
    ... ]
    >>> figure = dlbs.plot(runs, "throughput", "throughput.png")
    >>> len(figure.axes[0].lines) >= 1
    True

    Args:
        results: Paths as `dlbs plot` takes them, a frame of `load_results`, or records.
        kind: What `dlbs plot --type` takes, such as `throughput`, `bars`, `distribution` or `history`; None for `axes` if `x`, `y`, `series`,
            `facet` or `baseline` is given, or else `throughput`.
        path: A .png, .svg or .pdf file to write; None writes none.
        value: Key of the quantity; None for the usual one.
        x: Axes: key of the horizontal axis, a parameter or a result; None for the replica batch.
        y: Axes: keys of the quantities, a row of panels for each.
        series: Axes: parameters that divide lines; others that differ divide them too.
        facet: Axes: parameters that divide panels.
        baseline: Axes: parameters with values, such as `{"exp.framework": "pytorch"}`; each value is divided by that of the experiment that has
            these and is equal otherwise.
        title: None for the usual one.
        log_scale: Logarithmic axis of the quantity; None decides by its range.
        log_x: Axes: logarithmic horizontal axis; None decides by its values.
        peak_tflops: Roofline: peak of the device, in 10^12 operations per second.
        peak_bandwidth: Roofline: memory bandwidth, in 10^9 bytes per second.
        style: `light`, `dark`, `paper` or `slides`.
        size: `8x5` (inches), `16x9cm`, `1200x700px`, or inches as two numbers; None for what suits the style and the content.
        mark: History: tags or commits to mark.

    Returns:
        A matplotlib figure.

    Raises:
        LogError: There is no such kind or key, nothing to draw, too much for one plot, or matplotlib is not installed.
    """
    quantities, lines, panels, marks = (
        [names] if isinstance(names, str) else list(names) for names in (y, series, facet, mark)
    )
    options = Options(
        value, title, log_scale, peak_tflops, peak_bandwidth, x, quantities, lines, panels, dict(baseline or {}), log_x,
        style, size if size is None or isinstance(size, str) else "x".join(map(str, size)), marks,
    )  # fmt: skip
    records = _records(results)
    figure = draw(kind_for(kind, options, records), records, _load_declarations().declarations, options)
    if path is not None:
        save(figure, os.fspath(path))
    return figure


def _repeatable(plan: Plan, order: str, seed: int) -> Callable[[], Iterator[Experiment]]:
    """A function that gives the resolved experiments each time it is called: a configuration is never held in memory as a whole."""
    if isinstance(plan, Config):
        return lambda: resolved_in_order(plan, build(plan), order, seed)
    held = list(_resolved(plan))
    return lambda: ordered(held, order, seed)


def _resolved(plan: Iterable[Experiment]) -> Iterator[Experiment]:
    if isinstance(plan, (str, os.PathLike)):
        hint = "dlbs.resolve(dlbs.load_config(), path) resolves the experiments of a plan file"
        raise ConfigError("a path is not a resolved plan", where=str(plan), hint=hint)
    for experiment in plan:
        if "exp.log_file" not in experiment:
            raise ConfigError(
                "an experiment has no exp.log_file", hint="give the experiments that dlbs.resolve returns"
            )
        yield experiment


def _check_share(name: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1:
        raise LogError(f"{value!r} is not a share from {least} to below 1", where=name, hint="3 % is 0.03")


def _records(results: Any) -> list[dict[str, Any]]:
    if isinstance(results, (str, os.PathLike)):
        return load_records([os.fspath(results)])
    if hasattr(results, "columns"):
        return list(records_of(results))
    given = list(results)
    if given and all(isinstance(one, (str, os.PathLike)) for one in given):
        return load_records([os.fspath(one) for one in given])
    return given


def _ignore(launcher: Launcher) -> None:
    """What is only simulated is shown by the command line alone."""
