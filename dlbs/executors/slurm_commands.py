"""The interface to Slurm's commands: options of sbatch, the queue, time limits, cancelling."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from dlbs.errors import LaunchError
from dlbs.experiment import Experiment
from dlbs.machine.resources import Request
from dlbs.text import text

__all__ = [
    "PROGRAMS",
    "QueuedTask",
    "cancel",
    "gpus_of",
    "max_array_size",
    "options_of",
    "queue",
    "sbatch",
    "time_limit",
]

PROGRAMS = ("sbatch", "squeue", "scancel")
_PATIENCE = 60.0  # seconds that Slurm has to respond
_MOST_IN_ARRAY = 1000
_MOST_CANCELLED = 500  # jobs per scancel
_OWN = {"slurm.extra"}
# Parameters that request GPUs in other ways than dlbs; some clusters reject --gres.
_GPUS = ("slurm.gres", "slurm.gpus", "slurm.gpus_per_node", "slurm.gpus_per_task", "slurm.gpus_per_socket")


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """An unfinished task of an array that dlbs submitted.

    Attributes:
        id: As scancel expects it: 12_3.
        pending: Whether it has not begun.
    """

    id: str
    pending: bool


def queue() -> dict[str, dict[int, QueuedTask]] | None:
    """Unfinished tasks of arrays of dlbs: array name → task number → job; None if Slurm does not respond."""
    # Also those in hidden partitions.
    command = ["squeue", "--noheader", "--all", "--array", "--user", str(os.getuid()), "--format", "%j|%F|%K|%t"]
    try:
        completed = subprocess.run(
            command, capture_output=True, text=True, env=_environment("SQUEUE_"), timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if completed.returncode:
        return None
    found: dict[str, dict[int, QueuedTask]] = {}
    for line in completed.stdout.splitlines():
        name, array, task, state = (*line.strip().split("|"), "", "", "")[:4]
        if name.startswith("dlbs-") and task.isdigit():
            found.setdefault(name, {})[int(task)] = QueuedTask(f"{array}_{task}", state == "PD")
    return found


def _environment(prefix: str) -> dict[str, str]:
    """The environment without the user's defaults for a command, such as SQUEUE_STATES, which hides jobs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


def cancel(jobs: Iterable[str], *, pending: bool = False) -> None:
    """Cancel jobs. No response from Slurm is not an error: the queue shows what is left.

    Args:
        jobs: Their ids.
        pending: Cancel only those that have not begun.
    """
    names = iter(jobs)
    while some := list(islice(names, _MOST_CANCELLED)):
        command = ["scancel", *(["--state=PENDING"] if pending else []), *some]
        try:
            subprocess.run(command, capture_output=True, env=_environment("SCANCEL_"), timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return


def sbatch(arguments: Sequence[str], script: str, environment: dict[str, str]) -> str:
    """Submit a script; return the error message of sbatch, or an empty string.

    Raises:
        LaunchError: sbatch cannot be started.
    """
    try:
        completed = subprocess.run(
            ["sbatch", *arguments],
            input=script,
            capture_output=True,
            text=True,
            errors="surrogateescape",  # of paths that are not UTF-8
            env=environment,
            timeout=2 * _PATIENCE,
            check=False,
        )
    except OSError as error:
        raise LaunchError(f"sbatch cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired as error:
        return str(error)  # it may have been submitted anyway
    return (" ".join(completed.stderr.split()) or f"exit code {completed.returncode}") if completed.returncode else ""


def max_array_size() -> int:
    """Maximum number of tasks per array: the cluster's limit on the index, or the limit of dlbs if smaller."""
    try:
        completed = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return _MOST_IN_ARRAY
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", completed.stdout)
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
