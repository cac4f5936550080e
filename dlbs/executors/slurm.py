"""Run plans on a Slurm cluster: experiments with the same resources become job arrays, and one question is asked for all of them.

What is known about jobs stands on disk, so that any process can go on watching them: each array has a file
`.dlbs-slurm-TOKEN.jsonl` in its log directory with one experiment a line, in the order of the array's tasks, written before the
array is submitted under the name `dlbs-TOKEN`. What became of a task is in its log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbs.errors import LaunchError
from dlbs.executors.base import Outcome
from dlbs.executors.signals import Signals
from dlbs.experiment import Experiment
from dlbs.files import write_atomically
from dlbs.logs import STATUSES, last_values
from dlbs.machine.resources import Request
from dlbs.text import text

__all__ = ["Array", "SlurmExecutor", "live_logs", "options_of", "read_arrays"]

_PREFIX = ".dlbs-slurm-"

_SHORTEST, _LONGEST = 0.5, 30.0  # seconds between two questions to the queue

_LOG_GRACE = 10.0  # seconds in which a log may appear after its job has gone: file systems of clusters take their time

_MOST_IN_ARRAY = 1000

_OWN = {"slurm.extra"}


@dataclass(slots=True)
class Array:
    """A job array.

    Attributes:
        token: Its name is `dlbs-<token>`.
        file: Lists its experiments.
        logs: The log file of each task.
        replaces: Inode of the log of an earlier run that a task is going to replace; 0 for none.
    """

    token: str
    file: Path
    logs: list[Path]
    replaces: list[int]

    @property
    def name(self) -> str:
        return f"dlbs-{self.token}"


def read_arrays(directory: Path) -> list[Array]:
    """The arrays that were submitted for a log directory and have not been cleared away."""
    arrays = []
    for file in sorted(directory.glob(f"{_PREFIX}*.jsonl")):
        try:
            entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            logs, replaces = [Path(one["log"]) for one in entries], [int(one["replaces"]) for one in entries]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of ours
        arrays.append(Array(file.name.removeprefix(_PREFIX).removesuffix(".jsonl"), file, logs, replaces))
    return arrays


def live_logs(directory: Path) -> set[str]:
    """Log files in a directory that jobs of the queue are going to write, or are writing.

    Raises:
        LaunchError: There are such arrays, and the queue cannot be asked.
    """
    arrays = read_arrays(directory)
    if not arrays:
        return set()
    queue = _queue()
    if queue is None:
        raise LaunchError(
            "jobs of an earlier run may be writing here, and Slurm does not answer",
            where=str(directory),
            hint="try again later",
        )
    return {str(array.logs[task]) for array in arrays for task in queue.get(array.name, ())}


def _queue() -> dict[str, set[int]] | None:
    """Tasks of our arrays that have not ended, by job name; None if Slurm does not answer now."""
    command = ["squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%j|%K"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.returncode:
        return None
    queue: dict[str, set[int]] = {}
    for line in asked.stdout.splitlines():
        name, _, task = line.strip().partition("|")
        if name.startswith("dlbs-") and task.isdigit():
            queue.setdefault(name, set()).add(int(task))
    return queue


def options_of(experiment: Experiment) -> tuple[str, ...]:
    """The options of sbatch that an experiment's `slurm.*` parameters ask for: `slurm.cpus_per_task` is `--cpus-per-task`."""
    options = []
    for name, value in sorted(experiment.items()):
        if name.startswith("slurm.") and name not in _OWN and text(value) != "":
            options.append(f"--{name.removeprefix('slurm.').replace('_', '-')}={text(value)}")
    nodes = int(experiment.get("exp.num_nodes") or 1)
    if nodes > 1:
        options += [f"--nodes={nodes}", "--ntasks-per-node=1"]
    request = Request.of(experiment)
    gpus = request.any_gpus or len(request.gpus)
    if gpus and not text(experiment.get("slurm.gres")):
        options.append(f"--gres=gpu:{gpus}")
    if request.memory and not text(experiment.get("slurm.mem")):
        options.append(f"--mem={request.memory >> 20}M")
    if request.any_cpus and not text(experiment.get("slurm.cpus_per_task")):
        options.append(f"--cpus-per-task={request.any_cpus}")
    return (*options, *map(text, experiment.get("slurm.extra") or ()))


def time_limit(value: str) -> float:
    """Seconds of `slurm.time`: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; 0 for none.

    Raises:
        LaunchError: It is none of these.
    """
    if not value:
        return 0.0
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", value):
        raise LaunchError(f"slurm.time is {value!r}", hint="write minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    days, dash, rest = value.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return float(((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds)
    if len(parts) == 1:
        return 60.0 * parts[0]
    hours, minutes, seconds = (0, *parts)[-3:]
    return float((hours * 60 + minutes) * 60 + seconds)


@dataclass(slots=True)
class SlurmExecutor:
    """Submits experiments and watches their jobs.

    Args:
        signals: The context whose signals end a run.
        directory: Where experiments run.
        throttle: Tasks of an array that may run at the same time; 0 for any number.
    """

    signals: Signals
    directory: Path
    throttle: int = 0
    watched: dict[Path, tuple[Array, int]] = field(default_factory=dict)
    _gone: dict[Path, float] = field(default_factory=dict)
    _directories: set[Path] = field(default_factory=set)
    _pause: float = _SHORTEST

    @staticmethod
    def check() -> None:
        """See whether there is a Slurm here.

        Raises:
            LaunchError: There is none, or it does not answer.
        """
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise LaunchError(f"there is no command {program!r}", hint="install Slurm's programs, or run locally")
        if _queue() is None:
            raise LaunchError("Slurm does not answer", hint="look at squeue and at SLURM_CONF")

    def submit(self, experiments: Iterable[tuple[Path, Experiment]]) -> int:
        """Submit experiments, those with the same options in one array; return how many arrays that made.

        Raises:
            LaunchError: sbatch refuses; what was submitted before stays submitted.
        """
        most = min(_MOST_IN_ARRAY, _max_array_size())
        waiting: dict[tuple[Path, tuple[str, ...]], list[tuple[Path, Experiment]]] = {}
        count = 0
        for log, experiment in experiments:
            key = (log.parent, options_of(experiment))
            waiting.setdefault(key, []).append((log, experiment))
            if len(waiting[key]) == most:
                self._submit_array(key[1], waiting.pop(key))
                count += 1
        for (_, options), members in waiting.items():
            self._submit_array(options, members)
            count += 1
        return count

    def _submit_array(self, options: Sequence[str], members: Sequence[tuple[Path, Experiment]]) -> None:
        token = uuid.uuid4().hex[:12]
        directory = members[0][0].parent
        file = directory / f"{_PREFIX}{token}.jsonl"
        array = Array(token, file, [log for log, _ in members], [_inode(log) for log, _ in members])
        with write_atomically(file) as stream:
            for (log, experiment), replaces in zip(members, array.replaces, strict=True):
                entry = {"log": str(log), "replaces": replaces, "experiment": experiment}
                stream.write(json.dumps(entry) + "\n")
        tasks = f"0-{len(members) - 1}" + (f"%{self.throttle}" if self.throttle else "")
        script = f"#!/bin/sh\nexec {_quoted(sys.executable)} -m dlbs.executors.slurm_task {_quoted(str(file))}\n"
        command = ["sbatch", "--parsable", f"--job-name={array.name}", f"--array={tasks}", f"--chdir={self.directory}"]
        command += [f"--output={directory}/{_PREFIX}{token}.out", "--open-mode=append", "--no-requeue", *options]
        package = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            asked = subprocess.run(
                command, input=script, capture_output=True, text=True, env=environment, timeout=120, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"sbatch failed: {error}") from None  # it may have been submitted: the file stays
        if asked.returncode:
            file.unlink(missing_ok=True)
            raise LaunchError(
                f"sbatch refuses the jobs: {' '.join(asked.stderr.split()) or asked.returncode}",
                hint=f"look at the slurm.* parameters: {' '.join(options) or 'none are set'}",
            )
        self.watch(array, range(len(members)))

    def watch(self, array: Array, tasks: Iterable[int]) -> None:
        """Wait for tasks of an array too."""
        self._directories.add(array.file.parent)
        for task in tasks:
            self.watched[array.logs[task]] = (array, task)

    def wait(self) -> Iterator[tuple[Path, Outcome]]:
        """Block for a while, ask for all jobs at once, and give those that have ended."""
        until = time.monotonic() + self._pause
        while time.monotonic() < until and not self.signals.stop_signal:  # the end of each squeue wakes it up, too
            self.signals.wait_until(until)
        if self.signals.stop_signal:
            self.cancel_all()
        self._pause = min(_LONGEST, self._pause * 1.5)
        queue = _queue()
        if queue is None:
            return  # slurmctld is being restarted, say; jobs run on
        for log, (array, task) in list(self.watched.items()):
            if task in queue.get(array.name, ()):
                continue
            outcome = self._outcome(log, array, task)
            if outcome is not None:
                del self.watched[log]
                self._pause = _SHORTEST
                yield log, outcome
        self._clear_away()

    def _outcome(self, log: Path, array: Array, task: int) -> Outcome | None:
        """What a task that has left the queue came to; None if its log may still appear."""
        ending = last_values(log)
        status = ending.get("exp.status")
        now = time.monotonic()
        if status not in STATUSES or _inode(log) == array.replaces[task]:
            if now - self._gone.setdefault(log, now) < _LOG_GRACE and not self.signals.stop_signal:
                return None
            return Outcome("cancelled", f"its Slurm job ended without a log (see {array.file.with_suffix('.out')})")
        results = {key: value for key, value in ending.items() if key.startswith("results.")}
        seconds = ending.get("exp.seconds")
        return Outcome(str(status), text(ending.get("exp.status_msg")), seconds if seconds else 0.0, results)

    def _clear_away(self) -> None:
        """Remove the files of arrays all of whose tasks have been settled."""
        needed = {array.token for array, _ in self.watched.values()}
        for directory in self._directories:
            for array in read_arrays(directory):
                if array.token not in needed:
                    clear_away(array)

    def cancel_all(self) -> None:
        """Cancel all jobs that are watched."""
        names = sorted({array.name for array, _ in self.watched.values()})
        if names:
            subprocess.run(["scancel", f"--name={','.join(names)}"], capture_output=True, timeout=60, check=False)


def clear_away(array: Array) -> None:
    """Remove an array's files; what its tasks printed stays if it is anything."""
    array.file.unlink(missing_ok=True)
    output = array.file.with_suffix(".out")
    if output.exists() and output.stat().st_size == 0:
        output.unlink(missing_ok=True)


def _max_array_size() -> int:
    """The cluster's limit, which the largest index must stay below."""
    asked = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", asked.stdout)
    return max(1, int(found[1]) if found else _MOST_IN_ARRAY)


def _inode(log: Path) -> int:
    try:
        return log.stat().st_ino
    except OSError:
        return 0


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def load_task(file: str, task: int) -> dict[str, Any]:
    """Log and experiment of one task."""
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number == task:
                return dict(json.loads(line))
    raise LaunchError(f"has no task {task}", where=file)
