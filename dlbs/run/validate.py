"""What would fail, found before anything runs: all problems of a plan at once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.config.models import known_models, registered_in
from dlbs.errors import ConfigError, DlbsError, did_you_mean
from dlbs.executors.slots import Slots
from dlbs.experiment import Experiment, describe
from dlbs.files import dlbs_root
from dlbs.launch.script import launcher_path, make_launcher
from dlbs.machine.devices import docker_available, gpu_count, visible_gpus
from dlbs.machine.resources import Request, gpu_ids
from dlbs.text import text

__all__ = ["Problem", "Validator"]

_GPU_TOOLKIT = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would make experiments fail.

    Attributes:
        what: What is wrong.
        hint: What to do.
        experiment: One of the experiments that have it.
        count: How many have it.
    """

    what: str
    hint: str
    experiment: str
    count: int = 1

    def __str__(self) -> str:
        others = f" and {self.count - 1} more" if self.count > 1 else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.experiment}{others}: {self.what}{hint}"


class Validator:
    """Checks experiments one by one and collects their problems, each kind once.

    Args:
        directory: Where experiments run and relative paths begin; the current directory by default.
        may_run: Whether programs that the plan names may be asked (an interpreter for torch). Only where the plan is going to
            be run anyway: looking at a stranger's plan must not start anything.
        slurm: Whether the plan runs on other machines than this one, so that what this one has does not matter.
    """

    def __init__(self, directory: Path | None = None, *, may_run: bool = False, slurm: bool = False) -> None:
        self.slurm = slurm
        self.directory = Path.cwd() if directory is None else directory
        self.may_run = may_run
        self.count = 0
        self._problems: dict[tuple[str, str], Problem] = {}
        self._logs: dict[str, int] = {}
        self._checked: set[Any] = set()

    @property
    def problems(self) -> list[Problem]:
        return list(self._problems.values())

    def check_all(self, experiments: Iterable[Experiment]) -> None:
        """Check a plan; `count` and `problems` tell the result."""
        for experiment in experiments:
            self.check(experiment)

    def check(self, experiment: Experiment) -> None:
        """Check one resolved experiment."""
        self.count += 1
        self._check_log_file(experiment)
        if experiment.get("exp.status") == "inactive":
            return
        self._once("launcher", experiment, ("exp.framework",), self._check_launcher)
        if not self.slurm:
            self._once("gpus", experiment, ("exp.gpus",), self._check_gpus)
            self._once("slots", experiment, ("exp.gpus", "runtime.cpus", "runtime.memory"), self._check_slots)
        self._once("nodes", experiment, ("exp.num_nodes", "exp.docker"), self._check_nodes)
        if experiment.get("exp.docker") and not self.slurm:
            self._once(
                "docker", experiment, ("exp.docker_image", "pytorch.docker_image", "exp.gpus"), self._check_docker
            )
        if experiment.get("exp.framework") == "pack":
            self._once("pack", experiment, ("exp.pack", "pack.dir", "pack.python", "exp.docker"), self._check_pack)
        if experiment.get("exp.framework") in ("pytorch", "train") or experiment.get("pack.kind") == "architecture":
            self._once("model", experiment, ("exp.model", "pytorch.architecture"), self._check_model)
            self._once("replicas", experiment, ("exp.gpus",), self._check_replicas)
            self._once("data", experiment, ("pytorch.data_dir", "exp.framework"), self._check_data)
            if not experiment.get("exp.docker"):
                self._once("python", experiment, ("runtime.python",), self._check_python)

    def raise_problems(self) -> None:
        """Say all problems that were found.

        Raises:
            ConfigError: There are some.
        """
        if not self.problems:
            return
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        raise ConfigError(
            f"{count} in the plan; nothing was run{listed}\n", hint="--no-validation runs it all the same"
        )

    def _once(self, kind: str, experiment: Experiment, names: tuple[str, ...], check: Any) -> None:
        """Run a check once for each combination of the values that it looks at."""
        key = (kind, *(repr(experiment.get(name)) for name in names))
        known = key in self._checked
        self._checked.add(key)
        if not known:
            found = check(experiment)
            if found is not None:
                self._add(experiment, *found, key=key)
        elif key in self._problems:
            problem = self._problems[key]
            self._problems[key] = Problem(problem.what, problem.hint, problem.experiment, problem.count + 1)

    def _add(self, experiment: Experiment, what: str, hint: str, *, key: Any) -> None:
        self._problems[key] = Problem(what, hint, f"experiment {self.count} ({describe(experiment)})")

    def _check_log_file(self, experiment: Experiment) -> None:
        log = os.path.normpath(self.directory / text(experiment.get("exp.log_file")))
        if not experiment.get("exp.log_file"):
            self._add(experiment, "exp.log_file is empty", "set exp.log_file", key=("log", self.count))
            return
        first = self._logs.setdefault(log, self.count)
        if first != self.count:
            what = f"writes to the same log file as experiment {first}: {log}"
            hint = "put what differs between them into exp.log_file, such as ${exp.id}"
            self._add(experiment, what, hint, key=("log", log, self.count))

    def _check_launcher(self, experiment: Experiment) -> tuple[str, str] | None:
        try:
            make_launcher(experiment, self.directory)
        except DlbsError as error:
            hint = error.hint
            if not launcher_path(experiment).is_file():
                frameworks = [path.stem for path in (dlbs_root() / "scripts" / "launchers").glob("*.sh")]
                hint = did_you_mean(text(experiment.get("exp.framework")), frameworks) or hint
            return f"{error.where}: {error.what}" if error.where else error.what, hint
        return None

    def _check_gpus(self, experiment: Experiment) -> tuple[str, str] | None:
        gpus = text(experiment.get("exp.gpus", ""))
        if gpus.startswith("any:"):
            return None
        try:
            ids = gpu_ids(gpus)
        except DlbsError as error:
            return error.what, error.hint
        count, usable = gpu_count(), visible_gpus()
        missing = [gpu for gpu in ids if not count or gpu not in usable]
        if missing:
            have = f"there are {count}, numbered from 0" if count else "there is none"
            if count and "CUDA_VISIBLE_DEVICES" in os.environ:
                have = f"CUDA_VISIBLE_DEVICES leaves {', '.join(map(str, usable)) or 'none'} of them"
            return f"GPU {', '.join(map(str, missing))} does not exist here: {have}", "-Pexp.gpus='' runs on the CPU"
        if len(set(ids)) < len(ids):
            return f"exp.gpus names a GPU twice: {experiment['exp.gpus']}", "name each GPU once"
        return None

    def _check_slots(self, experiment: Experiment) -> tuple[str, str] | None:
        try:
            Slots().check(Request.of(experiment))
        except DlbsError as error:
            return error.what, error.hint or "ask for less, or run it on a larger machine"
        return None

    def _check_nodes(self, experiment: Experiment) -> tuple[str, str] | None:
        if experiment.get("exp.num_nodes", 1) == 1:
            return None
        what = f"exp.num_nodes is {experiment['exp.num_nodes']}"
        if not self.slurm:
            return f"{what}, but experiments run on this machine", "set exp.num_nodes=1, or use --executor slurm"
        if experiment.get("exp.docker"):
            return f"{what}, and containers do not reach over several nodes", "-Pexp.docker=false"
        return None

    def _check_replicas(self, experiment: Experiment) -> tuple[str, str] | None:
        gpus = text(experiment.get("exp.gpus"))
        if ":" not in gpus or gpus.startswith("any:"):
            return None
        hint = "write 0,1 for two replicas of one GPU each"
        return f"exp.gpus is {experiment['exp.gpus']}, but pytorch_benchmarks puts a replica on one GPU", hint

    def _check_docker(self, experiment: Experiment) -> tuple[str, str] | None:
        command = text(experiment.get("exp.docker_launcher")) or "docker"
        if shutil.which(command) is None:
            return f"there is no command {command!r}", "install docker, or run on bare metal with -Pexp.docker=false"
        if command == "docker" and not docker_available():
            return "the docker daemon cannot be reached", "start dockerd, or run on bare metal with -Pexp.docker=false"
        if text(experiment.get("exp.gpus")) and not any(map(shutil.which, _GPU_TOOLKIT)):
            hint = "install the NVIDIA container toolkit, or run on bare metal with -Pexp.docker=false"
            return "containers have no access to GPUs here", hint
        framework = text(experiment.get("exp.framework"))
        image = text(experiment.get("exp.docker_image") or experiment.get(f"{framework}.docker_image"))
        if not image:
            return "no docker image is given", f"set exp.docker_image or {framework}.docker_image"
        if command != "docker" and not self.may_run:
            return None
        asked = subprocess.run([command, "image", "inspect", "--", image], capture_output=True, text=True, check=False)
        if asked.returncode:
            said = asked.stderr.strip().splitlines()
            hint = f"{command} pull {image}, or build it, or run on bare metal with -Pexp.docker=false"
            return f"docker image {image} is not here: {said[-1] if said else 'not found'}", hint
        return None

    def _check_pack(self, experiment: Experiment) -> tuple[str, str] | None:
        name, directory = text(experiment.get("exp.pack")), Path(text(experiment.get("pack.dir")))
        if not directory.is_dir():
            return f"the directory of the pack {name} is not there: {directory}", "dlbs pack list shows what is found"
        kind = experiment.get("pack.kind")
        if kind == "container" and not experiment.get("exp.docker"):
            return f"{name} is a container", "leave exp.docker=false out"
        if kind == "container":
            inputs = Path(text(experiment.get("pack.inputs")) or directory / "inputs.jsonl")
            return (
                None
                if inputs.is_file()
                else (f"{name} has no inputs: {inputs}", "write one JSON object a line there, or set pack.inputs")
            )
        if kind in {"benchmark", "model", "architecture"} and experiment.get("exp.docker"):
            return None  # it runs with the Python of its image
        if (
            not self.slurm
            and not experiment.get("pack.start")
            and not Path(text(experiment.get("pack.python"))).exists()
        ):
            return f"{name} is not installed", f"dlbs pack install {name}"
        return None

    def _check_model(self, experiment: Experiment) -> tuple[str, str] | None:
        model, known = text(experiment.get("exp.model")), known_models()
        file = text(experiment.get("pytorch.architecture"))
        if file:
            path = self.directory / file
            if not path.is_file():
                return f"there is no file {file}", "set pytorch.architecture to a Python file that registers models"
            known = {**known, **registered_in(path)}
        if not known or model in known or ":" in model:
            return None
        return f"unknown model {model!r}", did_you_mean(model, known, cutoff=0.5) or "dlbs help --models lists them"

    def _check_data(self, experiment: Experiment) -> tuple[str, str] | None:
        data = text(experiment.get("pytorch.data_dir"))
        if not data and experiment.get("exp.framework") == "train":
            return "training needs data", "set pytorch.data_dir to a directory with train and val in it"
        if not data:
            return None
        if not (self.directory / data).is_dir():
            return f"data directory {data} does not exist", "set pytorch.data_dir; empty means synthetic data"
        if not os.access(self.directory / data, os.R_OK | os.X_OK):
            return f"data directory {data} cannot be read", "check its permissions"
        return None

    def _check_python(self, experiment: Experiment) -> tuple[str, str] | None:
        python = text(experiment.get("runtime.python"))
        if shutil.which(python) is None:
            return f"there is no Python interpreter {python!r}", "set runtime.python"
        if not _has_torch(python, self.may_run):
            return f"{python} cannot import torch", f"{python} -m pip install 'dlbs[torch]', or set runtime.python"
        return None


@lru_cache(maxsize=16)
def _has_torch(python: str, may_run: bool) -> bool:
    """Whether an interpreter finds torch. It is looked for, not imported: importing takes seconds."""
    if python == sys.executable:
        return importlib.util.find_spec("torch") is not None
    if may_run:
        program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
        return subprocess.run([python, "-c", program], capture_output=True, check=False).returncode == 0
    found = Path(shutil.which(python) or python)
    prefixes = [found.parent.parent, found.resolve().parent.parent, Path.home() / ".local", Path("/usr/local")]
    return any(
        next(prefix.glob(f"lib/python3*/{packages}/torch/__init__.py"), None)
        for prefix in prefixes
        for packages in ("site-packages", "dist-packages")
    )
