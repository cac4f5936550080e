"""Run a plan: which experiments still have to run, in what order, and what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlbs.errors import DlbsError
from dlbs.executors.local import LocalExecutor
from dlbs.executors.outcome import Outcome
from dlbs.executors.signals import Signals
from dlbs.launcher import Launcher, make_launcher
from dlbs.logs import STATUSES, last_values
from dlbs.processor import Experiment
from dlbs.progress import Progress

__all__ = ["Summary", "is_finished", "run_plan"]


@dataclass(slots=True)
class Summary:
    """What became of a plan.

    Attributes:
        outcomes: Status → number of experiments that ended so in this run.
        kept: Experiments that were finished before.
        inactive: Experiments with exp.status=inactive.
        simulated: Experiments with exp.status=simulate, whose launchers were shown.
        left: Experiments that were not reached, because the run was stopped.
        stop_signal: Signal that stopped the run; 0 if none.
        directories: Directories that logs were written to.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    inactive: int = 0
    simulated: int = 0
    left: int = 0
    stop_signal: int = 0
    directories: set[Path] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """Experiments that ended in any other way than well."""
        return sum(count for status, count in self.outcomes.items() if status not in {"ok", "skipped"})


def is_finished(experiment: Experiment, directory: Path) -> bool:
    """Whether an experiment's log says that it need not run again, by the policy of `exp.rerun`."""
    policy = experiment.get("exp.rerun", "never")
    if policy == "always":
        return False
    status = last_values(directory / str(experiment["exp.log_file"])).get("exp.status")
    if status not in STATUSES or status == "cancelled":
        return False
    return policy == "never" or status in {"ok", "skipped"}


def run_plan(
    experiments: Iterable[Experiment],
    total: int,
    progress: Progress,
    *,
    show: Callable[[Launcher], None],
    directory: Path | None = None,
) -> Summary:
    """Run what is not finished yet, one experiment at a time, and leave the log files.

    Args:
        experiments: The resolved plan.
        total: How many experiments it has.
        progress: Is told what happens.
        show: Is given the launchers of experiments that are only simulated.
        directory: Where experiments run and relative log files begin; the current directory by default.
    """
    directory = Path.cwd() if directory is None else directory
    summary = Summary()
    with Signals() as signals, progress:
        executor = LocalExecutor(signals, tick=progress.tick, tick_seconds=progress.tick_seconds)
        progress.begin(total)
        reached = 0
        for experiment in _until_stopped(experiments, signals):
            reached += 1
            if experiment.get("exp.status") == "inactive":
                summary.inactive += 1
                progress.skipped("inactive")
            elif experiment.get("exp.status") == "simulate":
                summary.simulated += 1
                progress.skipped("simulated")
                show(make_launcher(experiment, directory))
            else:
                _run_unless_finished(experiment, directory, executor, progress, summary)
        summary.left = max(0, total - reached)
        summary.stop_signal = signals.stop_signal
    return summary


def _until_stopped(experiments: Iterable[Experiment], signals: Signals) -> Iterator[Experiment]:
    for experiment in experiments:
        if signals.stop_signal or signals.stop_after_current:
            return
        yield experiment


def _run_unless_finished(
    experiment: Experiment, directory: Path, executor: LocalExecutor, progress: Progress, summary: Summary
) -> None:
    """Run one experiment; what is wrong with it alone must not stop the others."""
    try:
        if is_finished(experiment, directory):
            summary.kept += 1
            progress.skipped("finished")
            return
        progress.started(experiment)
        outcome = executor.run(make_launcher(experiment, directory))
    except DlbsError as error:
        outcome = Outcome("failure", str(error))
    progress.ended(experiment, outcome)
    summary.outcomes[outcome.status] += 1
    summary.directories.add((directory / str(experiment["exp.log_file"])).parent)
