"""Run a plan on any executor: look through it, lock its log directories, start experiments that have to run, and record their outcomes.

`Summary` is the state of a run while it lasts, and its outcome afterwards; observers receive one `Event` for each change.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark_core.doubts import warnings_of
from benchmark_core.exits import FAILED, OK, SIGNALLED, UNAVAILABLE
from dlbs.core.doubts import Doubts
from dlbs.core.errors import ConfigError, DlbsError, InfrastructureError, LaunchError, log, require
from dlbs.core.experiment import Experiment, log_path
from dlbs.core.files import foreign_hands
from dlbs.core.logs import last_values
from dlbs.core.text import counted, text
from dlbs.executors.base import WITHDRAWN, Executor, Outcome
from dlbs.executors.logfiles import keep_attempt, write_log
from dlbs.executors.signals import Signals
from dlbs.launch.script import Launcher, make_launcher
from dlbs.run.locks import Locked, locked
from dlbs.run.manifest import Differences, Manifest
from dlbs.run.policies import BatchLimits, Policies, is_finished

if TYPE_CHECKING:
    import pandas as pd

    from dlbs.run.stale import Current

_LOOK_AHEAD = 32  # experiments that may wait for room while others run first
_MOST_LOST = 3  # experiments in a row that a cluster may lose before the plan stops
_MOST_OVERTAKEN = 64  # experiments that may overtake one that waits
Drawn = Experiment | tuple[Experiment, ...] | None


@dataclass(repr=False)
class Summary:
    """The state of a run, and in the end its outcome.

    Attributes:
        total: Number of experiments of the plan.
        outcomes: Status → number of experiments that ended with it in this run.
        kept: Experiments that were already finished.
        kept_skipped: Number of these that were skipped.
        changed: Change of code or software since an experiment that was already finished → number of these experiments.
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
    changed: Counter[str] = field(default_factory=Counter)
    inactive: int = 0
    simulated: int = 0
    left: int = 0
    stop_signal: int = 0
    stopped: str = ""
    is_fault: bool = False
    doubts: Doubts = field(default_factory=Doubts)
    directories: set[Path] = field(default_factory=set)

    def __repr__(self) -> str:
        found = [f"{count} {status}" for status, count in self.outcomes.items()]
        found += [f"{self.kept} already finished"] * bool(self.kept)
        return f"<Summary: {self.done} of {counted(self.total, 'experiment')} done: {', '.join(found) or 'none'}>"

    def to_frame(self) -> pd.DataFrame:
        """Convert to a pandas frame with a row for each status: its number of experiments.

        Raises:
            LogError: pandas is not installed.
        """
        counts = {**self.outcomes, "already finished": self.kept, "left": self.left}
        found = [{"status": status, "experiments": count} for status, count in counts.items() if count]
        made: pd.DataFrame = require("pandas", "reports").DataFrame(found, columns=["status", "experiments"])
        return made

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
            "changed": dict(self.changed),
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

    def keep(self, ending: dict[str, object], change: str = "") -> None:
        """Count an experiment that was already finished, by the end of its log, and the change since."""
        self.kept += 1
        if change:
            self.changed[change] += 1
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
    experiments: Iterable[Drawn],
    manifest: Manifest,
    observer: Observer,
    executor: Executor,
    *,
    show: Callable[[Launcher], None] | None = None,
    policies: Policies | None = None,
    wait: bool = False,
    detach: bool = False,
    limits: BatchLimits | None = None,
) -> Summary:
    """Run the experiments that are not finished, and write their logs, with the log directories locked for this run.

    Args:
        experiments: The resolved plan. A None among them: the next experiment is unknown until another one ends. Those in a tuple take turns.
        manifest: The result of `look_through`.
        observer: Is notified of events.
        executor: Runs experiments.
        show: Receives the launchers of simulated experiments; None ignores these.
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


class Changes:
    """Changes of code and software since experiments ended.

    Args:
        directory: Where experiments run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._current: Current | None = None

    def since(self, experiment: Experiment, ending: dict[str, object]) -> str:
        """The change since an experiment ended, by the end of its log; empty if none is known."""
        if "exp.code.files" not in ending and "exp.docker_image_id" not in ending:
            return ""
        if self._current is None:
            # A plan that runs for the first time needs neither.
            from dlbs.executors.ssh_session import ssh_command
            from dlbs.run.stale import Current

            self._current = Current(ssh_command)
        directory = self.directory / text(experiment.get("pack.dir") or experiment.get("exp.working_dir"))
        return self._current.change(ending, log_path(experiment, self.directory), directory, experiment)


@dataclass
class _Waiting:
    """An experiment that has to run, or several that take turns.

    Attributes:
        not_before: Earliest start, a time of `time.monotonic()`.
        overtaken: Number of later experiments started while it waited for room.
    """

    experiments: tuple[Experiment, ...]
    not_before: float = 0.0
    overtaken: int = 0


@dataclass
class _Run:
    """One run of a plan: draw experiments from it, start them where there is room, and record their outcomes."""

    experiments: Iterator[Drawn]
    summary: Summary
    observer: Observer
    executor: Executor
    signals: Signals
    show: Callable[[Launcher], None] | None
    held: Locked
    policies: Policies
    limits: BatchLimits

    def __post_init__(self) -> None:
        self.directory = Path.cwd()
        self._changes = Changes(self.directory)
        self._owned = set(self.held.owned)
        self._reached = self._faults = 0
        self._tries: dict[str, int] = {}  # log → attempts that the machine ended
        self._exhausted = self._prepared = self._withdrawn = False
        self._waiting: deque[_Waiting] = deque()
        self._together: dict[str, tuple[Experiment, ...]] = {}  # log → experiments that take turns

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
            self._look()
        not_reached = max(0, count - self._reached) if stop is not None else 0
        waiting = sum(len(one.experiments) for one in self._waiting)
        self.summary.left = not_reached + waiting + self.executor.running
        self.summary.stop_signal = self.signals.stop_signal

    def _look(self) -> None:
        ended: list[tuple[Experiment, Outcome]] = []
        for experiment, outcome in self.executor.look():
            partners = self._together.pop(str(experiment["exp.log_file"]), None)
            ended.append((experiment, outcome))
            if partners is None or len(ended) == len(partners):
                self._ended(ended)
                ended = []

    def abandon(self, message: str) -> None:
        """Clean up after an error: leave no unwatched processes."""
        if self.executor.detachable:
            return  # the next run watches the rest
        while self.executor.running:
            self.executor.end_all(message)
            self.signals.wait_until(self.executor.next_look())
            for _ in self.executor.look():
                continue

    def _reason_to_stop(self) -> str | None:
        """The reason to end all experiments; empty to start no more, while those that run may finish; None to continue."""
        if self.signals.stop_signal:
            return f"stopped by {signal.Signals(self.signals.stop_signal).name}"
        if self.policies.deadline is not None and time.monotonic() >= self.policies.deadline:
            self.summary.stopped = self.summary.stopped or "the deadline has passed"
            return "stopped by the deadline"
        return "" if self.signals.stop_after_current or self.summary.stopped else None

    def _stop(self, reason: str) -> None:
        if not self._withdrawn:
            self._withdrawn = True
            self.executor.withdraw(lambda experiment: True)
        if reason:
            self.executor.end_all(reason)

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
            if not self._start(waiting.experiments):
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
                drawn = next(self.experiments)
            except StopIteration:
                self._exhausted = True
                return False
            if drawn is None:
                return False
            experiments = drawn if isinstance(drawn, tuple) else (drawn,)
            experiment = experiments[0]
            self._reached += len(experiments)
            if experiment.get("exp.status") == "inactive":
                self.summary.inactive += 1
                self._notify("skipped", experiment)
            elif experiment.get("exp.status") == "simulate":
                self.summary.simulated += 1
                self._notify("skipped", experiment)
                if self.show is not None:
                    self.show(make_launcher(experiment, self.directory))
            elif not self._are_finished(experiments):
                self._waiting.append(_Waiting(experiments))
                return True
        return False

    def _are_finished(self, experiments: Sequence[Experiment]) -> bool:
        """Whether none has to run: of experiments that take turns, all run again if one has to."""
        if self._is_owned(experiments[0]) and not self._has_ended_meanwhile(experiments[0]):
            return False
        try:
            endings = [last_values(log_path(experiment, self.directory)) for experiment in experiments]
        except DlbsError as error:
            for experiment in experiments:
                self._record_outcome(experiment, Outcome("failure", str(error)))
            return True
        changes = map(self._changes.since, experiments, endings)
        found = list(zip(experiments, endings, changes, strict=True))
        if not all(is_finished(experiment, ending, self.limits, change) for experiment, ending, change in found):
            return False
        for experiment, ending, change in found:
            self.limits.learn_from_log(experiment, ending)
            self.summary.keep(ending, change)
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

    def _start(self, experiments: tuple[Experiment, ...]) -> bool:
        """Start an experiment, or those that take turns, or record the failure to start; False if there is no room now."""
        experiment = experiments[0]
        if self._is_owned(experiment) and self._has_ended_meanwhile(experiment) and self._are_finished(experiments):
            return True
        reason = next(filter(None, map(self.limits.reason_to_skip, experiments)), "")
        if reason and not self._is_owned(experiment):
            for one in experiments:
                self._skip(one, reason)
            return True
        if not self._prepared:
            self.executor.prepare()
            self._prepared = True
        try:
            for one in experiments:
                self._check_directories(one)
            if len(experiments) == 1:
                started = self.executor.start(experiment)
            else:
                started = self.executor.start_together(experiments)
        except InfrastructureError as error:
            self._interrupted(experiments, Outcome("cancelled", str(error), infrastructure=True))
            return True
        except DlbsError as error:  # a problem of one experiment must not stop the others
            for one in experiments:
                self._record_outcome(one, Outcome("failure", str(error)))
            return True
        if started:
            if self._owned:
                self._owned.discard(log_path(experiment, self.directory).absolute())
            if len(experiments) > 1:
                self._together.update({str(one["exp.log_file"]): experiments for one in experiments})
            for one in experiments:
                self._notify("started", one)
            if reason:  # an earlier run submitted it
                self._withdraw_too_large()
        return started

    def _withdraw_too_large(self) -> None:
        """Cancel what has not begun and would not fit into memory."""
        self.executor.withdraw(lambda other: bool(self.limits.reason_to_skip(other)))

    def _skip(self, experiment: Experiment, reason: str) -> None:
        """Write a log with the reason that an experiment did not run."""
        try:
            write_log(log_path(experiment, self.directory), experiment, "skipped", reason)
        except DlbsError as error:
            self._record_outcome(experiment, Outcome("failure", str(error)))
            return
        self._record_outcome(experiment, Outcome("skipped", reason))

    def _ended(self, ended: Sequence[tuple[Experiment, Outcome]]) -> None:
        """An experiment has ended, or all that take turns."""
        if ended[0][1].status == WITHDRAWN:
            self._notify("withdrawn", ended[0][0])
            self._waiting.append(_Waiting((ended[0][0],)))
            return
        ended = [(experiment, self._checked(experiment, outcome)) for experiment, outcome in ended]
        experiments = tuple(experiment for experiment, _ in ended)
        fault = next((outcome for _, outcome in ended if outcome.infrastructure), None)
        if fault is not None:
            self._interrupted(experiments, fault)
            return
        self._faults = 0
        for experiment, outcome in ended:
            if self.limits.learn(experiment, outcome):
                self._withdraw_too_large()
        attempt = int(experiments[0].get("exp.attempt") or 1)
        failed = any(outcome.status in {"failure", "timeout"} for _, outcome in ended)
        if failed and attempt <= self.policies.retries and self._reason_to_stop() is None:
            self._retry(ended, attempt)
            return
        for experiment, outcome in ended:
            self._record_outcome(experiment, outcome)

    def _checked(self, experiment: Experiment, outcome: Outcome) -> Outcome:
        """The outcome; that of a machine whose directories were exchanged says nothing about the experiment."""
        if outcome.status not in {"ok", "skipped"}:
            try:
                self._check_directories(experiment)
            except InfrastructureError as error:
                return outcome._replace(status="cancelled", message=str(error), infrastructure=True)
        return outcome

    def _check_directories(self, experiment: Experiment) -> None:
        """Check that the directories of an experiment and its log are still there.

        Raises:
            InfrastructureError: One is not.
        """
        self.held.check(log_path(experiment, self.directory).parent)
        if not self.directory.is_dir():
            raise InfrastructureError("the working directory has vanished", where=str(self.directory))

    def _retry(self, ended: Sequence[tuple[Experiment, Outcome]], attempt: int) -> None:
        try:
            for experiment, _ in ended:
                keep_attempt(log_path(experiment, self.directory), attempt)
        except DlbsError as error:  # another attempt would overwrite this log
            for experiment, outcome in ended:
                message = outcome.message if outcome.status == "ok" else f"{outcome.message}; not retried: {error}"
                self._record_outcome(experiment, outcome._replace(message=message))
            return
        for experiment, outcome in ended:
            self._notify("retried", experiment, outcome)
        later = time.monotonic() + self.policies.pause(attempt)
        self._waiting.append(_Waiting(tuple({**one, "exp.attempt": attempt + 1} for one, _ in ended), later))

    def _interrupted(self, experiments: tuple[Experiment, ...], outcome: Outcome) -> None:
        """The machine, not the experiment, failed: it waits for the next attempt or, since the others would fail too, for the next run.

        A lost job of a cluster says little about its other nodes, so only several in a row stop the plan.
        """
        self._faults += 1
        log = str(experiments[0]["exp.log_file"])
        tries = self._tries[log] = self._tries.get(log, 0) + 1
        self._waiting.append(_Waiting(experiments, time.monotonic() + self.policies.pause(tries)))
        tolerated = _MOST_LOST if self.executor.detachable else 1
        given_up = tries > self.policies.retries
        if given_up and self._faults < tolerated and not self.summary.stopped:
            self._waiting.pop()
            self._record_outcome(experiments[0], outcome)
            return
        for experiment in experiments:
            self._notify("withdrawn" if given_up else "retried", experiment, None if given_up else outcome)
        if given_up and not self.summary.stopped:
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
