"""Experiments that outlive `dlbs run`: their task files, the program that runs one of them, and executors that watch them.

    python -m dlbs.executors.detached [--allocated-gpus] [--sha256=DIGEST] FILE NUMBER

runs the experiment in that line of the file, counted from 0, in the current directory, as in the foreground on this machine; with
`--allocated-gpus`, on the GPUs that a scheduler allocated to it, whichever numbers it names. The exit code is 0 if it succeeded.

The state of such experiments is on disk, so that any process can continue to watch them. Each batch of tasks has a file
`.dlbs-ENGINE-TOKEN.jsonl` in its log directory with one experiment per line, written before the batch is submitted under the name
`dlbs-TOKEN`. The outcome of a task is in its log.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmark_core.crash import guarded
from benchmark_core.exits import FAILED, OK
from benchmark_core.log import STATUSES
from benchmark_core.text import one_line
from dlbs.core.errors import DlbsError, InfrastructureError, LaunchError, LogError, log
from dlbs.core.experiment import Experiment, log_path
from dlbs.core.files import load_json, read_regular, write_bytes
from dlbs.core.logs import last_values
from dlbs.core.text import finite, text
from dlbs.executors.base import WITHDRAWN, Executor, Outcome
from dlbs.executors.local import LocalExecutor
from dlbs.executors.logfiles import write_log
from dlbs.executors.signals import Signals
from dlbs.launch.script import expect_launcher

_ALLOCATED = "--allocated-gpus"
_DIGEST = "--sha256="
_LONGEST = 256 << 20  # bytes of a task file
_LONGEST_OUTPUT = 1 << 20  # bytes of what tasks print outside of their logs
_LONGEST_AT_THE_END = 2.0  # seconds between queries while everything is being cancelled
_LONGEST_SILENCE = 15.0  # seconds without an answer after which tasks are left alone, when all are to end
_LOST = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED")  # states of tasks that were not ended by the experiment or by a user
_LOG_GRACE = 10.0  # seconds after the end of a task in which its log may appear: cluster file systems are slow


class Task(NamedTuple):
    """An experiment that runs without `dlbs run`.

    Attributes:
        log: Absolute path of its log.
        replaces: Inode of the log of an earlier run that it will replace; 0 for none.
    """

    experiment: Experiment
    log: Path
    replaces: int

    @classmethod
    def of(cls, experiment: Experiment, directory: Path) -> Task:
        """The task of an experiment that runs in `directory`."""
        log = log_path(experiment, directory).absolute()
        return cls(experiment, log, _inode(log))

    def outcome(self) -> Outcome | None:
        """The outcome that its log records; None while the log does not exist."""
        if _inode(self.log) == self.replaces:
            return None
        try:
            ending = last_values(self.log)
        except LogError as error:
            return Outcome("failure", str(error))
        if ending.get("exp.status") not in STATUSES:
            return None
        code, seconds = ending.get("exp.exit_code"), ending.get("exp.seconds")
        return Outcome(
            str(ending["exp.status"]),
            text(ending.get("exp.status_msg")),
            finite(seconds) or 0.0,
            {key: value for key, value in ending.items() if key.startswith("results.")},
            code if isinstance(code, int) else None,
            ending.get("exp.infrastructure") is True,
        )


class Queued(NamedTuple):
    """A task that has not ended, as its engine knows it.

    Attributes:
        id: The identifier that `DetachedExecutor.cancel` expects.
        pending: Whether it has not begun.
    """

    id: str
    pending: bool = False


Queue = dict[str, dict[int, Queued]]  # name of a batch → number of a task → task


@dataclass(slots=True)
class Batch:
    """Tasks that are submitted together.

    Attributes:
        token: Part of its name, `dlbs-<token>`.
        file: The list of its experiments.
        tasks: All its tasks.
        key: The properties that its experiments share, from `DetachedExecutor.batch_key`.
        left: Numbers of tasks whose end has not been observed.
        submitted: Whether the engine has accepted it for certain.
        digest: SHA-256 of its file, which another user may be able to exchange before a task reads it.
    """

    token: str
    file: Path
    tasks: list[Task]
    key: tuple[str, ...] = ()
    left: set[int] = field(default_factory=set)
    submitted: bool = True
    digest: str = ""

    @property
    def name(self) -> str:
        return f"dlbs-{self.token}"

    @property
    def output(self) -> Path:
        """A file for what its tasks print outside of their logs; removed at the end if it is empty."""
        return self.file.with_suffix(".out")

    def is_known(self, queue: Queue) -> bool:
        """Whether it was accepted, even if the response was lost: it is in the queue, or one of its tasks has ended."""
        return self.name in queue or any(self.tasks[number].outcome() is not None for number in self.left)

    def last_line(self) -> str:
        """The last line that its tasks printed outside of their logs."""
        try:
            lines = read_regular(self.output, _LONGEST_OUTPUT).decode("utf-8", "replace").split("\n")
        except (OSError, LogError):
            return ""
        return one_line(next((line for line in reversed(lines) if line.strip()), ""))

    def clear_away(self) -> None:
        """Remove its files; the output of its tasks remains until the next run if it is not empty and a task left no log."""
        with suppress(OSError):  # of a file system that became read-only
            self.file.unlink(missing_ok=True)
            if not os.path.getsize(self.output) or all(_inode(task.log) for task in self.tasks):
                self.output.unlink()


@dataclass(slots=True)
class _Watched:
    """A task that is being watched.

    Attributes:
        unwanted: Whether to cancel it unless it has begun.
        recalled: Whether the cancellation was sent.
        gone: Time (`time.monotonic()`) at which it left the queue; 0 if it is in the queue.
    """

    batch: Batch
    number: int
    unwanted: bool = False
    recalled: bool = False
    gone: float = 0.0

    @property
    def task(self) -> Task:
        return self.batch.tasks[self.number]


class DetachedExecutor(Executor):
    """An executor whose experiments continue after `dlbs run`: it submits them in batches, and asks for all of them at once.

    A subclass defines `engine`, `submit`, `query` and `cancel`; the rest has defaults. Experiments of an earlier run are watched again,
    lost responses are made up for by the queue, and nothing is submitted twice.

    Args:
        directory: Where experiments run.
        jobs: Experiments that may run at the same time, if the engine can limit them.

    Attributes:
        engine: Its name in messages and in the names of files.
        poll_seconds: The shortest and the longest time between queries; it grows while nothing happens.
        most_in_batch: Maximum number of experiments in a batch.
    """

    detachable = True
    engine: str
    poll_seconds: tuple[float, float] = (0.5, 30.0)
    most_in_batch = 1

    def __init__(self, directory: Path, jobs: int | None = None) -> None:
        self.directory, self.jobs = directory, jobs
        self._collected: dict[tuple[Path, tuple[str, ...]], list[Task]] = {}
        self._watched: dict[Path, _Watched] = {}
        self._batches: dict[str, Batch] = {}  # by their names
        self._tokens: set[str] = set()  # of batches of this run
        self._earlier: dict[Path, _Watched] = {}
        self._owned: dict[Path, tuple[float, Set[Path] | None]] = {}  # directory → time and result of the last query
        self._dead: list[Batch] = []
        self._called_off: list[Experiment] = []
        self._ending = False
        self._pause = self.poll_seconds[0]
        self._next_question = self._silent_since = 0.0

    def batch_key(self, experiment: Experiment) -> tuple[str, ...]:
        """The properties that the experiments of a batch share, such as the options of their submission."""
        return ()

    def adapt(self, experiment: Experiment) -> Experiment:
        """The experiment as it is submitted."""
        return experiment

    @abstractmethod
    def submit(self, batch: Batch) -> LaunchError | None:
        """Submit the tasks `batch.left` under its name, or return why that seems to have failed.

        After a failure the queue decides: a response may be lost while the batch was accepted.
        """
        ...

    @abstractmethod
    def query(self, batches: Sequence[Batch]) -> Queue | None:
        """All tasks of these batches that have not ended, maybe with those of others; None if the engine does not respond."""
        ...

    def explain(self, batch: Batch, number: int) -> str:
        """Why a task ended that left no log, as far as the engine knows; empty if it does not."""
        return ""

    @abstractmethod
    def cancel(self, tasks: Sequence[str], *, pending: bool = False) -> None:
        """Cancel tasks by their ids, with `pending` only those that have not begun. The queue shows what is left."""
        ...

    @property
    def running(self) -> int:
        return len(self._watched) + sum(map(len, self._collected.values())) + len(self._called_off)

    def owned_logs(self, directory: Path) -> Set[Path]:
        shortest = self.poll_seconds[0]
        asked, owned = self._owned.get(directory, (-shortest, None))
        if time.monotonic() - asked >= shortest:  # asked for each experiment that may have ended meanwhile
            owned = self._query_owned(directory)
            self._owned[directory] = time.monotonic(), owned
        if owned is None:
            raise LaunchError(
                f"jobs of an earlier run may be writing here, and {self.engine} does not respond",
                where=str(directory),
                hint="try again later",
            )
        return owned

    def _query_owned(self, directory: Path) -> Set[Path] | None:
        """The logs of tasks in the queue; None if the engine does not respond."""
        batches = self._read_batches(directory)
        if not batches:
            return frozenset()
        found = self.query(batches)
        if found is None:
            return None
        owned = set()
        for batch in batches:
            queued = {number for number in found.get(batch.name, ()) if number < len(batch.tasks)}
            owned |= {batch.tasks[number].log for number in queued}
            self._note(batch, queued)
        return owned

    def _note(self, batch: Batch, queued: set[int]) -> None:
        """Note which tasks of a batch are in the queue; those of an earlier run can be watched from now on."""
        if batch.name not in self._batches:
            self._batches[batch.name] = batch
            batch.left = queued
            self._earlier.update({batch.tasks[number].log: _Watched(batch, number) for number in queued})
        else:  # without those that were not watched and have ended
            batch.left &= queued | {one.number for one in self._watched.values() if one.batch is batch}
        if not batch.left:
            self._dead.append(batch)

    def _read_batches(self, directory: Path) -> list[Batch]:
        """The batches that were submitted for a log directory and whose files still exist."""
        batches = []
        for output in directory.glob(f"{self._prefix}*.out"):
            if (
                not output.with_suffix(".jsonl").exists()
                and output.stem.removeprefix(f"{self._prefix}") not in self._tokens
            ):
                with suppress(OSError):
                    output.unlink()
        for file in sorted(directory.glob(f"{self._prefix}*.jsonl")):
            token = file.name.removeprefix(self._prefix).removesuffix(".jsonl")
            try:
                batches.append(self._batches.get(f"dlbs-{token}") or Batch(token, file, read_tasks(file)))
            except LaunchError:
                continue  # not written by dlbs
        return batches

    @property
    def _prefix(self) -> str:
        return f".dlbs-{self.engine.lower()}-"

    def start(self, experiment: Experiment) -> bool:
        if not self.has_room:
            return False
        task = Task.of(experiment, self.directory)
        if task.log in self._earlier:
            self._watched[task.log] = self._earlier.pop(task.log)
        else:
            adapted = task._replace(experiment=self.adapt(experiment))
            self._collected.setdefault((task.log.parent, self.batch_key(experiment)), []).append(adapted)
        return True

    def flush(self) -> None:
        self._clear_away()
        while self._collected:
            (directory, key), tasks = self._collected.popitem()
            for first in range(0, len(tasks), self.most_in_batch):
                some = tasks[first : first + self.most_in_batch]
                token = os.urandom(6).hex()
                file = directory / f"{self._prefix}{token}.jsonl"
                batch = Batch(token, file, some, key, set(range(len(some))), submitted=False)
                batch.digest = write_tasks(file, some)
                self._batches[batch.name] = batch
                self._tokens.add(token)
                self._submit(batch)
                self._watched.update({task.log: _Watched(batch, number) for number, task in enumerate(some)})
                self._query_soon()

    def _submit(self, batch: Batch) -> None:
        """Submit a batch, or postpone it if the engine does not respond.

        Raises:
            LaunchError: It is rejected. Batches submitted before remain submitted.
        """
        self._owned.clear()
        for _ in range(2):  # after a connection failure, it may be accepted now that queries are answered
            refused = self.submit(batch)
            found = {} if refused is None else self.query([batch])
            if found is None:
                return
            batch.submitted = refused is None or batch.is_known(found)
            if batch.submitted:
                return
        batch.file.unlink(missing_ok=True)
        assert refused is not None
        raise refused

    def next_look(self) -> float | None:
        return 0.0 if self._called_off else self._next_question

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        while self._called_off:
            yield self._called_off.pop(), Outcome(WITHDRAWN)
        if time.monotonic() < self._next_question:
            return
        self._owned.clear()
        batches = {one.batch.name: one.batch for one in self._watched.values()}
        found = self.query([*batches.values()]) if batches else {}
        longest = self.poll_seconds[1]
        self._pause = min(_LONGEST_AT_THE_END if self._ending else longest, self._pause * 1.5)
        self._next_question = time.monotonic() + self._pause
        if found is None:  # for example a controller restarts; jobs continue
            if self._ending:
                yield from self._abandoned()
            return
        self._silent_since = 0.0
        for batch in batches.values():
            batch.submitted = batch.submitted or batch.is_known(found)
            if not (batch.submitted or self._ending):
                self._submit(batch)
        self._cancel(found)
        for key, watched in list(self._watched.items()):
            outcome = self._outcome(watched, found)
            if outcome is None:
                continue
            del self._watched[key]
            watched.batch.left.discard(watched.number)
            if not watched.batch.left:
                self._dead.append(watched.batch)
            self._query_soon()
            yield watched.task.experiment, outcome
        self._clear_away()

    def _abandoned(self) -> Iterator[tuple[Experiment, Outcome]]:
        """Leave all tasks to the next run, since they cannot be cancelled, if the engine has not responded for some time."""
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since < _LONGEST_SILENCE or not self._watched:
            return
        log("warning", "%s does not respond: jobs may continue, and the same command watches them", self.engine)
        while self._watched:
            yield self._watched.popitem()[1].task.experiment, Outcome(WITHDRAWN)

    def _clear_away(self) -> None:
        while self._dead:
            self._dead.pop().clear_away()

    def _cancel(self, found: Queue) -> None:
        """Cancel unwanted tasks that have not begun; all tasks if the run is ending."""
        unwanted, all_of_them = [], []
        for one in self._watched.values():
            queued = found.get(one.batch.name, {}).get(one.number)
            if queued is not None and one.unwanted:
                one.unwanted = one.recalled = queued.pending
                unwanted += [queued.id] if queued.pending else []
            if queued is not None and self._ending and not one.unwanted:
                all_of_them.append(queued.id)
        if unwanted:
            self.cancel(unwanted, pending=True)
        if all_of_them:
            self.cancel(all_of_them)

    def _outcome(self, watched: _Watched, found: Queue) -> Outcome | None:
        """The outcome of a task; None if it is in the queue, or its log may still appear."""
        if watched.number in found.get(watched.batch.name, ()):
            watched.gone = 0.0
            return None
        if not watched.batch.submitted:
            return Outcome(WITHDRAWN) if watched.unwanted or self._ending else None
        outcome = watched.task.outcome()
        if outcome is not None and outcome.status == "cancelled" and not (self._ending or outcome.infrastructure):
            reason = self.explain(watched.batch, watched.number)  # it knows only that it was told to end
            message = f"{outcome.message}: {reason}" if reason else outcome.message
            return outcome._replace(message=message, infrastructure=reason.startswith(_LOST))
        if outcome is not None:
            return outcome
        if watched.recalled:
            return Outcome(WITHDRAWN)
        watched.gone = watched.gone or time.monotonic()
        if not self._ending and time.monotonic() - watched.gone < _LOG_GRACE:
            return None
        reason = self.explain(watched.batch, watched.number) or watched.batch.last_line() or "for no known reason"
        what = f"its {self.engine} job ended without a log: {reason}"
        return Outcome("cancelled", what, infrastructure=not self._ending)

    def withdraw(self, unwanted: Callable[[Experiment], bool]) -> None:
        for key, tasks in list(self._collected.items()):
            self._called_off += [task.experiment for task in tasks if unwanted(task.experiment)]
            self._collected[key] = [task for task in tasks if not unwanted(task.experiment)]
        for one in self._watched.values():
            if unwanted(one.task.experiment):
                one.unwanted = True
                self._query_soon(0.0)

    def end_all(self, message: str) -> None:
        if not self._ending:
            self._ending = True
            self._query_soon(0.0)

    def _query_soon(self, seconds: float | None = None) -> None:
        self._pause = self.poll_seconds[0]
        seconds = self._pause if seconds is None else seconds
        self._next_question = min(self._next_question, time.monotonic() + seconds) if seconds else 0.0


def command(batch: Batch, *, allocated_gpus: bool = False) -> str:
    """Shell code that runs a task of a batch; the caller appends its number."""
    options = [*([_ALLOCATED] if allocated_gpus else []), f"{_DIGEST}{batch.digest}", str(batch.file)]
    return shlex.join([sys.executable, "-m", "dlbs.executors.detached", *options])


def task_environment() -> dict[str, str]:
    """Environment variables that make `command` import this copy of the package on any machine."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }


def write_tasks(file: Path, tasks: Iterable[Task]) -> str:
    """Write tasks, one per line, and return the SHA-256 of the file.

    Raises:
        ConfigError: The file cannot be written.
    """
    entries = ({"log": str(task.log), "replaces": task.replaces, "experiment": task.experiment} for task in tasks)
    content = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    write_bytes(file, content, private=True)
    return hashlib.sha256(content).hexdigest()


def read_tasks(file: Path) -> list[Task]:
    """Read tasks.

    Raises:
        LaunchError: The file cannot be read, or is not a task file.
    """
    return [_task(line, file) for line in _lines(file)]


def _lines(file: Path, digest: str = "") -> list[str]:
    try:
        content = read_regular(file, _LONGEST)
        if digest and hashlib.sha256(content).hexdigest() != digest:
            raise LaunchError("was changed since it was submitted, so nothing in it is run", where=str(file))
        return content.decode().strip("\0").splitlines()  # a power cut may leave NULs, and no tasks
    except FileNotFoundError:
        raise LaunchError("does not exist", where=str(file)) from None
    except LogError as error:
        raise LaunchError(error.what, where=error.where) from None
    except UnicodeDecodeError as error:
        raise LaunchError(f"cannot be read: {error}", where=str(file)) from None


def _task(line: str, file: Path) -> Task:
    try:
        entry = load_json(line, keep_bytes=True)
        return Task(dict(entry["experiment"]), Path(entry["log"]), int(entry["replaces"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LaunchError(f"is not a list of experiments: {error}", where=str(file)) from None


def main(*arguments: str) -> int:
    """Run one task to its end, and return the exit code."""
    *options, file, number = arguments
    digest = next((one.removeprefix(_DIGEST) for one in options if one.startswith(_DIGEST)), "")
    try:
        task = _task(_lines(Path(file), digest)[int(number)], Path(file))  # the other lines need no parsing
    except DlbsError as error:
        print(f"error: {error}", flush=True)
        return FAILED
    try:
        with Signals() as signals:
            executor = LocalExecutor(Path.cwd(), allocated=_ALLOCATED in options)
            expect_launcher(task.experiment)
            if not executor.start(task.experiment):
                raise LaunchError("this machine lacks the resources that the experiment requests")
            while executor.running:
                signals.wait_until(executor.next_look())
                if signals.stop_signal:
                    executor.end_all(f"stopped by {signal.Signals(signals.stop_signal).name}")
                for _, outcome in executor.look():
                    if outcome.status == "cancelled" or not task.log.exists():  # the log may be that of an earlier run
                        print(outcome.message, flush=True)
                    return OK if outcome.status in {"ok", "skipped"} else FAILED
    except DlbsError as error:
        print(f"error: {error}", flush=True)
        try:
            outside = isinstance(error, InfrastructureError)
            write_log(
                task.log, task.experiment, "cancelled" if outside else "failure", str(error), infrastructure=outside
            )
        except DlbsError as problem:
            print(f"error: {problem}", flush=True)
    return FAILED


def _inode(log: Path) -> int:
    try:
        return log.stat().st_ino
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(*sys.argv[1:])))
