"""A complete run: inspect the plan, lock the log directories, run unfinished experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import TYPE_CHECKING

from dlbs.errors import ConfigError
from dlbs.executors.base import Executor
from dlbs.experiment import Experiment
from dlbs.launch.script import Launcher
from dlbs.run.differences import Differences
from dlbs.run.driver import run_plan
from dlbs.run.locks import locked
from dlbs.run.manifest import Manifest
from dlbs.run.policies import BatchLimits, Policies
from dlbs.run.summary import Summary

if TYPE_CHECKING:
    from dlbs.run.events import Observer

__all__ = ["look_through", "run_whole"]


def look_through(
    experiments: Iterable[Experiment], executor: Executor, *, validate: bool, unlabelled: Set[str] = frozenset()
) -> Manifest:
    """Inspect a plan in one pass: count experiments, collect log directories, and find problems before anything runs.

    Args:
        experiments: The resolved plan.
        executor: The executor that will run it.
        validate: Whether to find problems.
        unlabelled: Parameters that labels of experiments omit.

    Raises:
        ConfigError: The plan is empty, or has problems; all of them are listed.
    """
    manifest = Manifest(Differences(unlabelled))
    validator = None
    if validate:
        from dlbs.run.validate import Validator

        validator = Validator(executor, may_run=True)
    for experiment in experiments:
        manifest.add(experiment)
        if validator is not None:
            validator.check(experiment)
    if validator is not None:
        validator.raise_problems()
    if manifest.count == 0:
        raise ConfigError("the plan has no experiments", hint="check the configuration with `dlbs build`")
    return manifest


def run_whole(
    experiments: Iterable[Experiment | None],
    manifest: Manifest,
    observer: Observer,
    executor: Executor,
    *,
    show: Callable[[Launcher], None],
    policies: Policies | None = None,
    wait: bool = False,
    detach: bool = False,
    limits: BatchLimits | None = None,
) -> Summary:
    """Run the unfinished experiments with the log directories locked for this run.

    Args:
        experiments: The resolved plan, as for `run_plan`.
        manifest: The result of `look_through`.
        observer: Is notified of events.
        executor: Runs experiments.
        show: Receives the launchers of simulated experiments.
        policies: Retries, failure limit and deadline.
        wait: Wait until another run that writes to the same directories has ended, instead of raising an error.
        detach: Return after everything is started.
        limits: The batches that did not fit into memory, if the caller needs them too.

    Raises:
        LaunchError: Another run writes to the same directories, or the executor cannot run anything.
    """
    several_batches = "exp.replica_batch" in manifest.differences
    with locked(manifest.directories, executor, wait=wait) as owned:
        manifest.write()
        return run_plan(
            experiments,
            manifest.count,
            observer,
            executor,
            show=show,
            owned=owned,
            policies=policies,
            detach=detach,
            limits=limits or BatchLimits(manifest.differences.names, manifest.final if several_batches else ()),
        )
