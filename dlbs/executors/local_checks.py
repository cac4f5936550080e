"""Checks before experiments run on this machine: GPUs, CPUs, memory, nodes, docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace

from dlbs.errors import DlbsError
from dlbs.executors.base import FRAMEWORK, Check, Problem, Site
from dlbs.executors.slots import Slots
from dlbs.experiment import Experiment
from dlbs.files import dlbs_root
from dlbs.launch.container import image_of
from dlbs.machine.devices import docker_available, gpu_count, visible_gpus
from dlbs.machine.resources import Request, gpu_ids
from dlbs.text import text

__all__ = ["LOCAL_CHECKS", "named_twice"]

_GPU_TOOLKIT = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime")


def _gpus(experiment: Experiment, site: Site) -> Problem | None:
    gpus = text(experiment.get("exp.gpus", ""))
    if gpus.startswith("any:"):
        return None
    try:
        ids = gpu_ids(gpus)
    except DlbsError as error:
        return Problem(error.what, error.hint)
    count, usable = gpu_count(), visible_gpus()
    missing = [gpu for gpu in ids if not count or gpu not in usable]
    if missing:
        have = f"this machine has {count}, numbered from 0" if count else "this machine has none"
        if count and "CUDA_VISIBLE_DEVICES" in os.environ:
            have = f"CUDA_VISIBLE_DEVICES leaves {', '.join(map(str, usable)) or 'none'} of them"
        words = "GPU {} does" if len(missing) == 1 else "GPUs {} do"
        named = words.format(", ".join(map(str, missing)))
        hint = (
            "set -Pexp.gpus='' to run on the CPU"
            if count
            else "check nvidia-smi, or set -Pexp.gpus='' to run on the CPU"
        )
        return Problem(f"{named} not exist: {have}", hint)
    return named_twice(experiment, site)


def named_twice(experiment: Experiment, site: Site) -> Problem | None:
    """Check that `exp.gpus` is a list of different GPUs, or any:N."""
    gpus = text(experiment.get("exp.gpus", ""))
    try:
        ids = [] if gpus.startswith("any:") else gpu_ids(gpus)
    except DlbsError as error:
        return Problem(error.what, error.hint)
    if len(set(ids)) < len(ids):
        return Problem(f"exp.gpus names a GPU twice: {gpus}", "name each GPU once")
    return None


def _slots(experiment: Experiment, site: Site) -> Problem | None:
    try:
        Slots().check(replace(Request.of(experiment), gpus=frozenset()))  # _gpus checks their numbers
    except DlbsError as error:
        return Problem(error.what, error.hint or "request less, or use a larger machine")
    return None


def _nodes(experiment: Experiment, site: Site) -> Problem | None:
    nodes = experiment.get("exp.num_nodes", 1)
    if experiment.get("exp.nodes"):
        return Problem("exp.nodes names hosts, but experiments run on this machine", "add --executor ssh or --nodes")
    if nodes == 1:
        return None
    if not experiment.get("exp.rendezvous"):
        hint = "use --nodes or --executor slurm, or start the same command on each node with exp.rendezvous and exp.node_rank"
        return Problem(f"exp.num_nodes is {nodes}, but experiments run on this machine", hint)
    rank = experiment.get("exp.node_rank", 0)
    if rank >= nodes:
        return Problem(f"exp.node_rank is {rank} of {nodes} nodes", f"ranks are 0 to {nodes - 1}")
    if experiment.get("exp.docker"):
        return Problem("containers cannot span nodes", "set -Pexp.docker=false")
    return None


def _docker(experiment: Experiment, site: Site) -> Problem | None:
    if not experiment.get("exp.docker"):
        return None
    command = text(experiment.get("exp.docker_launcher")) or "docker"
    if shutil.which(command) is None:
        return Problem(f"command {command!r} not found", "install docker, or run on bare metal with -Pexp.docker=false")
    if command == "docker" and not docker_available():
        return Problem(
            "the docker daemon cannot be reached", "start dockerd, or run on bare metal with -Pexp.docker=false"
        )
    if text(experiment.get("exp.gpus")) and not any(map(shutil.which, _GPU_TOOLKIT)):
        hint = "install the NVIDIA Container Toolkit, or run on bare metal with -Pexp.docker=false"
        return Problem("docker on this machine has no access to GPUs", hint)
    return None


def _image(experiment: Experiment, site: Site) -> Problem | None:
    command = text(experiment.get("exp.docker_launcher")) or "docker"
    if not experiment.get("exp.docker") or _docker(experiment, site) is not None:
        return None
    framework, image = text(experiment.get("exp.framework")), image_of(experiment)
    if not image:
        return Problem("no docker image is set", f"set exp.docker_image or {framework}.docker_image")
    if command != "docker" and not site.may_run:
        return None
    completed = subprocess.run([command, "image", "inspect", "--", image], capture_output=True, text=True, check=False)
    if completed.returncode:
        last = "".join(completed.stderr.strip().splitlines()[-1:])
        reason = f": {last}" if last and "no such image" not in last.lower() else ""
        hint = f"run `{_how_to_get(image, command)}`, or run on bare metal with -Pexp.docker=false"
        return Problem(f"docker image {image} not found on this machine{reason}", hint)
    return None


def _how_to_get(image: str, command: str) -> str:
    """The command that provides an image: images of DLBS are built, they are in no registry."""
    found = re.fullmatch(r"dlbs/([\w.-]+):([\w.-]+)", image)
    place = f"docker/{found[1]}/{found[2]}" if found else ""
    if not place or not (dlbs_root() / place / "Dockerfile").is_file():
        return f"{command} pull {image}"
    return f"dlbs images build {place}" + ("" if command == "docker" else f" --docker {command}")


_DOCKER = ("exp.docker", "exp.docker_launcher", "exp.gpus")

LOCAL_CHECKS = (
    Check(("exp.gpus",), _gpus),
    Check(("exp.gpus", "runtime.cpus", "runtime.memory"), _slots),
    Check(("exp.num_nodes", "exp.nodes", "exp.rendezvous", "exp.node_rank", "exp.docker"), _nodes),
    Check(_DOCKER, _docker),
    Check((*_DOCKER, "exp.framework", "exp.docker_image", f"{FRAMEWORK}.docker_image"), _image),
)
