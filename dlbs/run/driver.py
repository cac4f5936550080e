"""Run a plan on any executor: select experiments that have to run, order them, and record their outcomes."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.doubts import warnings_of
from dlbs.errors import DlbsError, LaunchError
from dlbs.executors.base import WITHDRAWN, Executor, Outcome
from dlbs.executors.logfiles import keep_attempt, write_log
from dlbs.executors.wakeups import Signals
from dlbs.experiment import Experiment, log_path
from dlbs.launch.script import Launcher, make_launcher
from dlbs.logs import STATUSES, last_values
from dlbs.run.policies import BatchLimits, Policies
from dlbs.run.summary import Summary

if TYPE_CHECKING:
    from dlbs.run.events import Observer

__all__ = ["is_finished", "run_plan"]

_LOOK_AHEAD = 32  # experiments that may wait for room while others run first
_MOST_OVERTAKEN = 64  # experiments that may overtake one that waits


def is_finished(experiment: Experiment, ending: dict[str, object], limits: BatchLimits) -> bool:
    """Whether an experiment need not run again, by the policy `exp.rerun`, the end of its log, and the batches that did not fit into memory."""
    policy = experiment.get("exp.rerun", "never")
    status = ending.get("exp.status")
    if policy == "always" or status not in STATUSES or status == "cancelled":
        return False
    # A benchmark that skipped itself ran. One that an earlier run skipped (`_skip`) is decided again.
    ran = "exp.exit_code" in ending or ending.get("exp.seconds")
    if status == "skipped" and not ran and not limits.reason_to_skip(experiment):
        return False
    if policy == "onfail":
        return status in {"ok", "skipped"}
    return policy == "never" or status != "ok" or not warnings_of(ending)


def run_plan(
    experiments: Iterable[Experiment | None],
    total: int,
    observer: Observer,
    executor: Executor,
    *,
    show: Callable[[Launcher], None],
    directory: Path | None = None,
    owned: Set[Path] = frozenset(),
    policies: Policies | None = None,
    detach: bool = False,
    limits: BatchLimits | None = None,
) -> Summary:
    """Run the experiments that are not finished, and write their logs.

    Args:
        experiments: The resolved plan. A None among them: the next experiment is unknown until another one ends.
        total: Number of its experiments.
        observer: Is notified of events.
        executor: Runs experiments.
        show: Receives the launchers of simulated experiments.
        directory: Working directory of experiments, and base of relative log paths; the current directory by default.
        owned: Logs of experiments of an earlier run that the executor is still running.
        policies: Retries, failure limit and deadline.
        detach: Return after everything is started.
        limits: The batches that did not fit into memory; learns from the outcomes of this run.

    Raises:
        LaunchError: The executor cannot run anything.
    """
    directory = Path.cwd() if directory is None else directory
    with Signals() as signals, observer:
        observer.begin(total)
        limits, policies = limits or BatchLimits(), policies or Policies()
        run = _Run(iter(experiments), executor, signals, observer, show, directory, owned, policies, limits)
        try:
            run.to_the_end(total, detach)
        except BaseException as error:
            run.abandon(f"stopped by {type(error).__name__}")
            raise
    return run.summary


@dataclass(slots=True)
class _Waiting:
    """An experiment that has to run.

    Attributes:
        not_before: Earliest start, a time of `time.monotonic()`.
        overtaken: Number of later experiments started while it waited for room.
    """

    experiment: Experiment
    not_before: float = 0.0
    overtaken: int = 0


@dataclass(slots=True)
class _Stop:
    """The reason that no more experiments are started.

    Attributes:
        message: The reason that running experiments are ended too; empty if they may finish.
    """

    message: str = ""


class _Run:
    """One run of a plan: draw experiments from it, start them where there is room, and record their outcomes."""

    def __init__(
        self,
        experiments: Iterator[Experiment | None],
        executor: Executor,
        signals: Signals,
        observer: Observer,
        show: Callable[[Launcher], None],
        directory: Path,
        owned: Set[Path],
        policies: Policies,
        limits: BatchLimits,
    ) -> None:
        self.experiments, self.executor, self.signals, self.observer = experiments, executor, signals, observer
        self.show, self.directory, self.policies, self._limits = show, directory, policies, limits
        self._owned = set(owned)
        self.summary = Summary()
        self._reached = 0
        self._exhausted = self._prepared = self._withdrawn = False
        self._waiting: deque[_Waiting] = deque()

    def to_the_end(self, total: int, detach: bool) -> None:
        """Run until nothing is left, everything is started (`detach`), or the run is stopped."""
        while True:
            stop = self._reason_to_stop()
            if stop is None:
                self._start_runnable()
            else:
                self._stop(stop)
            self.executor.flush()
            stop = self._reason_to_stop()
            if not self.executor.running and (stop is not None or not self._waiting):
                break
            if detach and stop is None and not self._waiting and not self._draw():
                break
            self._wait()
            for experiment, outcome in self.executor.look():
                self._ended(experiment, outcome)
        not_reached = max(0, total - self._reached) if stop is not None else 0
        self.summary.left = not_reached + len(self._waiting) + self.executor.running
        self.summary.stop_signal = self.signals.stop_signal

    def abandon(self, message: str) -> None:
        """Clean up after an error: leave no unwatched processes."""
        if self.executor.detachable:
            return  # the next run watches the rest
        while self.executor.running:
            self.executor.end_all(message)
            self.signals.wait_until(self.executor.next_look())
            for _ in self.executor.look():
                continue

    def _reason_to_stop(self) -> _Stop | None:
        """The reason to start no more experiments; None if there is none."""
        if self.signals.stop_signal:
            return _Stop(f"stopped by {signal.Signals(self.signals.stop_signal).name}")
        if self.policies.deadline is not None and time.monotonic() >= self.policies.deadline:
            self.summary.stopped = self.summary.stopped or "the deadline has passed"
            return _Stop("stopped by the deadline")
        return _Stop() if self.signals.stop_after_current or self.summary.stopped else None

    def _stop(self, stop: _Stop) -> None:
        if not self._withdrawn:
            self._withdrawn = True
            self.executor.withdraw(lambda experiment: True)
        if stop.message:
            self.executor.end_all(stop.message)

    def _wait(self) -> None:
        """Block until there is work to do."""
        moments = [waiting.not_before for waiting in self._waiting if waiting.not_before > time.monotonic()]
        if self.policies.deadline is not None and self._reason_to_stop() is None:
            moments.append(self.policies.deadline)
        due = self.executor.next_look()
        if due is not None:
            moments.append(due)
        if self.observer.tick_seconds is not None:
            self.observer.tick()
            moments.append(time.monotonic() + self.observer.tick_seconds)
        self.signals.wait_until(min(moments, default=None))

    def _start_runnable(self) -> None:
        """Start experiments in the plan's order; one that waits for room may be overtaken, up to a limit."""
        now = time.monotonic()
        position = 0
        while self.executor.has_room and self._reason_to_stop() is None:
            if position == len(self._waiting) and not self._draw():
                return
            waiting = self._waiting[position]
            if waiting.not_before > now:  # it pauses before its next attempt and does not delay others
                position += 1
                continue
            if not self._start(waiting.experiment):
                if waiting.overtaken >= _MOST_OVERTAKEN or position + 1 >= _LOOK_AHEAD:
                    return
                position += 1
                continue
            del self._waiting[position]
            for earlier in list(self._waiting)[:position]:
                earlier.overtaken += earlier.not_before <= now

    def _draw(self) -> bool:
        """Draw experiments from the plan until one has to run; False if there is none, or none yet."""
        while not self._exhausted:
            try:
                experiment = next(self.experiments)
            except StopIteration:
                self._exhausted = True
                return False
            if experiment is None:
                return False
            self._reached += 1
            if experiment.get("exp.status") == "inactive":
                self.summary.inactive += 1
                self.observer.skipped("inactive")
            elif experiment.get("exp.status") == "simulate":
                self.summary.simulated += 1
                self.observer.skipped("simulated")
                self.show(make_launcher(experiment, self.directory))
            elif not self._is_finished(experiment):
                self._waiting.append(_Waiting(experiment))
                return True
        return False

    def _is_finished(self, experiment: Experiment) -> bool:
        if self._is_owned(experiment) and not self._has_ended_meanwhile(experiment):
            return False
        try:
            ending = last_values(log_path(experiment, self.directory))
        except DlbsError as error:
            self._record_outcome(experiment, Outcome("failure", str(error)))
            return True
        if not is_finished(experiment, ending, self._limits):
            return False
        self._limits.learn_from_log(experiment, ending)
        self.summary.keep(ending)
        self.observer.skipped("finished")
        return True

    def _is_owned(self, experiment: Experiment) -> bool:
        """Whether the executor is running it for an earlier run."""
        return bool(self._owned) and log_path(experiment, self.directory).absolute() in self._owned

    def _has_ended_meanwhile(self, experiment: Experiment) -> bool:
        """Whether an experiment of an earlier run has ended, with a log, since this run began; it must not run twice."""
        log = log_path(experiment, self.directory).absolute()
        try:
            if not log.exists() or log in self.executor.owned_logs(log.parent):
                return False
        except LaunchError:  # the executor cannot tell now
            return False
        self._owned.discard(log)
        return True

    def _start(self, experiment: Experiment) -> bool:
        """Start an experiment, or record its failure to start; False if there is no room now."""
        if self._is_owned(experiment) and self._has_ended_meanwhile(experiment) and self._is_finished(experiment):
            return True
        reason, owned = self._limits.reason_to_skip(experiment), self._is_owned(experiment)
        if reason and not owned:
            self._skip(experiment, reason)
            return True
        if not self._prepared:
            self.executor.prepare()
            self._prepared = True
        try:
            started = self.executor.start(experiment)
        except DlbsError as error:  # a problem of one experiment must not stop the others
            self._record_outcome(experiment, Outcome("failure", str(error)))
            return True
        if started:
            log = log_path(experiment, self.directory)
            if self._owned:
                self._owned.discard(log.absolute())
            self.observer.started(experiment, log)
            if reason:  # an earlier run submitted it
                self._withdraw_too_large()
        return started

    def _withdraw_too_large(self) -> None:
        """Cancel what has not begun and would not fit into memory."""
        self.executor.withdraw(lambda other: bool(self._limits.reason_to_skip(other)))

    def _skip(self, experiment: Experiment, reason: str) -> None:
        """Write a log with the reason that an experiment did not run."""
        try:
            write_log(log_path(experiment, self.directory), experiment, "skipped", reason)
        except DlbsError as error:
            self._record_outcome(experiment, Outcome("failure", str(error)))
            return
        self._record_outcome(experiment, Outcome("skipped", reason))

    def _ended(self, experiment: Experiment, outcome: Outcome) -> None:
        if outcome.status == WITHDRAWN:
            self.observer.withdrawn(experiment)
            self._waiting.append(_Waiting(experiment))
            return
        if self._limits.learn(experiment, outcome):
            self._withdraw_too_large()
        attempt = int(experiment.get("exp.attempt") or 1)
        retried = outcome.status in {"failure", "timeout"} and attempt <= self.policies.retries
        if retried and self._reason_to_stop() is None:
            try:
                keep_attempt(log_path(experiment, self.directory), attempt)
            except DlbsError as error:  # another attempt would overwrite this log
                outcome = replace(outcome, message=f"{outcome.message}; not retried: {error}")
                self._record_outcome(experiment, outcome)
                return
            self.observer.again(experiment, outcome, attempt)
            later = time.monotonic() + self.policies.pause(attempt)
            self._waiting.append(_Waiting({**experiment, "exp.attempt": attempt + 1}, later))
            return
        self._record_outcome(experiment, outcome)

    def _record_outcome(self, experiment: Experiment, outcome: Outcome) -> None:
        self.observer.ended(experiment, outcome)
        self.summary.end(outcome)
        self.summary.directories.add(log_path(experiment, self.directory).parent)
        most = self.policies.max_failures
        if most and self.summary.failed >= most and not self.summary.stopped:
            self.summary.stopped = f"{self.summary.failed} experiment{'s' if self.summary.failed > 1 else ''} failed"
