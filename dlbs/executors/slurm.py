"""Run experiments on a Slurm cluster: experiments with equal resources become job arrays; one query covers all jobs.

The state of jobs is on disk, so that any process can continue to watch them. Each array has a file
`.dlbs-slurm-TOKEN.jsonl` in its log directory with one experiment per line, in the order of the array's tasks, written before the
array is submitted under the name `dlbs-TOKEN`. The outcome of a task is in its log.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.executors.base import WITHDRAWN, Check, Executor, Outcome, Problem, Site
from dlbs.executors.detached import Task, command, environment, read_tasks, write_tasks
from dlbs.executors.local_checks import named_twice
from dlbs.executors.slurm_commands import (
    PROGRAMS,
    QueuedTask,
    cancel,
    gpus_of,
    max_array_size,
    options_of,
    queue,
    sbatch,
    time_limit,
)
from dlbs.experiment import Experiment
from dlbs.machine.resources import Request
from dlbs.text import counted, text

__all__ = ["SlurmExecutor"]

_PREFIX = ".dlbs-slurm-"
_SHORTEST, _LONGEST = 0.5, 30.0  # seconds between queries of the queue
_LONGEST_AT_THE_END = 2.0  # while everything is being cancelled
_LOG_GRACE = 10.0  # seconds after the end of a job in which its log may appear: cluster file systems are slow

# Seconds: exp.timeout expires before Slurm's limit, which may be minutes late and leaves no message in the log.
_BEFORE_THE_LIMIT = 15.0

_Queue = dict[str, dict[int, QueuedTask]]


def _name(token: str) -> str:
    return f"dlbs-{token}"


@dataclass(slots=True)
class _Array:
    """A job array.

    Attributes:
        token: Part of its name, `dlbs-<token>`.
        file: The list of its experiments.
        tasks: All its tasks.
        options: Options of sbatch.
        left: Numbers of tasks whose end has not been observed.
        submitted: Whether Slurm has accepted it for certain.
    """

    token: str
    file: Path
    tasks: list[Task]
    options: tuple[str, ...] = ()
    left: set[int] = field(default_factory=set)
    submitted: bool = True

    @property
    def name(self) -> str:
        return _name(self.token)

    def is_known(self, found: _Queue) -> bool:
        """Whether Slurm has accepted it, even if its response was lost: it is in the queue, or one of its tasks has ended."""
        return self.name in found or any(self.tasks[number].outcome() is not None for number in self.left)

    def clear_away(self) -> None:
        """Remove its files, except non-empty output of its tasks."""
        self.file.unlink(missing_ok=True)
        output = self.file.with_suffix(".out")
        if output.exists() and output.stat().st_size == 0:
            output.unlink(missing_ok=True)


@dataclass(slots=True)
class _Watched:
    """A task that is being watched.

    Attributes:
        unwanted: Whether to cancel it unless it has begun.
        recalled: Whether the cancellation was sent.
        gone: Time (`time.monotonic()`) at which it left the queue; 0 if it is in the queue.
    """

    array: _Array
    number: int
    unwanted: bool = False
    recalled: bool = False
    gone: float = 0.0

    @property
    def task(self) -> Task:
        return self.array.tasks[self.number]


def _time(experiment: Experiment, site: Site) -> Problem | None:
    try:
        time_limit(text(experiment.get("slurm.time")))
    except LaunchError as error:
        return Problem(error.what, error.hint)
    return None


def _gpus(experiment: Experiment, site: Site) -> Problem | None:
    try:
        wanted = Request.of(experiment, allocated=True).any_gpus
    except LaunchError as error:
        return Problem(error.what, error.hint)
    allocated = gpus_of(text(experiment.get("slurm.gres")))
    if allocated is None or wanted <= allocated:
        return None
    gres = text(experiment.get("slurm.gres"))
    return Problem(
        f"exp.gpus requests {counted(wanted, 'GPU')}, but slurm.gres={gres} only {allocated}",
        "remove slurm.gres, or request as many GPUs",
    )


def _nodes(experiment: Experiment, site: Site) -> Problem | None:
    nodes = experiment.get("exp.num_nodes", 1)
    if nodes == 1 or not experiment.get("exp.docker"):
        return None
    return Problem(f"exp.num_nodes is {nodes}, but containers cannot span nodes", "set -Pexp.docker=false")


class SlurmExecutor(Executor):
    """Submit experiments and watch their jobs.

    Args:
        directory: Where experiments run.
        jobs: Tasks of an array that may run at the same time; None for any number.
    """

    detachable = True
    checks = (
        Check(("exp.gpus",), named_twice),
        Check(("exp.gpus", "runtime.cpus", "runtime.memory", "slurm.gres"), _gpus),
        Check(("slurm.time",), _time),
        Check(("exp.num_nodes", "exp.docker"), _nodes),
    )

    def __init__(self, directory: Path, jobs: int | None = None) -> None:
        self.directory, self.jobs = directory, jobs
        self._collected: dict[tuple[Path, tuple[str, ...]], list[Task]] = {}
        self._watched: dict[Path, _Watched] = {}
        self._arrays: dict[str, _Array] = {}  # by their names
        self._earlier: dict[Path, tuple[_Array, int]] = {}
        self._owned: dict[Path, tuple[float, Set[Path] | None]] = {}  # directory → time and result of the last query
        self._dead: list[_Array] = []
        self._called_off: list[Experiment] = []
        self._most_in_array = 0
        self._ending = False
        self._pause = _SHORTEST
        self._next_question = 0.0

    @property
    def running(self) -> int:
        return len(self._watched) + sum(map(len, self._collected.values())) + len(self._called_off)

    def prepare(self) -> None:
        for program in PROGRAMS:
            if shutil.which(program) is None:
                raise LaunchError(
                    f"command {program!r} not found", hint="install Slurm's client programs, or use --executor local"
                )
        if queue() is None:
            raise LaunchError("Slurm does not respond", hint="check squeue and SLURM_CONF")
        self._most_in_array = max_array_size()

    def owned_logs(self, directory: Path) -> Set[Path]:
        asked, owned = self._owned.get(directory, (-_SHORTEST, None))
        if time.monotonic() - asked >= _SHORTEST:  # asked for each experiment that may have ended meanwhile
            owned = self._query_owned(directory)
            self._owned[directory] = time.monotonic(), owned
        if owned is None:
            raise LaunchError(
                "jobs of an earlier run may be writing here, and Slurm does not respond",
                where=str(directory),
                hint="try again later",
            )
        return owned

    def _query_owned(self, directory: Path) -> Set[Path] | None:
        """The logs of tasks in the queue; None if Slurm does not respond."""
        arrays = self._read_arrays(directory)
        if not arrays:
            return frozenset()
        found = queue()
        if found is None:
            return None
        owned = set()
        for array in arrays:
            queued = {number for number in found.get(array.name, ()) if number < len(array.tasks)}
            owned |= {array.tasks[number].log for number in queued}
            self._note(array, queued)
        return owned

    def _note(self, array: _Array, queued: set[int]) -> None:
        """Note which tasks of an array are in the queue; those of an earlier run can be watched from now on."""
        if array.name not in self._arrays:
            self._arrays[array.name] = array
            array.left = queued
            self._earlier.update({array.tasks[number].log: (array, number) for number in queued})
        else:  # without those that were not watched and have ended
            array.left &= queued | {one.number for one in self._watched.values() if one.array is array}
        if not array.left:
            self._dead.append(array)

    def _read_arrays(self, directory: Path) -> list[_Array]:
        """The arrays that were submitted for a log directory and whose files still exist."""
        arrays = []
        for file in sorted(directory.glob(f"{_PREFIX}*.jsonl")):
            token = file.name.removeprefix(_PREFIX).removesuffix(".jsonl")
            try:
                arrays.append(self._arrays.get(_name(token)) or _Array(token, file, read_tasks(file)))
            except LaunchError:
                continue  # not written by dlbs
        return arrays

    def start(self, experiment: Experiment) -> bool:
        task = Task.of(experiment, self.directory)
        if task.log in self._earlier:
            array, number = self._earlier.pop(task.log)
            self._watched[task.log] = _Watched(array, number)
        else:
            options = options_of(experiment)
            limited = Task(_within_the_limit(experiment), task.log, task.replaces)
            self._collected.setdefault((task.log.parent, options), []).append(limited)
        return True

    def flush(self) -> None:
        self._clear_away()
        while self._collected:
            (directory, options), tasks = self._collected.popitem()
            for first in range(0, len(tasks), self._most_in_array):
                some = tasks[first : first + self._most_in_array]
                token = uuid.uuid4().hex[:12]
                array = _Array(
                    token, directory / f"{_PREFIX}{token}.jsonl", some, options, set(range(len(some))), False
                )
                write_tasks(array.file, some)
                self._arrays[array.name] = array
                self._submit(array)
                self._watched.update({task.log: _Watched(array, number) for number, task in enumerate(some)})
                self._query_soon()

    def _submit(self, array: _Array) -> None:
        """Submit an array, or postpone it if Slurm does not respond.

        Raises:
            LaunchError: sbatch rejects it. Arrays submitted before remain submitted.
        """
        self._owned.clear()
        number = f"{','.join(map(str, sorted(array.left)))}" + (f"%{self.jobs}" if self.jobs else "")
        arguments = ["--parsable", f"--job-name={array.name}", f"--array={number}", f"--chdir={self.directory}"]
        output = str(array.file.with_suffix(".out")).replace("%", "%%")  # sbatch replaces %j and others
        arguments += [f"--output={output}", "--open-mode=append", "--no-requeue"]
        script = f'#!/bin/sh\nexec {command(array.file, allocated_gpus=True)} "$SLURM_ARRAY_TASK_ID"\n'
        for _ in range(2):  # after a connection failure, it may accept the array now that squeue responds
            refused = sbatch([*arguments, *array.options], script, environment())
            found = queue() if refused else {}
            if found is None:
                return
            array.submitted = not refused or array.is_known(found)
            if array.submitted:
                return
        array.file.unlink(missing_ok=True)
        raise LaunchError(
            f"sbatch rejects the jobs: {refused}",
            hint=f"check the slurm.* parameters: {' '.join(array.options) or 'none are set'}",
        )

    def next_look(self) -> float | None:
        return 0.0 if self._called_off else self._next_question

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        while self._called_off:
            yield self._called_off.pop(), Outcome(WITHDRAWN)
        if time.monotonic() < self._next_question:
            return
        self._owned.clear()
        found = queue() if self._watched else {}
        self._pause = min(_LONGEST_AT_THE_END if self._ending else _LONGEST, self._pause * 1.5)
        self._next_question = time.monotonic() + self._pause
        if found is None:
            return  # for example slurmctld restarts; jobs continue
        self._submit_unconfirmed(found)
        self._cancel(found)
        for log, watched in list(self._watched.items()):
            outcome = self._outcome(watched, found)
            if outcome is None:
                continue
            del self._watched[log]
            watched.array.left.discard(watched.number)
            if not watched.array.left:
                self._dead.append(watched.array)
            self._query_soon()
            yield watched.task.experiment, outcome
        self._clear_away()

    def _clear_away(self) -> None:
        while self._dead:
            self._dead.pop().clear_away()

    def _submit_unconfirmed(self, found: _Queue) -> None:
        """Submit arrays that Slurm has not confirmed."""
        for array in {id(one.array): one.array for one in self._watched.values() if not one.array.submitted}.values():
            array.submitted = array.is_known(found)
            if not (array.submitted or self._ending):
                self._submit(array)

    def _cancel(self, found: _Queue) -> None:
        """Cancel unwanted tasks that have not begun; all tasks if the run is ending."""
        unwanted, all_of_them = [], []
        for one in self._watched.values():
            job = found.get(one.array.name, {}).get(one.number)
            if job is not None and one.unwanted:
                one.unwanted = one.recalled = job.pending
                unwanted += [job.id] if job.pending else []
            if job is not None and self._ending and not one.unwanted:
                all_of_them.append(job.id)
        cancel(unwanted, pending=True)
        cancel(all_of_them)

    def _outcome(self, watched: _Watched, found: _Queue) -> Outcome | None:
        """The outcome of a task; None if it is in the queue, or its log may still appear."""
        if watched.number in found.get(watched.array.name, ()):
            watched.gone = 0.0
            return None
        if not watched.array.submitted:
            return Outcome(WITHDRAWN) if watched.unwanted or self._ending else None
        outcome = watched.task.outcome()
        if outcome is not None:
            return outcome
        if watched.recalled:
            return Outcome(WITHDRAWN)
        watched.gone = watched.gone or time.monotonic()
        if not self._ending and time.monotonic() - watched.gone < _LOG_GRACE:
            return None
        output = watched.array.file.with_suffix(".out")
        return Outcome("cancelled", f"its Slurm job ended without a log (see {output})")

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

    def _query_soon(self, seconds: float = _SHORTEST) -> None:
        self._pause = _SHORTEST
        self._next_question = min(self._next_question, time.monotonic() + seconds) if seconds else 0.0


def _within_the_limit(experiment: Experiment) -> Experiment:
    """The experiment with a timeout shorter than the time limit of its job."""
    limit = time_limit(text(experiment.get("slurm.time")))
    if not limit:
        return experiment
    own = float(experiment.get("exp.timeout") or 0)
    ours = max(1.0, limit - _BEFORE_THE_LIMIT)
    return {**experiment, "exp.timeout": min(own, ours) if own else ours}
