"""Validate a plan before anything runs, and report all its problems together; with one table of checks for each framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.config.user_command import placeholders
from dlbs.core.errors import ConfigError, DlbsError, LaunchError, did_you_mean
from dlbs.core.experiment import FRAMEWORK, NOT_SERVING, Check, Experiment, Problem, Site, describe, log_path
from dlbs.core.files import dlbs_root
from dlbs.core.text import counted, text
from dlbs.executors.base import Executor
from dlbs.executors.local import LOCAL_CHECKS
from dlbs.executors.logfiles import check_replaceable
from dlbs.launch.script import environment, launcher_path, make_launcher
from dlbs.machine.resources import Request


@dataclass(frozen=True, slots=True, repr=False)
class PlanProblem:
    """A problem that would make experiments of a plan fail.

    Attributes:
        problem: The problem and its fix.
        experiment: The first experiment that has it.
        count: Number of experiments that have it.
    """

    problem: Problem
    experiment: str
    count: int = 1

    def __repr__(self) -> str:
        return f"<PlanProblem: {self}>"

    def __str__(self) -> str:
        hint = f" ({self.problem.hint})" if self.problem.hint else ""
        others = f" ({counted(self.count, 'experiment')})" if self.count > 1 else ""
        return f"{self.experiment}: {self.problem.what}{hint}{others}"


class Validator:
    """Check experiments one by one and collect their problems without duplicates.

    Args:
        executor: The executor that will run the plan; by default this machine.
        directory: Working directory of experiments, and base of relative paths; the current directory by default.
        may_run: Whether programs that the plan names may be started (such as an interpreter, to find torch). True only if the plan is about
            to run: inspecting an untrusted plan must not start anything.
        nodes: Hosts that may be contacted anyway.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        directory: Path | None = None,
        may_run: bool = False,
        nodes: Iterable[str] = (),
    ) -> None:
        self.site = Site(Path.cwd() if directory is None else directory, may_run, frozenset(nodes))
        self.count = 0
        self._checks = LOCAL_CHECKS if executor is None else tuple(executor.checks)
        self._problems: dict[Problem, PlanProblem] = {}
        self._found_at: dict[Problem, int] = {}
        self._logs: dict[str, tuple[int, Any]] = {}
        self._directories: dict[str, str] = {}
        self._checked: dict[Any, Problem | None] = {}
        self._checks_by_kind: dict[tuple[str, str], list[tuple[Check, tuple[str, ...]]]] = {}

    @property
    def problems(self) -> list[PlanProblem]:
        return list(self._problems.values())

    def check_all(self, experiments: Iterable[Experiment]) -> None:
        """Check a plan; the result is in `count` and `problems`."""
        for experiment in experiments:
            self.check(experiment)

    def check(self, experiment: Experiment) -> None:
        """Check one resolved experiment."""
        self.count += 1
        if not self._check_log_file(experiment) or experiment.get("exp.status") == "inactive":
            return
        for check, reads in self._checks_of(experiment):
            self._make(check, reads, experiment)

    def document(self) -> dict[str, Any]:
        """The number of experiments and the problems as a JSON document."""
        problems = [
            {"problem": one.problem.what, "hint": one.problem.hint, "first": one.experiment, "experiments": one.count}
            for one in self.problems
        ]
        return {"experiments": self.count, "problems": problems}

    def raise_problems(self) -> None:
        """Raise an error with all problems that were found.

        Raises:
            ConfigError: There are problems.
        """
        if not self.problems:
            return
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        count = counted(len(self.problems), "problem")
        if not self.site.may_run:
            raise ConfigError(f"{count} in the plan{listed}")
        raise ConfigError(f"{count} in the plan; nothing was run (use --no-validation to run it anyway){listed}")

    def _checks_of(self, experiment: Experiment) -> list[tuple[Check, tuple[str, ...]]]:
        """The checks of an experiment, each with the parameters that it depends on."""
        framework = text(experiment.get("exp.framework"))
        key = framework, text(experiment.get("pack.kind"))
        if key not in self._checks_by_kind:
            self._checks_by_kind[key] = [
                (check, tuple(name.replace(FRAMEWORK, framework) for name in check.reads))
                for check in (_LAUNCHER, *self._checks, *checks_of(experiment))
            ]
        return self._checks_by_kind[key]

    def _make(self, check: Check, reads: tuple[str, ...], experiment: Experiment) -> None:
        """Run a check once for each combination of the values that it depends on."""
        key = (check.find, *(repr(experiment.get(name)) for name in reads))
        if key not in self._checked:
            self._checked[key] = check.find(experiment, self.site)
        found = self._checked[key]
        if found is not None:
            self._add(experiment, found)

    def _add(self, experiment: Experiment, problem: Problem) -> None:
        """Record a problem once, with the number of experiments that have it."""
        known = self._problems.get(problem)
        if known is None:
            self._problems[problem] = PlanProblem(problem, f"experiment {self.count} ({describe(experiment)})")
        elif self._found_at[problem] != self.count:  # two checks may find the same problem
            self._problems[problem] = replace(known, count=known.count + 1)
        self._found_at[problem] = self.count

    def _check_log_file(self, experiment: Experiment) -> bool:
        """Find problems of the log file; False if the experiment does not define one."""
        try:
            log = self._without_links(log_path(experiment, self.site.directory))
        except DlbsError as error:
            self._add(experiment, Problem(error.what, error.hint))
            return False
        identity = experiment.get("exp.id"), experiment.get("exp.log_file")
        first, same = self._logs.setdefault(log, (self.count, identity))
        if first != self.count:
            what = f"writes to the same log file as experiment {first}: {log}"
            hint = "make exp.log_file unique, for example with ${exp.id}"
            if None not in same and same == identity:
                what, hint = f"is equal to experiment {first}", "is a value given twice? -Pexp.repeats=2 repeats all"
            self._add(experiment, Problem(what, hint))
        elif experiment.get("exp.status") not in {"inactive", "simulate"}:
            try:
                check_replaceable(Path(log))
            except DlbsError as error:
                self._add(experiment, Problem(f"{error.where}: {error.what}", error.hint))
        return True

    def _without_links(self, log: Path) -> str:
        """The path of a log in a directory without links, in which two paths of the same log are equal."""
        directory, name = os.path.split(log)
        if directory not in self._directories:
            self._directories[directory] = os.path.realpath(directory)
        return os.path.join(self._directories[directory], name)


def checks_of(experiment: Experiment) -> tuple[Check, ...]:
    """The checks of every experiment, of its framework and of the kind of its pack, without duplicates."""
    framework = text(experiment.get("exp.framework"))
    found = [_COUNTS, *FRAMEWORK_CHECKS.get(framework, ())]
    if framework == "pack":
        from dlbs.packs.kinds import DIRECTORY_CHECK, kinds

        found.append(DIRECTORY_CHECK)
        kind = kinds().get(text(experiment.get("pack.kind")))  # a plan from elsewhere may have any
        if kind is not None:
            found += [*kind.checks, *FRAMEWORK_CHECKS.get(kind.runs_as, ())]
    return tuple(dict.fromkeys(found))


def _launcher(experiment: Experiment, site: Site) -> Problem | None:
    try:
        make_launcher(experiment, site.directory)
    except DlbsError as error:
        hint = error.hint
        framework = text(experiment.get("exp.framework"))
        if not experiment.get(f"{framework}.launcher") and not os.path.isfile(launcher_path(experiment)):
            frameworks = [path.stem for path in (dlbs_root() / "scripts" / "launchers").glob("*.sh")]
            hint = did_you_mean(framework, frameworks) or hint
        return Problem(f"{error.where}: {error.what}" if error.where else error.what, hint)
    return None


def _model(experiment: Experiment, site: Site) -> Problem | None:
    from dlbs.config.names import known_models, registered_in

    if text(experiment.get("serving.url")) and text(experiment.get("serving.protocol")) != "predict":
        return None  # a name that the server knows
    model, known = text(experiment.get("exp.model")), known_models()
    file = text(experiment.get("pytorch.architecture"))
    if file:
        path = site.directory / file
        if not path.is_file():
            hint = "set pytorch.architecture to a Python file that registers models"
            return Problem(f"file {file} does not exist", hint)
        known = {**known, **registered_in(path)}
    if not known or model in known or ":" in model:
        return None
    hint = did_you_mean(model, known, cutoff=0.5) or "dlbs help --models lists them"
    return Problem(f"unknown model {model!r}", hint)


def _counts(experiment: Experiment, site: Site) -> Problem | None:
    """Check that numbers of devices, which follow from `exp.gpus`, were not set to others: the log would have numbers of devices that did not run.

    `exp.gpus` only has numbers of NVIDIA's and AMD's GPUs; for other devices it is empty, and `exp.device_type` and `exp.num_local_gpus` say how many.
    """
    gpus, nodes = _gpus_per_node(experiment), experiment.get("exp.num_nodes") or 1
    counts = [experiment[name] for name in _DERIVED if name in experiment]
    if gpus is None or any(not isinstance(count, int) for count in (nodes, *counts)):  # of a plan without declarations
        return None
    named = text(experiment.get("exp.gpus")).strip()
    chosen = f"exp.gpus is {named}" if named else "exp.gpus is empty, which is the CPU"
    if not named and text(experiment.get("exp.device_type")) == "gpu" and experiment.get("exp.num_local_gpus", 0) > 0:
        gpus = experiment["exp.num_local_gpus"]
        chosen = f"exp.num_local_gpus is {gpus}"
    for name, expected, share in (("exp.num_local_gpus", gpus, 1), ("exp.num_gpus", gpus * nodes, nodes)):
        value = experiment.get(name, expected)
        if value != expected:
            wanted = f": for {value}, exp.gpus=any:{value // share}" if value > 0 and value % share == 0 else ""
            return Problem(f"{name} is {value}, but {chosen}", f"set exp.gpus, which determines it{wanted}")
    kind = text(experiment.get("exp.device_type"))
    if kind and kind != ("gpu" if gpus else "cpu"):
        return Problem(f"exp.device_type is {kind}, but {chosen}", "set exp.gpus, which determines it")
    local, replicas = experiment.get("exp.num_local_replicas"), experiment.get("exp.num_replicas")
    if local is not None and replicas is not None and replicas != local * nodes:
        there = "" if nodes == 1 else f" on each of {nodes} nodes"
        hint = "set exp.num_local_replicas, the replicas of one node" if not gpus else "set exp.gpus"
        return Problem(f"exp.num_replicas is {replicas}, but exp.num_local_replicas is {local}{there}", hint)
    return None


def _gpus_per_node(experiment: Experiment) -> int | None:
    """The number of GPUs that exp.gpus requests; None if it is malformed, which another check reports."""
    try:
        return Request.of({"exp.gpus": experiment.get("exp.gpus")}, allocated=True).any_gpus
    except LaunchError:
        return None


def _replicas(experiment: Experiment, site: Site) -> Problem | None:
    gpus = text(experiment.get("exp.gpus"))
    if ":" in gpus and not gpus.startswith("any:"):
        hint = "for two replicas of one GPU each, write 0,1"
        return Problem(f"exp.gpus is {gpus}, but a replica of pytorch_benchmarks uses one GPU", hint)
    count, replicas = _gpus_per_node(experiment), experiment.get("exp.num_local_replicas")
    if not count or replicas is None or replicas == count:
        return None
    what = f"exp.num_local_replicas is {replicas}, but exp.gpus selects {counted(count, 'GPU')}"
    return Problem(what, "a replica of pytorch_benchmarks uses one GPU: set exp.gpus alone")


def _data(experiment: Experiment, site: Site) -> Problem | None:
    data = text(experiment.get("pytorch.data_dir"))
    if data and not (site.directory / data).is_dir():
        hint = "set pytorch.data_dir; leave it empty for synthetic data"
        return Problem(f"data directory {data} does not exist", hint)
    if data and not os.access(site.directory / data, os.R_OK | os.X_OK):
        return Problem(f"data directory {data} cannot be read", "check its permissions")
    return None


def _training_data(experiment: Experiment, site: Site) -> Problem | None:
    if text(experiment.get("pytorch.data_dir")):
        return None
    return Problem("training needs data", "set pytorch.data_dir to a directory that contains train and val")


def _python(experiment: Experiment, site: Site) -> Problem | None:
    if experiment.get("exp.docker"):
        return None
    from shutil import which

    python = text(experiment.get("runtime.python"))
    if which(python) is None:
        return Problem(f"Python interpreter {python!r} not found", "set runtime.python")
    if not _has_torch(python, site.may_run):
        hint = f"run `{python} -m pip install 'dlbs[torch]'`, or set runtime.python"
        return Problem(f"{python} cannot import torch", hint)
    return None


@lru_cache(maxsize=16)
def _has_torch(python: str, may_run: bool) -> bool:
    """Whether an interpreter can find torch. Importing it would take seconds."""
    import importlib.util
    from shutil import which

    if python == sys.executable:
        return importlib.util.find_spec("torch") is not None
    if may_run:
        program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
        return subprocess.run([python, "-c", program], capture_output=True, check=False).returncode == 0
    found = Path(which(python) or python)
    prefixes = [found.parent.parent, found.resolve().parent.parent, Path.home() / ".local", Path("/usr/local")]
    return any(
        next(prefix.glob(f"lib/python3*/{packages}/torch/__init__.py"), None)
        for prefix in prefixes
        for packages in ("site-packages", "dist-packages")
    )


def _command(experiment: Experiment, site: Site) -> Problem | None:
    """Check that a command is set and its program exists on this machine; programs in containers are not checked."""
    from shutil import which

    command = [text(word) for word in experiment.get("command.argv") or []]
    if not command or not command[0]:
        return Problem("no command is set", "add it after --, or set command.argv")
    warmup = text(experiment.get("exp.num_warmup_batches"))
    if not warmup.isdigit():
        return Problem(f"exp.num_warmup_batches is {warmup}, but commands require a number", "set a number of runs")
    for word in command:
        for name in placeholders([word]) if re.fullmatch(r"[\w=:,./{}-]+", word) else ():
            if name in experiment and f"{{{{{name}}}}}" not in text(experiment.get("command.line")):
                return Problem(f"command.argv: {{{name}}} is literal text", f"in files, write ${{{name}}}")
    if experiment.get("exp.docker"):
        return (
            None
            if experiment.get("exp.docker_image")
            else Problem("a command in a container needs an image", "set exp.docker_image")
        )
    for words, where in ((command, ""), *((experiment.get(name), name) for name in _HELPERS)):
        if words and which(program := text(words[0]), path=_search_path(experiment)) is None:
            hint = "shell built-ins and pipes need a shell: -- bash -c 'COMMAND'"
            if which((program.split() or [""])[0], path=_search_path(experiment)) and " " in program:
                hint = f"remove the quotes around the whole command: -- {program}"
            return Problem(f"{f'{where}: ' if where else ''}program {program!r} not found", hint)
    return None


def _search_path(experiment: Experiment) -> str | None:
    """PATH of an experiment; None for that of this process."""
    own = dict(environment(experiment)).get("PATH")
    return own.replace("$PATH", os.environ.get("PATH", "")) if own else None


_OF_FRAMEWORKS = tuple(f"{FRAMEWORK}.{name}" for name in ("launcher", "env", "variables"))
_LAUNCHER = Check(("exp.framework", "exp.phase", "exp.docker", "exp.pack", *_OF_FRAMEWORKS), _launcher)
_HELPERS = ("command.prepare", "command.cleanup")
_MODEL = Check(("exp.model", "pytorch.architecture", "serving.url", "serving.protocol"), _model)
_DERIVED = ("exp.num_local_gpus", "exp.num_gpus", "exp.num_local_replicas", "exp.num_replicas")
_COUNTS = Check(("exp.gpus", "exp.num_nodes", "exp.device_type", *_DERIVED), _counts)
_REPLICAS = Check(("exp.gpus", "exp.num_local_replicas"), _replicas)

_COMMAND = Check(
    (
        "command.argv", "command.line", *_HELPERS, "command.env", "runtime.env.PATH", "exp.docker", "exp.docker_image",
        "exp.num_warmup_batches",
    ),
    _command,
)  # fmt: skip
_DATA = Check(("pytorch.data_dir",), _data)
_TRAINING_DATA = Check(("pytorch.data_dir",), _training_data)
_PYTHON = Check(("runtime.python", "exp.docker"), _python)
FRAMEWORK_CHECKS: dict[str, tuple[Check, ...]] = {
    "pytorch": (_MODEL, _REPLICAS, _DATA, _PYTHON),
    "train": (_MODEL, _REPLICAS, _TRAINING_DATA, _DATA, _PYTHON),
    "onnxruntime": (NOT_SERVING,),
    "jax": (NOT_SERVING,),
    "command": (_COMMAND,),
}
