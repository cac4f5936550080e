"""Run experiments on a Slurm cluster: experiments with equal resources become job arrays; one query covers all jobs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from benchmark_core.text import one_line
from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Check, Experiment, Problem, Site
from dlbs.core.text import counted, text
from dlbs.executors.detached import Batch, DetachedExecutor, Queue, Queued, command, task_environment
from dlbs.executors.local import named_twice
from dlbs.machine.resources import Request

_PROGRAMS = ("sbatch", "squeue", "scancel")
_PATIENCE = 60.0  # seconds that Slurm has to respond
_MOST_IN_ARRAY = 1000
_MOST_CANCELLED = 500  # jobs per scancel
_OWN = {"slurm.extra"}
# Parameters that request GPUs in other ways than dlbs; some clusters reject --gres.
_GPUS = ("slurm.gres", "slurm.gpus", "slurm.gpus_per_node", "slurm.gpus_per_task", "slurm.gpus_per_socket")

# Seconds: exp.timeout expires before Slurm's limit, which may be minutes late and leaves no message in the log.
_BEFORE_THE_LIMIT = 15.0


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


class SlurmExecutor(DetachedExecutor):
    """Submit experiments as job arrays, and watch their jobs.

    Args:
        directory: Where experiments run.
        jobs: Tasks of an array that may run at the same time; None for any number.
    """

    engine = "Slurm"
    checks = (
        Check(("exp.gpus",), named_twice),
        Check(("exp.gpus", "runtime.cpus", "runtime.memory", "slurm.gres"), _gpus),
        Check(("slurm.time",), _time),
        Check(("exp.num_nodes", "exp.docker"), _nodes),
    )

    def prepare(self) -> None:
        for program in _PROGRAMS:
            if shutil.which(program) is None:
                raise LaunchError(
                    f"command {program!r} not found", hint="install Slurm's client programs, or use --executor local"
                )
        if self.query([]) is None:
            raise LaunchError("Slurm does not respond", hint="check squeue and SLURM_CONF")
        self.most_in_batch = _max_array_size()

    def batch_key(self, experiment: Experiment) -> tuple[str, ...]:
        return options_of(experiment)

    def adapt(self, experiment: Experiment) -> Experiment:
        """The experiment with a timeout shorter than the time limit of its job."""
        limit = time_limit(text(experiment.get("slurm.time")))
        if not limit:
            return experiment
        own = float(experiment.get("exp.timeout") or 0)
        ours = max(1.0, limit - _BEFORE_THE_LIMIT)
        return {**experiment, "exp.timeout": min(own, ours) if own else ours}

    def submit(self, batch: Batch) -> LaunchError | None:
        number = f"{','.join(map(str, sorted(batch.left)))}" + (f"%{self.jobs}" if self.jobs else "")
        arguments = ["--parsable", f"--job-name={batch.name}", f"--array={number}", f"--chdir={self.directory}"]
        # sbatch replaces %j and others, but nothing in a name with a backslash, which it removes.
        output = str(batch.output)
        output = output.replace("\\", "\\\\") if "\\" in output else output.replace("%", "%%")
        arguments += [f"--output={output}", "--open-mode=append", "--no-requeue", *batch.key]
        # Slurm itself would run it in /tmp if the directory has vanished.
        script = f"cd {shlex.quote(str(self.directory))} && exec {command(batch, allocated_gpus=True)}"
        refused = _sbatch(arguments, f'{script} "$SLURM_ARRAY_TASK_ID"')
        hint = f"check the slurm.* parameters: {' '.join(batch.key) or 'none are set'}"
        return LaunchError(f"sbatch rejects the jobs: {refused}", hint=hint) if refused else None

    def query(self, batches: Sequence[Batch]) -> Queue | None:
        # Also jobs in hidden partitions.
        words = ["squeue", "--noheader", "--all", "--array", "--user", str(os.getuid()), "--format", "%j|%F|%K|%t"]
        completed = _completed(words, "SQUEUE_")
        if completed is None or completed.returncode:
            return None
        found: Queue = {}
        for line in completed.stdout.splitlines():
            name, array, task, state = (*line.strip().split("|"), "", "", "")[:4]
            if name.startswith("dlbs-") and task.isdecimal():
                found.setdefault(name, {})[int(task)] = Queued(f"{array}_{task}", state == "PD")
        return found

    def explain(self, batch: Batch, number: int) -> str:
        # The controller remembers ended jobs for some minutes, accounting for longer, if the cluster has it.
        words = [
            "squeue",
            "--noheader",
            "--all",
            "--array",
            "--states=all",
            f"--name={batch.name}",
            "--format=%K|%T|%N",
        ]
        accounting = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={batch.name}"]
        for asked, prefix in ((words, "SQUEUE_"), ([*accounting, "--format=JobID,State,NodeList"], "SACCT_")):
            completed = _completed(asked, prefix)
            for line in completed.stdout.splitlines() if completed is not None else ():
                task, state, nodes = (*line.strip().split("|"), "", "", "")[:3]
                if task.rpartition("_")[2] == str(number):
                    where = f" on {nodes}" if nodes else ""
                    said = f": {batch.last_line()}" if state == "FAILED" else ""
                    return one_line(f"{state}{where}{_state_of(nodes)}{said}").removesuffix(":")
        return ""

    def cancel(self, tasks: Sequence[str], *, pending: bool = False) -> None:
        for first in range(0, len(tasks), _MOST_CANCELLED):
            some = tasks[first : first + _MOST_CANCELLED]
            if _completed(["scancel", *(["--state=PENDING"] if pending else []), *some], "SCANCEL_") is None:
                return


def _state_of(nodes: str) -> str:
    """The state of nodes and its reason, ` (down: power failure)`; empty if it is unknown."""
    completed = _completed(["sinfo", "--noheader", f"--nodes={nodes}", "--format=%T: %E"], "SINFO_") if nodes else None
    found = completed.stdout.split("\n")[0].strip().removesuffix(": none") if completed is not None else ""
    return f" ({found})" if found else ""


def _completed(words: Sequence[str], prefix: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program of Slurm; None if it cannot be started or does not respond.

    Args:
        words: The command.
        prefix: Prefix of the variables with the user's defaults for it, such as SQUEUE_STATES, which hides jobs; they are not passed on.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(prefix)}
    try:
        return subprocess.run(words, capture_output=True, errors="replace", env=variables, timeout=_PATIENCE, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def _sbatch(arguments: Sequence[str], script: str) -> str:
    """Submit a command; return the error message of sbatch, or an empty string.

    Raises:
        LaunchError: sbatch cannot be started.
    """
    try:
        completed = subprocess.run(
            ["sbatch", *arguments],
            input=f"#!/bin/sh\n{script}\n",
            capture_output=True,
            errors="surrogateescape",  # of paths that are not UTF-8
            env=task_environment(),
            timeout=2 * _PATIENCE,
            check=False,
        )
    except OSError as error:
        raise LaunchError(f"sbatch cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired as error:
        return str(error)  # it may have been submitted anyway
    return (" ".join(completed.stderr.split()) or f"exit code {completed.returncode}") if completed.returncode else ""


def _max_array_size() -> int:
    """Maximum number of tasks per array: the cluster's limit on the index, or the limit of dlbs if smaller."""
    completed = _completed(["scontrol", "show", "config"], "SCONTROL_")
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", completed.stdout) if completed is not None else None
    return max(1, min(int(found[1]), _MOST_IN_ARRAY)) if found else _MOST_IN_ARRAY


def options_of(experiment: Experiment) -> tuple[str, ...]:
    """The options of sbatch for an experiment's `slurm.*` parameters: `slurm.cpus_per_task` is `--cpus-per-task`.

    Raises:
        LaunchError: A request for resources is malformed.
    """
    options = []
    for name, value in sorted(experiment.items()):
        if name.startswith("slurm.") and name not in _OWN and text(value) != "":
            options.append(f"--{name.removeprefix('slurm.').replace('_', '-')}={text(value)}")
    nodes = int(experiment.get("exp.num_nodes") or 1)
    if nodes > 1:
        options += [f"--nodes={nodes}", "--ntasks-per-node=1"]
    request = Request.of(experiment, allocated=True)
    if request.any_gpus and not any(text(experiment.get(name)) for name in _GPUS):
        options.append(f"--gres=gpu:{request.any_gpus}")
    if request.memory and not text(experiment.get("slurm.mem")):  # rounded up: 0 is all memory of a node
        options.append(f"--mem={-(-request.memory >> 20)}M")
    if request.any_cpus and not text(experiment.get("slurm.cpus_per_task")):
        options.append(f"--cpus-per-task={request.any_cpus}")
    return (*options, *map(text, experiment.get("slurm.extra") or ()))


def gpus_of(resources: str) -> int | None:
    """The number of GPUs in `slurm.gres`: 4 in `gpu:a100:4`; None if it names none."""
    words = [re.sub(r"\(.*", "", word).strip().split(":") for word in resources.split(",")]
    counts = [int(word[-1]) if word[-1].isdecimal() else 1 for word in words if word[0] == "gpu"]
    return sum(counts) if counts else None


def time_limit(value: str) -> float:
    """Seconds of `slurm.time`: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; 0 for no limit.

    Raises:
        LaunchError: The value has none of these forms.
    """
    if not value or value.upper() in {"UNLIMITED", "INFINITE"}:
        return 0.0
    if not re.fullmatch(r"(\d{1,9}-)?\d{1,9}(:\d{1,9}){0,2}", value):
        raise LaunchError(
            f"slurm.time: {value[:80]!r} is not a time limit", hint="write minutes, MM:SS, HH:MM:SS or D-HH:MM:SS"
        )
    days, dash, rest = value.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return float(((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds)
    if len(parts) == 1:
        return 60.0 * parts[0]
    hours, minutes, seconds = (0, *parts)[-3:]
    return float((hours * 60 + minutes) * 60 + seconds)
