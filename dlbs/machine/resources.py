"""GPUs, CPUs and memory: of this machine, of the request of an experiment, and used by a process."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment
from dlbs.core.text import text

if TYPE_CHECKING:
    import resource

_MOST_CPUS = 1 << 16  # far more than any machine has, and little memory for a list of them
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def gpu_ids(gpus: str) -> list[int]:
    """The GPUs of `0:1,2:3`, in order.

    Raises:
        LaunchError: The text is not a list of GPUs.
    """
    groups = [group for group in re.split(r"[,\s]+", gpus.strip()) if group]
    try:
        return [int(gpu) for group in groups for gpu in group.split(":")]
    except ValueError:
        raise LaunchError(
            f"exp.gpus: {gpus[:80]!r} is not a list of GPUs",
            hint="write 0,1, or any:2 for any two free GPUs",
        ) from None


def cpu_list(cpus: str) -> list[int]:
    """The CPUs of `0-3,8`, in order.

    Raises:
        LaunchError: The text is not a list of CPUs.
    """
    numbers: list[int] = []
    try:
        for part in filter(None, re.split(r"[,\s]+", cpus.strip())):
            first, _, last = part.partition("-")
            more = range(int(first), int(last or first) + 1)
            if more and max(more[-1], len(numbers) + len(more)) >= _MOST_CPUS:
                raise LaunchError(
                    f"runtime.cpus: {cpus[:80]!r} names more CPUs than any machine has",
                    hint=f"CPU numbers are below {_MOST_CPUS}",
                )
            numbers.extend(more)
    except (ValueError, OverflowError):
        raise LaunchError(
            f"runtime.cpus: {cpus[:80]!r} is not a list of CPUs",
            hint="write a number of CPUs, or a list such as 0-3,8",
        ) from None
    return numbers


def memory_size(size: str) -> int:
    """Bytes of `8G`, `512M` or `1073741824`; 0 for an empty string.

    Raises:
        LaunchError: The text is not a size.
    """
    found = re.fullmatch(r"\s*(\d{1,20}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
    if found is None:
        if not size.strip():
            return 0
        raise LaunchError(f"runtime.memory: {size[:80]!r} is not a size", hint="write 8G or 512M")
    return int(float(found[1]) * _UNITS[found[2].upper()])


class Request(NamedTuple):
    """The resources that an experiment requests: specific GPUs or a number of them, specific CPUs or a number of them, bytes of memory."""

    gpus: frozenset[int] = frozenset()
    any_gpus: int = 0
    cpus: frozenset[int] = frozenset()
    any_cpus: int = 0
    memory: int = 0

    @classmethod
    def of(cls, experiment: Experiment, *, allocated: bool = False) -> Request:
        """The request in `exp.gpus`, `runtime.cpus` and `runtime.memory`.

        Args:
            experiment: Its values.
            allocated: Whether a scheduler selects the GPUs, so that `0:1,2:3` requests any four of them.

        Raises:
            LaunchError: One of them is malformed.
        """
        gpus, cpus = text(experiment.get("exp.gpus")).strip(), text(experiment.get("runtime.cpus")).strip()
        any_gpus = re.fullmatch(r"any:(\d{1,9})", gpus)
        any_cpus = re.fullmatch(r"\d{1,9}", cpus)
        numbers = [] if any_gpus else gpu_ids(gpus)
        return cls(
            frozenset() if allocated else frozenset(numbers),
            int(any_gpus[1]) if any_gpus else len(numbers) if allocated else 0,
            frozenset() if any_cpus else frozenset(cpu_list(cpus)),
            int(cpus) if any_cpus else 0,
            memory_size(text(experiment.get("runtime.memory"))),
        )

    @classmethod
    def together(cls, requests: Sequence[Request]) -> Request:
        """The request of experiments that take turns: they share GPUs and CPUs, but not memory.

        Raises:
            LaunchError: Some name CPUs or GPUs, and others any number of them.
        """
        gpus, cpus = (
            frozenset().union(*sets) for sets in zip(*((one.gpus, one.cpus) for one in requests), strict=True)
        )
        any_gpus, any_cpus = (max(one) for one in zip(*((one.any_gpus, one.any_cpus) for one in requests), strict=True))
        if (gpus and any_gpus) or (cpus and any_cpus):
            raise LaunchError(
                "experiments that take turns name CPUs or GPUs on one side, and only their number on another",
                hint="name them on all sides (exp.gpus, runtime.cpus), or on none",
            )
        return cls(gpus, any_gpus, cpus, any_cpus, sum(one.memory for one in requests))


def reap(process: subprocess.Popen[bytes], *, block: bool = False) -> resource.struct_rusage | None:
    """Resources that a process and all its descendants that were waited for have used (getrusage(2)) if it has ended; set its `returncode` as `poll` does.

    Its peak memory (ru_maxrss) is not to be used: Linux includes the memory of this process when it created the child.

    Args:
        process: A child that `poll` and `wait` have not reaped.
        block: Wait until it ends.
    """
    try:
        pid, status, found = os.wait4(process.pid, 0 if block else os.WNOHANG)
    except ChildProcessError:  # already reaped elsewhere
        process.poll()
        return None
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return found


# nvidia-smi takes half a minute on machines with many GPUs whose driver is loaded for each query.
_NVIDIA_SMI_SECONDS = 60
_UNKNOWN_FIELD = r'Field "([^"]+)" is not a valid field'


def query_nvidia(fields: tuple[str, ...]) -> list[list[str]]:
    """Query nvidia-smi for properties of the GPUs: a list of strings per GPU, in the order of the fields; empty without nvidia-smi.

    A field that this version of nvidia-smi does not know is an empty string for each GPU. A GPU that the driver has lost is missing.

    Raises:
        LaunchError: nvidia-smi fails, or does not respond.
    """
    from shutil import which

    if which("nvidia-smi") is None:
        return []
    asked = list(fields)
    while True:
        code, answer = _run_nvidia_smi(asked)
        unknown = re.search(_UNKNOWN_FIELD, answer) if code else None
        if unknown is None or unknown[1] not in asked or len(asked) == 1:
            break
        asked.remove(unknown[1])
    if code:
        raise LaunchError(f"nvidia-smi: {' '.join(answer.split())[:200] or f'exit code {code}'}")
    rows = (line.split(", ") for line in answer.splitlines())  # other lines are messages, such as that a GPU is lost
    found = [dict(zip(asked, row, strict=True)) for row in rows if len(row) == len(asked)]
    return [[gpu.get(name, "") for name in fields] for gpu in found]


def is_nvidia_value(answer: str) -> bool:
    """Whether an answer of `query_nvidia` is a value: neither `[N/A]`, `[Not Supported]` or the like, nor empty."""
    return bool(answer) and not answer.startswith("[")


def _run_nvidia_smi(fields: list[str]) -> tuple[int, str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        completed = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_NVIDIA_SMI_SECONDS, check=False
        )
    except OSError as error:
        raise LaunchError(f"nvidia-smi cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:  # a driver that does not respond
        raise LaunchError(f"nvidia-smi did not respond within {_NVIDIA_SMI_SECONDS} s") from None
    return completed.returncode, f"{completed.stdout}{completed.stderr if completed.returncode else ''}"


def usable_cpus() -> tuple[int, ...]:
    """Numbers of the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def total_memory() -> int:
    """Size of main memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def docker_available() -> bool:
    """Whether there is a docker client and a daemon that responds on its socket."""
    from shutil import which

    if which("docker") is None:
        return False
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True
