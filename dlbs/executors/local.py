"""Run experiments on this machine: its free resources, what is checked before, and the experiments that run at the same time."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_core.gpus import gpu_count, visible_gpus
from dlbs.core.errors import DlbsError, InfrastructureError, LaunchError
from dlbs.core.experiment import FRAMEWORK, Check, Experiment, Problem, Site
from dlbs.core.files import dlbs_root
from dlbs.core.text import text
from dlbs.executors.base import Executor, Outcome
from dlbs.executors.job import Grant, Job
from dlbs.launch.containers import image_of
from dlbs.launch.script import make_launcher
from dlbs.machine.resources import Request, docker_available, gpu_ids, total_memory, usable_cpus

if TYPE_CHECKING:
    from dlbs.executors.turns import Together

_GRACE = 10.0  # seconds between TERM and KILL of a process group
_GPU_TOOLKIT = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime")
_DOCKER = ("exp.docker", "exp.docker_launcher", "exp.gpus")


@dataclass
class Slots:
    """The free resources of this machine.

    Attributes:
        gpus, cpus: Numbers of those that experiments may use.
        memory: Bytes.
    """

    gpus: tuple[int, ...] = field(default_factory=visible_gpus)
    cpus: tuple[int, ...] = field(default_factory=usable_cpus)
    memory: int = field(default_factory=total_memory)
    _busy_gpus: set[int] = field(default_factory=set)
    _busy_cpus: set[int] = field(default_factory=set)
    _used_memory: int = 0

    def check(self, request: Request) -> None:
        """Check that a request can be met with nothing else running.

        Raises:
            LaunchError: It cannot; the message contains what the machine has.
        """
        if request.any_gpus > len(self.gpus):
            raise LaunchError(f"exp.gpus requests {request.any_gpus} GPUs, but {len(self.gpus)} are usable")
        unusable = sorted(request.gpus - set(self.gpus))
        if unusable and self.gpus:  # without drivers that dlbs knows, such as in WSL, numbers cannot be checked
            usable = ", ".join(map(str, self.gpus))
            raise LaunchError(f"exp.gpus requests GPU {unusable[0]}, but only {usable} can be used")
        missing = sorted(request.cpus - set(self.cpus))
        if missing:
            raise LaunchError(f"runtime.cpus requests CPU {missing[0]}, which this process may not use")
        if request.any_cpus > len(self.cpus):
            raise LaunchError(f"runtime.cpus requests {request.any_cpus} CPUs, but {len(self.cpus)} are usable")
        if request.memory > self.memory:
            raise LaunchError(f"runtime.memory requests {request.memory:,} bytes, but this machine has {self.memory:,}")

    def take(self, request: Request) -> Grant | None:
        """Occupy the requested resources; return None if they are not free now."""
        free_gpus = [gpu for gpu in self.gpus if gpu not in self._busy_gpus]
        free_cpus = [cpu for cpu in self.cpus if cpu not in self._busy_cpus]
        if (
            request.gpus & self._busy_gpus
            or request.cpus & self._busy_cpus
            or request.any_gpus > len(free_gpus)
            or request.any_cpus > len(free_cpus)
            or self._used_memory + request.memory > self.memory
        ):
            return None
        gpus = tuple(sorted(request.gpus)) if request.gpus else tuple(free_gpus[: request.any_gpus])
        cpus = tuple(sorted(request.cpus)) if request.cpus else tuple(free_cpus[: request.any_cpus])
        self._busy_gpus.update(gpus)
        self._busy_cpus.update(cpus)
        self._used_memory += request.memory
        return Grant(gpus, cpus, request.memory)

    def give_back(self, grant: Grant) -> None:
        """Release the granted resources."""
        self._busy_gpus.difference_update(grant.gpus)
        self._busy_cpus.difference_update(grant.cpus)
        self._used_memory -= grant.memory


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
        Slots().check(Request.of(experiment)._replace(gpus=frozenset()))  # _gpus checks their numbers
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


def _working_dir(experiment: Experiment, site: Site) -> Problem | None:
    name = text(experiment.get("exp.working_dir"))
    if (site.directory / name).is_dir():
        return None
    return Problem(f"directory {name} (exp.working_dir) does not exist", "create it, for example with git worktree add")


def _docker(experiment: Experiment, site: Site) -> Problem | None:
    if not experiment.get("exp.docker"):
        return None
    from shutil import which

    command = text(experiment.get("exp.docker_launcher")) or "docker"
    if which(command) is None:
        return Problem(f"command {command!r} not found", "install docker, or run on bare metal with -Pexp.docker=false")
    if command == "docker" and not docker_available():
        return Problem(
            "the docker daemon cannot be reached", "start dockerd, or run on bare metal with -Pexp.docker=false"
        )
    if text(experiment.get("exp.gpus")) and not any(map(which, _GPU_TOOLKIT)):
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
    words = [command, "image", "inspect", "--", image]
    completed = subprocess.run(words, capture_output=True, errors="replace", check=False)
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


LOCAL_CHECKS = (
    Check(("exp.gpus",), _gpus),
    Check(("exp.gpus", "runtime.cpus", "runtime.memory"), _slots),
    Check(("exp.num_nodes", "exp.nodes", "exp.rendezvous", "exp.node_rank", "exp.docker"), _nodes),
    Check(("exp.working_dir",), _working_dir),
    Check(_DOCKER, _docker),
    Check((*_DOCKER, "exp.framework", "exp.docker_image", f"{FRAMEWORK}.docker_image"), _image),
)


class LocalExecutor(Executor):
    """Run launchers in their own process groups, several at a time if requested.

    Args:
        directory: Where experiments run.
        jobs: Experiments that may run at the same time; one by default, because competing load distorts measurements.
        slots: The resources that they share.
        grace: Seconds between TERM and KILL of an experiment.
        allocated: Whether a scheduler allocated the GPUs that are visible here to the one experiment that runs: it gets
            the first of them, as many as it requests, whichever numbers it names.
    """

    checks: Sequence[Check] = LOCAL_CHECKS
    gives_turns = True

    def __init__(
        self,
        directory: Path,
        jobs: int | None = None,
        *,
        slots: Slots | None = None,
        grace: float = _GRACE,
        allocated: bool = False,
    ) -> None:
        self.directory, self.jobs, self.grace = directory, jobs or 1, grace
        self.slots = Slots() if slots is None else slots
        self._allocated = allocated
        self._jobs: list[Job] = []
        self._together: Together | None = None

    @property
    def running(self) -> int:
        return len(self._jobs) + (0 if self._together is None else len(self._together.jobs))

    @property
    def has_room(self) -> bool:
        return self._together is None and len(self._jobs) < self.jobs

    def start(self, experiment: Experiment) -> bool:
        if not self.has_room:
            return False
        request = Request.of(experiment, allocated=self._allocated)
        self.slots.check(request)
        grant = self.slots.take(request)
        if grant is None:
            return False
        try:
            job = Job(make_launcher(_placed(experiment, request, grant), self.directory), grant, grace=self.grace)
        except BaseException:
            self.slots.give_back(grant)
            raise
        for other in self._jobs:
            other.concurrent.append(text(experiment.get("exp.id")))
            job.concurrent.append(text(other.launcher.experiment.get("exp.id")))
        self._jobs.append(job)
        return True

    def start_together(self, experiments: Sequence[Experiment]) -> bool:
        if self.running:
            return False
        from dlbs.executors.turns import Together, TurnGiver

        requests = [Request.of(one, allocated=self._allocated) for one in experiments]
        together = Request.together(requests)
        self.slots.check(together)
        grant = self.slots.take(together)
        assert grant is not None  # nothing else runs
        seconds, count = (max(one.get(f"turns.{name}", 0) for one in experiments) for name in ("seconds", "count"))
        try:
            giver = TurnGiver(len(experiments), seconds, count)
        except OSError as error:
            self.slots.give_back(grant)
            what = f"cannot give turns: {error.strerror}"
            raise InfrastructureError(what, where=str(error.filename or "TMPDIR")) from None
        jobs: list[Job] = []
        try:
            for one, request, variables in zip(experiments, requests, giver.environments, strict=True):
                own = Grant(grant.gpus[: request.any_gpus or None], grant.cpus[: request.any_cpus or None])
                launcher = make_launcher(_placed(one, request, own), self.directory)
                jobs.append(Job(launcher, own, grace=self.grace, environment=variables))
        except BaseException as error:
            for job in jobs:
                job.end("cancelled", f"its partner did not start: {error}")
                while job.look() is None:
                    time.sleep(0.05)
            giver.close()
            self.slots.give_back(grant)
            raise
        self._together = Together(jobs, giver, grant)
        return True

    def next_look(self) -> float | None:
        moments = [moment for job in self._jobs for moment in job.moments()]
        return min([*moments, *(() if self._together is None else self._together.moments())], default=None)

    def look(self) -> Iterator[tuple[Experiment, Outcome]]:
        for job in list(self._jobs):
            outcome = job.look()
            if outcome is not None:
                self._jobs.remove(job)
                self.slots.give_back(job.grant)
                yield job.launcher.experiment, outcome
        if self._together is not None and (outcomes := list(self._together.look())):
            self.slots.give_back(self._together.grant)
            self._together = None
            yield from outcomes

    def end_all(self, message: str) -> None:
        for job in [*self._jobs, *(() if self._together is None else self._together.jobs)]:
            job.end("cancelled", message)


def _placed(experiment: Experiment, request: Request, grant: Grant) -> Experiment:
    """The experiment with the resources it was granted: exp.gpu_ids, exp.cpus."""
    placed = dict(experiment)
    if request.any_gpus:
        placed["exp.gpu_ids"] = ",".join(map(str, grant.gpus))
    if grant.cpus:
        placed["exp.cpus"] = ",".join(map(str, grant.cpus))
    return placed
