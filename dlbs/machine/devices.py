"""The devices of this machine, detected without loading drivers or frameworks."""

from __future__ import annotations

import glob
import itertools
import os
import re
import shutil

from dlbs.errors import LaunchError

__all__ = [
    "cuda_name",
    "docker_available",
    "docker_name",
    "gpu_count",
    "is_nvidia_value",
    "query_nvidia",
    "total_memory",
    "usable_cpus",
    "visible_gpus",
]

# nvidia-smi takes half a minute on machines with many GPUs whose driver is loaded for each query.
_NVIDIA_SMI_SECONDS = 60
_UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field')


def gpu_count() -> int:
    """Number of NVIDIA and AMD GPUs, counted by device files (no driver is loaded)."""
    nvidia = glob.glob("/dev/nvidia[0-9]*")
    if nvidia:
        return len(nvidia)
    # An AMD compute node has a non-zero SIMD count; CPUs are nodes too.
    count = 0
    for path in glob.glob("/sys/class/kfd/kfd/topology/nodes/*/properties"):
        try:
            with open(path) as properties:
                count += any(line.startswith("simd_count") and line.split()[1] != "0" for line in properties)
        except OSError:
            continue
    return count


def visible_gpus() -> tuple[int, ...]:
    """Numbers of the GPUs that programs started here may use: all, or those of CUDA_VISIBLE_DEVICES.

    GPUs, or parts of them (MIG), that it lists by UUID are numbered from 0 in its order.
    """
    names = _visible_names()
    if names is None:
        return tuple(range(gpu_count()))
    if all(map(str.isdigit, names)):
        return tuple(dict.fromkeys(map(int, names)))
    return tuple(range(len(names)))


def cuda_name(gpu: int) -> str:
    """The entry for CUDA_VISIBLE_DEVICES of a GPU of `visible_gpus`: its number, or its UUID if that variable lists UUIDs."""
    names = _visible_names()
    if names is None or all(map(str.isdigit, names)) or gpu >= len(names):
        return str(gpu)
    return names[gpu]


def docker_name(gpu: int) -> str:
    """The name of a GPU of `visible_gpus` for docker, whose daemon sees all GPUs of this machine.

    Slurm numbers the GPUs of a job from 0 if it hides the others (ConstrainDevices); SLURM_JOB_GPUS lists them as on the machine.
    """
    job = [name for name in os.environ.get("SLURM_JOB_GPUS", "").split(",") if name.isdigit()]
    name = cuda_name(gpu)
    return job[gpu] if name.isdigit() and visible_gpus() == tuple(range(len(job))) and gpu < len(job) else name


def _visible_names() -> list[str] | None:
    """The entries of CUDA_VISIBLE_DEVICES that CUDA uses: those before the first invalid one, such as -1. None if it is not set."""
    limited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if limited is None:
        return None
    names = (name.strip() for name in limited.split(","))
    return list(itertools.takewhile(_names_a_gpu, names))


def _names_a_gpu(name: str) -> bool:
    return name.isdigit() or name.startswith(("GPU-", "MIG-"))


def query_nvidia(fields: tuple[str, ...]) -> list[list[str]]:
    """Query nvidia-smi for properties of the GPUs: a list of strings per GPU, in the order of the fields; empty without nvidia-smi.

    A field that this version of nvidia-smi does not know is an empty string for each GPU. A GPU that the driver has lost is missing.

    Raises:
        LaunchError: nvidia-smi fails, or does not respond.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    asked = list(fields)
    while True:
        code, answer = _run_nvidia_smi(asked)
        unknown = _UNKNOWN_FIELD.search(answer) if code else None
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
    import subprocess

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
    if shutil.which("docker") is None:
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
