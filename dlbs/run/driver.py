"""Run a plan: which experiments still have to run, in what order, and what came of them."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlbs.errors import DlbsError
from dlbs.executors.base import Outcome
from dlbs.executors.job import write_log
from dlbs.executors.local import LocalExecutor
from dlbs.executors.signals import Signals
from dlbs.experiment import Experiment, log_path
from dlbs.launch.script import Launcher, make_launcher
from dlbs.logs import STATUSES, last_values
from dlbs.run.policies import BatchLimits, Policies
from dlbs.run.progress import Progress

__all__ = ["Summary", "is_finished", "run_plan"]

_LOOK_AHEAD = 32  # experiments that may wait for room while others run first

_MOST_OVERTAKEN = 64  # experiments that may overtake one that waits


@dataclass(slots=True)
class Summary:
    """What became of a plan.

    Attributes:
        outcomes: Status → number of experiments that ended so in this run.
        kept: Experiments that were finished before.
        kept_skipped: Those of them that were skipped.
        inactive: Experiments with exp.status=inactive.
        simulated: Experiments with exp.status=simulate, whose launchers were shown.
        left: Experiments that were not reached, because the run was stopped.
        stop_signal: Signal that stopped the run; 0 if none.
        stopped: Why the run stopped early, if a policy did that.
        directories: Directories that logs were written to.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    kept_skipped: int = 0
    inactive: int = 0
    simulated: int = 0
    left: int = 0
    stop_signal: int = 0
    stopped: str = ""
    directories: set[Path] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """Experiments that ended in any other way than well."""
        return sum(count for status, count in self.outcomes.items() if status not in {"ok", "skipped"})

    @property
    def all_skipped(self) -> bool:
        """Whether nothing was measured, because everything was skipped."""
        return 0 < self.outcomes["skipped"] + self.kept_skipped == self.outcomes.total() + self.kept + self.left

    def keep(self, ending: dict[str, object]) -> None:
        """Count an experiment that was finished before, by what its log ends with."""
        self.kept += 1
        self.kept_skipped += ending.get("exp.status") == "skipped"


def is_finished(experiment: Experiment, ending: dict[str, object]) -> bool:
    """Whether an experiment need not run again, by the policy of `exp.rerun` and what its log ends with."""
    policy = experiment.get("exp.rerun", "never")
    status = ending.get("exp.status")
    if policy == "always" or status not in STATUSES or status == "cancelled":
        return False
    return policy == "never" or status in {"ok", "skipped"}


def run_plan(
    experiments: Iterable[Experiment],
    total: int,
    progress: Progress,
    *,
    show: Callable[[Launcher], None],
    directory: Path | None = None,
    jobs: int = 1,
    policies: Policies | None = None,
) -> Summary:
    """Run what is not finished yet and leave the log files.

    Args:
        experiments: The resolved plan.
        total: How many experiments it has.
        progress: Is told what happens.
        show: Is given the launchers of experiments that are only simulated.
        directory: Where experiments run and relative log files begin; the current directory by default.
        jobs: How many experiments may run at the same time.
        policies: About failures and time.
    """
    directory = Path.cwd() if directory is None else directory
    with Signals() as signals, progress:
        executor = LocalExecutor(
            signals,
            lambda experiment: make_launcher(experiment, directory),
            jobs=jobs,
            tick=progress.tick,
            tick_seconds=progress.tick_seconds,
        )
        progress.begin(total)
        run = _Run(iter(experiments), total, executor, progress, show, directory, policies or Policies())
        run.to_the_end()
        run.summary.stop_signal = signals.stop_signal
    return run.summary


@dataclass(slots=True)
class _Waiting:
    """An experiment that is to run.

    Attributes:
        attempt: Which one it will be, from 1.
        not_before: A moment of `time.monotonic()`.
        overtaken: How many have been started before it while it waited for room.
    """

    experiment: Experiment
    attempt: int = 1
    not_before: float = 0.0
    overtaken: int = 0


class _Run:
    """One run of a plan: draws experiments from it, starts them where there is room, and notes what came of them."""

    def __init__(
        self,
        experiments: Iterator[Experiment],
        total: int,
        executor: LocalExecutor,
        progress: Progress,
        show: Callable[[Launcher], None],
        directory: Path,
        policies: Policies,
    ) -> None:
        self.experiments, self.total, self.executor, self.progress = experiments, total, executor, progress
        self.show, self.directory, self.policies = show, directory, policies
        self.summary = Summary()
        self._reached = 0
        self._exhausted = False
        self._waiting: deque[_Waiting] = deque()
        self._limits = BatchLimits()
        self._attempts: dict[str, int] = {}  # of running experiments, by log file

    def to_the_end(self) -> None:
        """Run until nothing is left or something stops it."""
        while True:
            if not self._stopping():
                self._start_what_fits()
            if not self.executor.running and (self._stopping() or not self._waiting):
                break
            for experiment, outcome in self.executor.wait(self._next_moment()):
                self._ended(experiment, outcome)
        not_reached = max(0, self.total - self._reached) if self._stopping() else 0
        self.summary.left = not_reached + len(self._waiting)

    def _stopping(self) -> bool:
        """Whether no more experiments are started."""
        signals, deadline = self.executor.signals, self.policies.deadline
        if deadline is not None and time.monotonic() >= deadline and not self.summary.stopped:
            self.summary.stopped = "the deadline has come"
            self.executor.end_all("stopped by the deadline")
        return bool(signals.stop_signal or signals.stop_after_current or self.summary.stopped)

    def _next_moment(self) -> float | None:
        """When something is to be done though no experiment ended."""
        moments = [waiting.not_before for waiting in self._waiting if waiting.not_before > time.monotonic()]
        if self.policies.deadline is not None and not self.summary.stopped:
            moments.append(self.policies.deadline)
        return min(moments, default=None)

    def _start_what_fits(self) -> None:
        """Start experiments in the plan's order; one that has to wait for room may be overtaken, but not for ever."""
        now = time.monotonic()
        position = 0
        while len(self.executor.running) < self.executor.jobs and not self._stopping():
            if position == len(self._waiting) and not self._draw():
                return
            waiting = self._waiting[position]
            if waiting.not_before > now:  # it pauses before its next attempt, and keeps nobody waiting
                position += 1
                continue
            if not self._start(waiting):
                if waiting.overtaken >= _MOST_OVERTAKEN or position + 1 >= _LOOK_AHEAD:
                    return
                position += 1
                continue
            del self._waiting[position]
            for earlier in list(self._waiting)[:position]:
                earlier.overtaken += earlier.not_before <= now

    def _draw(self) -> bool:
        """Take experiments from the plan until one has to run; False if there is none."""
        while not self._exhausted:
            experiment = next(self.experiments, None)
            if experiment is None:
                self._exhausted = True
                return False
            self._reached += 1
            if experiment.get("exp.status") == "inactive":
                self.summary.inactive += 1
                self.progress.skipped("inactive")
            elif experiment.get("exp.status") == "simulate":
                self.summary.simulated += 1
                self.progress.skipped("simulated")
                self.show(make_launcher(experiment, self.directory))
            elif not self._is_finished(experiment):
                self._waiting.append(_Waiting(experiment))
                return True
        return False

    def _is_finished(self, experiment: Experiment) -> bool:
        try:
            ending = last_values(log_path(experiment, self.directory))
        except DlbsError as error:
            self._note(experiment, Outcome("failure", str(error)))
            return True
        if not is_finished(experiment, ending):
            return False
        self._limits.learn_from_log(experiment, ending)
        self.summary.keep(ending)
        self.progress.skipped("finished")
        return True

    def _start(self, waiting: _Waiting) -> bool:
        """Start an experiment, or settle it without; False if there is no room now."""
        experiment = waiting.experiment
        reason = self._limits.reason_to_skip(experiment)
        if reason:
            self._skip(experiment, reason)
            return True
        if waiting.attempt > 1:
            experiment = {**experiment, "exp.attempt": waiting.attempt}
        try:
            started = self.executor.start(experiment)
        except DlbsError as error:  # what is wrong with one experiment must not stop the others
            self._note(experiment, Outcome("failure", str(error)))
            return True
        if started:
            self._attempts[str(experiment["exp.log_file"])] = waiting.attempt
            self.progress.started(experiment, log_path(experiment, self.directory))
        return started

    def _skip(self, experiment: Experiment, reason: str) -> None:
        """Leave a log that says why an experiment did not run."""
        try:
            write_log(log_path(experiment, self.directory), experiment, "skipped", reason)
        except OSError as error:
            self._note(experiment, Outcome("failure", f"cannot write {error.filename}: {error.strerror}"))
            return
        self._note(experiment, Outcome("skipped", reason))

    def _ended(self, experiment: Experiment, outcome: Outcome) -> None:
        self._limits.learn(experiment, outcome)
        attempt = self._attempts.pop(str(experiment["exp.log_file"]), 1)
        if outcome.status in {"failure", "timeout"} and attempt <= self.policies.retries and not self._stopping():
            log = log_path(experiment, self.directory)
            with contextlib.suppress(OSError):  # it left no log; the outcome says why
                os.replace(log, f"{log}.attempt{attempt}")
            self.progress.again(experiment, outcome, attempt)
            later = time.monotonic() + self.policies.pause(attempt)
            self._waiting.append(_Waiting(experiment, attempt + 1, later))
            return
        self._note(experiment, outcome)

    def _note(self, experiment: Experiment, outcome: Outcome) -> None:
        self.progress.ended(experiment, outcome)
        self.summary.outcomes[outcome.status] += 1
        self.summary.directories.add(log_path(experiment, self.directory).parent)
        most = self.policies.max_failures
        if most and self.summary.failed >= most and not self.summary.stopped:
            self.summary.stopped = f"{self.summary.failed} experiment{'s' if self.summary.failed > 1 else ''} failed"
