"""The Python API for notebooks and scripts: the functions of the command line. `import dlbs` provides all of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, overload

from dlbs.config.config import Config
from dlbs.config.load import load_config as _load_declarations
from dlbs.core.errors import ConfigError, one_or_several, suggestion, with_arguments
from dlbs.core.experiment import Experiment
from dlbs.executors.base import make_executor
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.pipeline import ORDERS, ordered, planned_and_ordered, processor_for, resolved_plan, unlabelled_names
from dlbs.results.plots.kinds import draw, save
from dlbs.results.plots.plot import Options, kind_for
from dlbs.results.read.frame import records_of
from dlbs.results.read.records import read_runs
from dlbs.results.runs import Runs
from dlbs.results.statistics.compare import Comparison, ComparisonBy, compare_by, side_by_side
from dlbs.results.statistics.compare import compare as _compare
from dlbs.results.statistics.ratio import DEFAULT_RULES, Rules
from dlbs.run import driver
from dlbs.run.driver import Callback, Event, Summary, look_through
from dlbs.run.policies import Policies
from dlbs.run.validate import PlanProblem, Validator

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from typing_extensions import Unpack  # for type checkers; in typing since Python 3.11

    Results: TypeAlias = str | Iterable[str] | pd.DataFrame | Sequence[dict[str, Any]]


__all__ = ["build_plan", "compare", "load_config", "plot", "resolve", "run_plan", "validate"]

Path_ = str | os.PathLike[str]
Plan = Config | Iterable[Experiment]


class CompareOptions(TypedDict, total=False):
    """Options of `compare`, for type checkers, which cannot derive them."""

    metric: str
    threshold: float
    confidence: float
    simultaneous: bool
    estimator: str
    trust_single_runs: bool
    trust_doubtful: bool
    match: str | Sequence[str]
    ignore: str | Sequence[str]


@with_arguments
def load_config(
    files: Path_ | Iterable[Path_] = (),
    *,
    parameters: Mapping[str, Any] | str | Iterable[str] = (),
    variables: Mapping[str, Sequence[Any]] | str | Iterable[str] = (),
    extensions: Mapping[str, Any] | str | Iterable[Mapping[str, Any] | str] = (),
    select: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    discard_default: bool = False,
    command: Sequence[str] | None = None,
) -> Config:
    """Load a configuration: the shipped files, your files and the arguments; the packs that it names are added.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> config.variables
    {'exp.replica_batch': [16, 32]}

    Args:
        files: YAML or JSON files; later ones take precedence.
        parameters: Name → value, or `name=value` strings as for `-P`.
        variables: Name → values, or `name=a,b` strings as for `-V`. Their product is the plan.
        extensions: Mappings with `condition`, `parameters` and `cases`, or their JSON text.
        select: Run the packs whose name, tag or install group is one of these words.
        exclude: Exclude packs with one of these words from those of `select` or `exp.pack`, otherwise from all.
        discard_default: Ignore the shipped values; the declarations are kept.
        command: The words of a command to benchmark: `["sort", "--parallel", "{threads}", "data"]` with `variables={"threads": [1, 2]}`.

    Raises:
        ConfigError: A file is malformed, a name is unknown, or a value has the wrong type.
    """
    files = [files] if isinstance(files, (str, os.PathLike)) else files
    if isinstance(command, str):
        hint = f"write command={command.split()!r}"
        raise ConfigError("must be a list of words, not a string", where="command", hint=hint)
    return configure(
        files,
        parameters=parameters if isinstance(parameters, Mapping) else one_or_several(parameters),
        variables=variables if isinstance(variables, Mapping) else one_or_several(variables),
        extensions=one_or_several(extensions),
        select=one_or_several(select),
        exclude=one_or_several(exclude),
        discard_default=discard_default,
        command=command,
    )


@with_arguments
def build_plan(config: Config) -> Iterator[Experiment]:
    """Build the experiments of a configuration: the product of its variables, with extensions and repeats. Values are not resolved.

    >>> config = dlbs.load_config(parameters={"exp.framework": "dummy"}, variables={"exp.model": ["a", "b"]})
    >>> [experiment["exp.model"] for experiment in dlbs.build_plan(config)]
    ['a', 'b']

    Args:
        config: A configuration.

    Returns:
        An iterator of dictionaries, parameter → raw value. A plan of any size needs the memory of one experiment.

    Raises:
        ConfigError: A condition is malformed or refers to an undefined name.
    """
    return build(config)


@with_arguments
def resolve(config: Config, plan: Path_ | Iterable[Experiment] | None = None) -> Iterator[Experiment]:
    """Resolve experiments: evaluate references and expressions, check types and domains. Nothing is run.

    >>> config = dlbs.load_config(parameters={"exp.framework": "dummy", "exp.gpus": "0,1"})
    >>> [experiment["exp.effective_batch"] for experiment in dlbs.resolve(config)]
    [32]

    Args:
        config: Makes the plan, or declares the parameters of the given one. Its own `parameters` apply to the experiments of a plan file,
            too, as with `dlbs run --plan`; experiments in memory are not changed.
        plan: Experiments, or the path of a plan file (`dlbs build -o FILE`); by default those of the configuration.

    Returns:
        An iterator of dictionaries, parameter → JSON value. Lists and dictionaries may be shared between experiments.

    Raises:
        DlbsError: A value cannot be resolved; the message names the chain of parameters.
        ConfigError: Something in the configuration would have no effect on a plan file.
    """
    if isinstance(plan, (str, os.PathLike)):
        return resolved_plan(config, os.fspath(plan))()
    if plan is None:
        plan = build(config)
    return processor_for(config).resolve_all(plan)


@with_arguments
def validate(plan: Plan, *, executor: str = "local") -> list[PlanProblem]:
    """Find all problems that would make experiments fail, without running anything.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False}, variables={"exp.gpus": ["", "4711"]}
    ... )
    >>> [problem.count for problem in dlbs.validate(config)]
    [1]

    Args:
        plan: A configuration, or resolved experiments.
        executor: Executor that will run them: a name of `dlbs run --executor`.

    Returns:
        Problems; each has `what`, `hint`, one affected experiment, and the number of affected experiments. Empty if there are none.

    Raises:
        DlbsError: A value cannot be resolved.
    """
    validator = Validator(make_executor(executor))
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
    """Run the unfinished experiments and write a log file for each; processes left by a killed run are stopped first.

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

    Ctrl-C stops the running experiments and returns a summary with `stop_signal`; the same call continues the plan.

    Args:
        plan: A configuration, or resolved experiments. Paths of log files are relative to the current directory.
        executor: A name of `dlbs run --executor`, or `module:Class`.
        jobs: Experiments to run in parallel; None for the executor's default.
        order: `plan`, `round-robin` or `random`.
        order_seed: Seed of `random`.
        retries: Number of retries of a failed experiment.
        max_failures: Start no more experiments after this many failures; 0 for no limit.
        time_limit: Seconds after which running experiments are stopped; None for no limit.
        validation: Validate before anything runs.
        wait: If another run writes to the same log directories, wait for its end instead of raising an error.
        on_event: Called when an experiment starts, is retried, or ends.

    Returns:
        The outcome of the plan: the number of experiments with each status, and the exit code of `dlbs run`.

    Raises:
        ConfigError: The plan is empty or has problems; nothing was run.
        LaunchError: Another run writes to the same logs, the executor cannot run anything, or the caller is not in the main thread.
    """
    if order not in ORDERS:
        raise ConfigError(f"unknown order {order!r}", where="order", hint=suggestion(order, ORDERS))
    chosen = make_executor(executor, jobs)
    planned, experiments = _repeatable(plan, order, order_seed)
    unlabelled = unlabelled_names(plan if isinstance(plan, Config) else load_config(), None)
    manifest = look_through(planned(), chosen, validate=validation, unlabelled=unlabelled)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    return driver.run_plan(
        experiments(),
        manifest,
        Callback(on_event),
        chosen,
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
    threshold: float = DEFAULT_RULES.threshold,
    confidence: float = DEFAULT_RULES.confidence,
    simultaneous: bool = False,
    estimator: str = "rank",
    trust_single_runs: bool = False,
    trust_doubtful: bool = False,
    match: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
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
        a: The baseline: paths as for `dlbs compare`, a frame of `load_results`, or records.
        b: The experiments to compare with A; None with `by`.
        by: Compare the values of this parameter within A.
        baseline: With `by`: the value to compare the others with; None for the first one in the plan.
        metric: Key of the quantity; its name determines whether higher or lower is better. None for the throughput, or the time if no
            experiment has a throughput.
        threshold: Ignore differences up to this share.
        confidence: Confidence level of each interval.
        simultaneous: Apply the confidence level to all intervals together, which makes them wider.
        estimator: `rank` (Hodges-Lehmann) or `mean`.
        trust_single_runs: Give verdicts on fewer than three runs.
        trust_doubtful: Give verdicts on doubtful runs, those with warnings.
        match: Match experiments by these parameters only.
        ignore: Parameters that do not distinguish experiments.

    Returns:
        The comparison; `matches` has the ratio, its interval and the verdict of each experiment, `regressions` the regressions. With `by`,
        `comparisons` has one comparison with the baseline for each other value.

    Raises:
        LogError: A path has no results, a parameter or value is unknown, a share is out of range, or numpy is not installed.
        TypeError: Neither or both of `b` and `by` are given.
    """
    if (b is None) == (by is None) or (by is None and baseline is not None):
        raise TypeError("compare() takes two sets of results, or one with by=NAME and optionally baseline=VALUE")
    rules = Rules(
        by=by,
        baseline=baseline,
        metric=metric,
        threshold=threshold,
        confidence=confidence,
        simultaneous=simultaneous,
        estimator=estimator,
        trust_single_runs=trust_single_runs,
        trust_doubtful=trust_doubtful,
        match=tuple(one_or_several(match)),
        ignore=tuple(one_or_several(ignore)),
    )
    runs, sides = side_by_side([_runs(one) for one in (a, b) if one is not None])
    rules = rules.for_results(runs)
    return compare_by(runs, rules) if by is not None else _compare(sides[0], sides[1], rules)


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
    """Plot results, like `dlbs plot`.

    >>> runs = [
    ...     {"exp.model": "a", "exp.replica_batch": n, "exp.status": "ok", "results.throughput": 50.0 * n} for n in (1, 2, 4)
    ... ]
    >>> figure = dlbs.plot(runs, "throughput", "throughput.png")
    >>> len(figure.axes[0].lines) >= 1
    True

    Args:
        results: Paths as for `dlbs plot`, a frame of `load_results`, or records.
        kind: A value of `dlbs plot --type`, such as `throughput`, `bars`, `distribution` or `history`; None for `axes` if `x`, `y`, `series`,
            `facet` or `baseline` is given, otherwise `throughput`.
        path: A .png, .svg or .pdf file to write; None for no file.
        value: Key of the quantity; None for the usual one.
        x: Axes: key of the horizontal axis, a parameter or a result; None for the replica batch.
        y: Axes: keys of the quantities, one row of panels each.
        series: Axes: parameters that separate lines; other differing parameters separate them too.
        facet: Axes: parameters that separate panels.
        baseline: Axes: parameters with values, such as `{"exp.framework": "pytorch"}`; each value is divided by that of the experiment with
            these values that is otherwise equal.
        title: None for the usual one.
        log_scale: Logarithmic axis of the quantity; None to choose by its range.
        log_x: Axes: logarithmic horizontal axis; None to choose by its values.
        peak_tflops: Roofline: peak of the device, in 10^12 operations per second.
        peak_bandwidth: Roofline: memory bandwidth, in 10^9 bytes per second.
        style: `light`, `dark`, `paper` or `slides`.
        size: `8x5` (inches), `16x9cm`, `1200x700px`, or inches as two numbers; None to choose by style and content.
        mark: History: tags or commits to mark.

    Returns:
        A matplotlib figure.

    Raises:
        LogError: The kind or key is unknown, there is nothing to plot or too much for one plot, or matplotlib is not installed.
    """
    quantities, lines, panels, marks = (list(one_or_several(names)) for names in (y, series, facet, mark))
    options = Options(
        value, title, log_scale, peak_tflops, peak_bandwidth, x, quantities, lines, panels, dict(baseline or {}), log_x,
        style, size if size is None or isinstance(size, str) else "x".join(map(str, size)), marks,
    )  # fmt: skip
    runs = _runs(results)
    figure = draw(kind_for(kind, options, runs), runs, options)
    if path is not None:
        save(figure, os.fspath(path))
    return figure


def _repeatable(plan: Plan, order: str, seed: int) -> tuple[Callable[[], Iterator[Experiment]], ...]:
    """Return functions that iterate over the resolved experiments in the plan's order, and in that of execution."""
    if isinstance(plan, Config):
        return planned_and_ordered(plan, None, order=order, seed=seed)
    held = list(_resolved(plan))
    return lambda: iter(held), lambda: ordered(held, order, seed)


def _resolved(plan: Iterable[Experiment]) -> Iterator[Experiment]:
    if isinstance(plan, (str, os.PathLike)):
        hint = "dlbs.resolve(dlbs.load_config(), path) resolves the experiments of a plan file"
        raise ConfigError("a path is not a resolved plan", where=str(plan), hint=hint)
    for experiment in plan:
        if "exp.log_file" not in experiment:
            raise ConfigError("an experiment has no exp.log_file", hint="pass experiments that dlbs.resolve returned")
        yield experiment


def _runs(results: Any) -> Runs:
    if isinstance(results, (str, os.PathLike)):
        results = [results]
    given: Any = list(records_of(results) if hasattr(results, "columns") else results)
    if given and all(isinstance(one, (str, os.PathLike)) for one in given):
        given = read_runs([os.fspath(one) for one in given])
    return Runs.of(given, _load_declarations().declarations)
