"""Run a plan on a Slurm cluster: submit what is not finished and not submitted yet, and watch the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dlbs.executors.base import Outcome
from dlbs.executors.signals import Signals
from dlbs.executors.slurm import SlurmExecutor, clear_away, live_logs, read_arrays
from dlbs.experiment import Experiment, log_path
from dlbs.logs import last_values
from dlbs.run.driver import Summary, is_finished
from dlbs.run.progress import Progress

__all__ = ["run_plan_on_slurm"]


def run_plan_on_slurm(
    experiments: Iterable[Experiment],
    total: int,
    progress: Progress,
    *,
    directories: Iterable[Path],
    directory: Path | None = None,
    throttle: int = 0,
    detach: bool = False,
) -> Summary:
    """Submit what is not finished and not in the queue yet; then watch, unless detached.

    Args:
        experiments: The resolved plan.
        total: How many experiments it has.
        progress: Is told what happens.
        directories: Where logs go; jobs of an earlier run there are picked up.
        directory: Where experiments run and relative log files begin; the current directory by default.
        throttle: Tasks of an array that may run at the same time; 0 for any number.
        detach: Return when everything is submitted.

    Raises:
        LaunchError: Slurm does not answer or refuses the jobs.
    """
    directory = Path.cwd() if directory is None else directory
    summary = Summary()
    with Signals() as signals, progress:
        executor = SlurmExecutor(signals, directory, throttle)
        executor.check()
        progress.begin(total)
        _pick_up(executor, directories)
        running: dict[Path, Experiment] = {}
        executor.submit(_to_submit(experiments, directory, executor, progress, summary, running))
        if detach:
            summary.left = len(running)
            return summary
        while executor.watched:
            for log, outcome in executor.wait():
                if log in running:
                    _note(running.pop(log), outcome, progress, summary, log)
        summary.left = len(running)
        summary.stop_signal = signals.stop_signal
    return summary


def _pick_up(executor: SlurmExecutor, directories: Iterable[Path]) -> None:
    """Watch the jobs of earlier runs that are still in the queue."""
    for place in directories:
        live = live_logs(place)
        for array in read_arrays(place):
            tasks = [task for task, log in enumerate(array.logs) if str(log) in live]
            if tasks:
                executor.watch(array, tasks)
            else:
                clear_away(array)


def _to_submit(
    experiments: Iterable[Experiment],
    directory: Path,
    executor: SlurmExecutor,
    progress: Progress,
    summary: Summary,
    running: dict[Path, Experiment],
) -> Iterator[tuple[Path, Experiment]]:
    for experiment in experiments:
        if experiment.get("exp.status") in {"inactive", "simulate"}:
            summary.inactive += 1
            progress.skipped("inactive")
            continue
        log = log_path(experiment, directory).absolute()
        ending = last_values(log)
        if log not in executor.watched and is_finished(experiment, ending):
            summary.keep(ending)
            progress.skipped("finished")
            continue
        running[log] = experiment
        progress.started(experiment, log)
        if log not in executor.watched:
            yield log, experiment


def _note(experiment: Experiment, outcome: Outcome, progress: Progress, summary: Summary, log: Path) -> None:
    progress.ended(experiment, outcome)
    summary.outcomes[outcome.status] += 1
    summary.directories.add(log.parent)
