"""Containers of experiments: their names, and how they are stopped."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dlbs.experiment import Experiment
from dlbs.text import text

__all__ = ["container_name", "gpu_arguments", "image_of", "remove_container", "stop_container"]

_PATIENCE = 60.0  # seconds to wait for an answer of the docker daemon


def container_name(experiment: Experiment, log: Path) -> str:
    """The container's name, `dlbs-<exp.id>-<digest of the log's path>`; empty for experiments outside containers.

    It contains the path because the same experiment may run in two directories at the same time.
    """
    if not experiment.get("exp.docker"):
        return ""
    place = hashlib.blake2b(str(log.absolute()).encode(), digest_size=4).hexdigest()
    identity = re.sub("[^A-Za-z0-9_.-]", "-", text(experiment.get("exp.id")))[:64]
    return f"dlbs-{identity}-{place}"


def image_of(experiment: Experiment) -> str:
    """The image of an experiment: its own, otherwise that of its framework; empty if neither is set."""
    framework = text(experiment.get("exp.framework"))
    return text(experiment.get("exp.docker_image") or experiment.get(f"{framework}.docker_image"))


def gpu_arguments(command: str, names: Sequence[str]) -> list[str]:
    """Arguments of `docker run` for GPUs.

    Podman takes GPUs by their CDI names; its `--gpus` rejects `device=`, or is ignored.

    Args:
        command: The docker command.
        names: Their numbers or UUIDs; `all` for all.
    """
    if not names:
        return []
    if os.path.basename(command).startswith("podman"):
        return [word for name in names for word in ("--device", f"nvidia.com/gpu={name}")]
    return ["--gpus", "all" if list(names) == ["all"] else f'"device={",".join(names)}"']


def _docker(experiment: Experiment) -> str:
    return text(experiment.get("exp.docker_launcher")) or "docker"


def stop_container(experiment: Experiment, name: str, grace: float) -> None:
    """Ask a container to stop, and kill it after the grace period; returns immediately."""
    try:
        subprocess.Popen(
            [_docker(experiment), "stop", f"--time={max(1, round(grace - 1))}", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return  # without a docker command there is no container


def remove_container(experiment: Experiment, name: str) -> None:
    """Remove a container, running or not; no error if it does not exist."""
    try:
        subprocess.run(
            [_docker(experiment), "rm", "--force", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
