"""Run a plan on any executor: look through it, lock its log directories, start experiments that have to run, and record their outcomes.

`Summary` is the state of a run while it lasts, and its outcome afterwards; observers receive one `Event` for each change.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from benchmark_core.doubts import warnings_of
from benchmark_core.exits import FAILED, OK, SIGNALLED, UNAVAILABLE
from benchmark_core.log import STATUSES
from dlbs.doubts import Doubts
from dlbs.errors import ConfigError, DlbsError, InfrastructureError, LaunchError, log
from dlbs.executors.base import WITHDRAWN, Executor, Outcome
from dlbs.executors.logfiles import keep_attempt, write_log
from dlbs.executors.signals import Signals
from dlbs.experiment import Experiment, log_path
from dlbs.files import foreign_hands
from dlbs.launch.script import Launcher, make_launcher
from dlbs.logs import last_values
from dlbs.run.locks import Locked, locked
from dlbs.run.manifest import Differences, Manifest
from dlbs.run.policies import BatchLimits, Policies
from dlbs.text import counted

_LOOK_AHEAD = 32  # experiments that may wait for room while others run first
_MOST_LOST = 3  # experiments in a row that a cluster may lose before the plan stops
_MOST_OVERTAKEN = 64  # experiments that may overtake one that waits


@dataclass
class Summary:
    """The state of a run, and in the end its outcome.

    Attributes:
        total: Number of experiments of the plan.
        outcomes: Status → number of experiments that ended with it in this run.
        kept: Experiments that were already finished.
        kept_skipped: Number of these that were skipped.
        inactive: Experiments with exp.status=inactive.
        simulated: Experiments with exp.status=simulate, whose launchers were shown.
        left: Experiments that were not started, because the run was stopped; after `--detach`, those that continue.
        stop_signal: Signal that stopped the run; 0 if none.
        stopped: The reason that a policy or a fault stopped the run early.
        is_fault: Whether that is a fault of the machine, a service or a directory.
        doubts: Warnings of ok experiments, of this run or before.
        directories: Directories that logs were written to.
    """

    total: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    kept_skipped: int = 0
    inactive: int = 0
    simulated: int = 0
    left: int = 0
    stop_signal: int = 0
    stopped: str = ""
    is_fault: bool = False
    doubts: Doubts = field(default_factory=Doubts)
    directories: set[Path] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Number of experiments that need no more work."""
        return self.outcomes.total() + self.kept + self.inactive + self.simulated

    @property
    def failed(self) -> int:
        """Number of experiments that ended with a status other than ok."""
        return sum(count for status, count in self.outcomes.items() if status not in {"ok", "skipped"})

    @property
    def all_skipped(self) -> bool:
        """Whether everything was skipped, so that nothing was measured."""
        return 0 < self.outcomes["skipped"] + self.kept_skipped == self.outcomes.total() + self.kept + self.left

    @property
    def exit_code(self) -> int:
        """The exit code of `dlbs run`."""
        if self.stop_signal:
            return SIGNALLED + self.stop_signal
        if self.is_fault:
            return UNAVAILABLE
        return FAILED if self.failed or self.stopped or self.all_skipped else OK

    def document(self) -> dict[str, Any]:
        """The summary as a JSON document."""
        return {
            "outcomes": dict(self.outcomes),
            "already_finished": self.kept,
            "inactive": self.inactive,
            "simulated": self.simulated,
            "left": self.left,
            "doubtful": self.doubts.doubtful,
            "doubts": dict(self.doubts.kinds),
            "stop_signal": self.stop_signal or None,
            "stopped": self.stopped or None,
            "all_skipped": self.all_skipped,
            "directories": sorted(map(str, self.directories)),
            "exit_code": self.exit_code,
        }

    def keep(self, ending: dict[str, object]) -> None:
        """Count an experiment that was already finished, by the end of its log."""
        self.kept += 1
        self.kept_skipped += ending.get("exp.status") == "skipped"
        if ending.get("exp.status") == "ok":
            self.doubts.add(warnings_of(ending))

    def end(self, outcome: Outcome) -> None:
        """Count an experiment that has ended."""
        self.outcomes[outcome.status] += 1
        if outcome.status == "ok":
            self.doubts.add(warnings_of(outcome.results))


class Event(NamedTuple):
    """A change of state of an experiment.

    Attributes:
        kind: `skipped` (it need not run), `started`, `withdrawn` (it was cancelled before it began, and waits again), `retried` (it failed
            and will be retried) or `ended`.
        experiment: Its final parameters.
        done: Number of experiments of the plan that need no more work.
        total: Number of experiments of the plan.
        outcome: How it ended; None if it has not.
    """

    kind: str
    experiment: Experiment
    done: int
    total: int
    outcome: Outcome | None = None


class Observer:
    """An object that receives the events of a running plan; a context manager around the run.

    Attributes:
        tick_seconds: Interval of `tick` calls while nothing happens; None for no calls.
    """

    tick_seconds: float | None = None

    def __enter__(self) -> object:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def begin(self, summary: Summary) -> None:
        """The run begins; `summary` is its state from now on."""
        return

    def notify(self, event: Event) -> None:
        """Something happened; called in the thread that runs the plan: a slow observer delays the next experiment."""
        return

    def tick(self) -> None:
        """`tick_seconds` have passed."""
        return


class Callback(Observer):
    """An observer that calls a function when an experiment starts, is retried, or ends."""

    def __init__(self, function: Callable[[Event], None] | None = None) -> None:
        self.function = function

    def notify(self, event: Event) -> None:
        if self.function is not None and event.kind in {"started", "retried", "ended"}:
            self.function(event)


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


def run_plan(
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
    """Run the experiments that are not finished, and write their logs, with the log directories locked for this run.

    Args:
        experiments: The resolved plan. A None among them: the next experiment is unknown until another one ends.
        manifest: The result of `look_through`.
        observer: Is notified of events.
        executor: Runs experiments.
        show: Receives the launchers of simulated experiments.
        policies: Retries, failure limit and deadline.
        wait: Wait until another run that writes to the same directories has ended, instead of raising an error.
        detach: Return after everything is started.
        limits: The batches that did not fit into memory, if the caller needs them too.

    Raises:
        LaunchError: Another run writes to the same directories, the executor cannot run anything, or this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("a plan can run only in the main thread, because signals stop it")
    if limits is None:
        several_batches = "exp.replica_batch" in manifest.differences
        limits = BatchLimits(manifest.differences.names, manifest.final if several_batches else ())
    places = dict.fromkeys(map(str, manifest.directories), "logs; choose an exp.log_dir")
    places |= dict.fromkeys(manifest.packs, "the code that runs; copy the pack to a directory")
    for place, what in sorted(places.items()):
        if hands := foreign_hands(place):
            log("warning", "%s: %s, who may change %s that only you can write to", place, hands, what)
    with locked(manifest.directories, executor, wait=wait) as held:
        manifest.write()
        count, summary = manifest.count, Summary(manifest.count)  # that of a plan may grow
        with Signals() as signals, observer:
            observer.begin(summary)
            run = _Run(
                iter(experiments), summary, observer, executor, signals, show, held, policies or Policies(), limits
            )
            try:
                run.to_the_end(count, detach)
            except BaseException as error:
                run.abandon(f"stopped by {type(error).__name__}")
                raise
    return summary


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


@dataclass
class _Waiting:
    """An experiment that has to run.

    Attributes:
        not_before: Earliest start, a time of `time.monotonic()`.
        overtaken: Number of later experiments started while it waited for room.
    """

    experiment: Experiment
    not_before: float = 0.0
    overtaken: int = 0


class _Stop(NamedTuple):
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
        summary: Summary,
        observer: Observer,
        executor: Executor,
        signals: Signals,
        show: Callable[[Launcher], None],
        held: Locked,
        policies: Policies,
        limits: BatchLimits,
    ) -> None:
        self.experiments, self.summary, self.observer, self.executor = experiments, summary, observer, executor
        self.signals, self.show, self.policies, self._limits = signals, show, policies, limits
        self.directory = Path.cwd()
        self._held, self._owned = held, set(held.owned)
        self._reached = self._faults = 0
        self._tries: dict[str, int] = {}  # log → attempts that the machine ended
        self._exhausted = self._prepared = self._withdrawn = False
        self._waiting: deque[_Waiting] = deque()

    def to_the_end(self, count: int, detach: bool) -> None:
        """Run until nothing is left, everything is started (`detach`), or the run is stopped.

        Args:
            count: Number of experiments that the plan has when it begins.
            detach: Return after everything is started.
        """
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
        not_reached = max(0, count - self._reached) if stop is not None else 0
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
                self._notify("skipped", experiment)
            elif experiment.get("exp.status") == "simulate":
                self.summary.simulated += 1
                self._notify("skipped", experiment)
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
        self._notify("skipped", experiment)
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
            self._held.check(log_path(experiment, self.directory).parent)
            started = self.executor.start(experiment)
        except InfrastructureError as error:
            self._interrupted(experiment, Outcome("cancelled", str(error), infrastructure=True))
            return True
        except DlbsError as error:  # a problem of one experiment must not stop the others
            self._record_outcome(experiment, Outcome("failure", str(error)))
            return True
        if started:
            if self._owned:
                self._owned.discard(log_path(experiment, self.directory).absolute())
            self._notify("started", experiment)
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
            self._notify("withdrawn", experiment)
            self._waiting.append(_Waiting(experiment))
            return
        if outcome.status not in {"ok", "skipped"}:
            try:
                self._held.check(log_path(experiment, self.directory).parent)
            except InfrastructureError as error:
                outcome = outcome._replace(status="cancelled", message=str(error), infrastructure=True)
        if outcome.infrastructure:
            self._interrupted(experiment, outcome)
            return
        self._faults = 0
        if self._limits.learn(experiment, outcome):
            self._withdraw_too_large()
        attempt = int(experiment.get("exp.attempt") or 1)
        retried = outcome.status in {"failure", "timeout"} and attempt <= self.policies.retries
        if retried and self._reason_to_stop() is None:
            try:
                keep_attempt(log_path(experiment, self.directory), attempt)
            except DlbsError as error:  # another attempt would overwrite this log
                outcome = outcome._replace(message=f"{outcome.message}; not retried: {error}")
                self._record_outcome(experiment, outcome)
                return
            self._notify("retried", experiment, outcome)
            later = time.monotonic() + self.policies.pause(attempt)
            self._waiting.append(_Waiting({**experiment, "exp.attempt": attempt + 1}, later))
            return
        self._record_outcome(experiment, outcome)

    def _interrupted(self, experiment: Experiment, outcome: Outcome) -> None:
        """The machine, not the experiment, failed: it waits for the next attempt or, since the others would fail too, for the next run.

        A lost job of a cluster says little about its other nodes, so only several in a row stop the plan.
        """
        self._faults += 1
        log = str(experiment["exp.log_file"])
        tries = self._tries[log] = self._tries.get(log, 0) + 1
        self._waiting.append(_Waiting(experiment, time.monotonic() + self.policies.pause(tries)))
        if tries <= self.policies.retries:
            self._notify("retried", experiment, outcome)
            return
        tolerated = _MOST_LOST if self.executor.detachable else 1
        if self._faults < tolerated and not self.summary.stopped:
            self._waiting.pop()
            self._record_outcome(experiment, outcome)
            return
        self._notify("withdrawn", experiment)
        if not self.summary.stopped:
            self.summary.stopped, self.summary.is_fault = outcome.message, True

    def _notify(self, kind: str, experiment: Experiment, outcome: Outcome | None = None) -> None:
        self.observer.notify(Event(kind, experiment, self.summary.done, self.summary.total, outcome))

    def _record_outcome(self, experiment: Experiment, outcome: Outcome) -> None:
        self.summary.end(outcome)
        self._notify("ended", experiment, outcome)
        self.summary.directories.add(log_path(experiment, self.directory).parent)
        most = self.policies.max_failures
        if most and self.summary.failed >= most and not self.summary.stopped:
            self.summary.stopped = f"{counted(self.summary.failed, 'experiment')} failed"
