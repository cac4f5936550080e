"""Checks before experiments run, on any executor: of all of them, and one table for frameworks, one for kinds of packs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from dlbs.config.models import known_models, registered_in
from dlbs.errors import DlbsError, did_you_mean
from dlbs.executors.base import Check, Problem, Site
from dlbs.experiment import Experiment
from dlbs.jsonio import load_json
from dlbs.launch.script import environment
from dlbs.machine.resources import gpu_ids
from dlbs.text import counted, text

__all__ = ["FRAMEWORK_CHECKS", "PACK_CHECKS", "checks_of"]


def checks_of(experiment: Experiment) -> tuple[Check, ...]:
    """The checks of every experiment, of its framework and of the kind of its pack, without duplicates."""
    framework, kind = text(experiment.get("exp.framework")), text(experiment.get("pack.kind"))
    found = (_COUNTS, *FRAMEWORK_CHECKS.get(framework, ()), *PACK_CHECKS.get(kind, ()))
    return tuple(dict.fromkeys(found))


def _model(experiment: Experiment, site: Site) -> Problem | None:
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
    gpus = text(experiment.get("exp.gpus")).strip()
    try:
        return int(gpus.removeprefix("any:")) if gpus.startswith("any:") else len(gpu_ids(gpus))
    except (DlbsError, ValueError):
        return None


def _not_serving(experiment: Experiment, site: Site) -> Problem | None:
    if text(experiment.get("exp.phase")) != "serving":
        return None
    name = text(experiment.get("exp.pack")) or text(experiment.get("exp.framework"))
    return Problem(f"{name} does not support the phase serving", "set exp.framework=pytorch, or another exp.phase")


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
    python = text(experiment.get("runtime.python"))
    if shutil.which(python) is None:
        return Problem(f"Python interpreter {python!r} not found", "set runtime.python")
    if not _has_torch(python, site.may_run):
        hint = f"run `{python} -m pip install 'dlbs[torch]'`, or set runtime.python"
        return Problem(f"{python} cannot import torch", hint)
    return None


@lru_cache(maxsize=16)
def _has_torch(python: str, may_run: bool) -> bool:
    """Whether an interpreter can find torch. Importing it would take seconds."""
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


def _pack_directory(experiment: Experiment, site: Site) -> Problem | None:
    directory = text(experiment.get("pack.dir"))
    if Path(directory).is_dir():
        return None
    what = f"the directory of pack {text(experiment.get('exp.pack'))} does not exist: {directory}"
    return Problem(what, "`dlbs pack list` shows the packs that were found")


def _pack_container(experiment: Experiment, site: Site) -> Problem | None:
    if _pack_directory(experiment, site) is not None:
        return None
    name = text(experiment.get("exp.pack"))
    if not experiment.get("exp.docker"):
        return Problem(f"{name} is a container pack", "remove exp.docker=false")
    inputs = Path(text(experiment.get("pack.inputs")) or Path(text(experiment["pack.dir"])) / "inputs.jsonl")
    if not inputs.is_file():
        return Problem(f"{name} has no inputs: {inputs}", "create it with one JSON object per line, or set pack.inputs")
    return None


def _pack_installed(experiment: Experiment, site: Site) -> Problem | None:
    """Check that its environment exists and has what it needs, unless it runs with the Python of an image."""
    if experiment.get("exp.docker") or _pack_directory(experiment, site) is not None:
        return None
    name, python = text(experiment.get("exp.pack")), text(experiment.get("pack.python"))
    note = text(experiment.get("pack.install_note"))
    if experiment.get("pack.start") or (
        shutil.which(python) and (not note or text(experiment.get("pack.name")) in _installed(note))
    ):
        return None
    return Problem(f"{name} is not installed", f"run dlbs pack install {name}")


def _installed(note: str) -> frozenset[str]:
    """The packs whose requirements are in an environment."""
    try:
        return frozenset(load_json(Path(note).read_text(encoding="utf-8"))["packs"])
    except (OSError, ValueError, TypeError, KeyError):  # as `dlbs pack install`, which writes it, reads it
        return frozenset()


def _command(experiment: Experiment, site: Site) -> Problem | None:
    """Check that a command is set and its program exists on this machine; programs in containers are not checked."""
    command = [text(word) for word in experiment.get("command.argv") or []]
    if not command or not command[0]:
        return Problem("no command is set", "add it after --, or set command.argv")
    warmup = text(experiment.get("exp.num_warmup_batches"))
    if not warmup.isdigit():
        return Problem(f"exp.num_warmup_batches is {warmup}, but commands require a number", "set a number of runs")
    if experiment.get("exp.docker"):
        return (
            None
            if experiment.get("exp.docker_image")
            else Problem("a command in a container needs an image", "set exp.docker_image")
        )
    for words, where in ((command, ""), *((experiment.get(name), name) for name in _HELPERS)):
        if words and shutil.which(program := text(words[0]), path=_search_path(experiment)) is None:
            hint = "shell built-ins and pipes need a shell: -- bash -c 'COMMAND'"
            return Problem(f"{f'{where}: ' if where else ''}program {program!r} not found", hint)
    return None


def _search_path(experiment: Experiment) -> str | None:
    """PATH of an experiment; None for that of this process."""
    own = dict(environment(experiment)).get("PATH")
    return own.replace("$PATH", os.environ.get("PATH", "")) if own else None


_HELPERS = ("command.prepare", "command.cleanup")
_PACK = ("exp.pack", "pack.dir")
_MODEL = Check(("exp.model", "pytorch.architecture"), _model)
_NOT_SERVING = Check(("exp.phase", "exp.framework", "exp.pack"), _not_serving)
_DERIVED = ("exp.num_local_gpus", "exp.num_gpus", "exp.num_local_replicas", "exp.num_replicas")
_COUNTS = Check(("exp.gpus", "exp.num_nodes", "exp.device_type", *_DERIVED), _counts)
_REPLICAS = Check(("exp.gpus", "exp.num_local_replicas"), _replicas)
_COMMAND = Check(
    (
        "command.argv", *_HELPERS, "command.env", "runtime.env.PATH", "exp.docker", "exp.docker_image",
        "exp.num_warmup_batches",
    ),
    _command,
)  # fmt: skip
_DATA = Check(("pytorch.data_dir",), _data)
_TRAINING_DATA = Check(("pytorch.data_dir",), _training_data)
_PYTHON = Check(("runtime.python", "exp.docker"), _python)
_PACK_DIRECTORY = Check(_PACK, _pack_directory)
_PACK_CONTAINER = Check((*_PACK, "exp.docker", "pack.inputs"), _pack_container)
_PACK_INSTALLED = Check(
    (*_PACK, "exp.docker", "pack.name", "pack.start", "pack.python", "pack.install_note"), _pack_installed
)

FRAMEWORK_CHECKS: dict[str, tuple[Check, ...]] = {
    "pytorch": (_MODEL, _REPLICAS, _DATA, _PYTHON),
    "train": (_MODEL, _REPLICAS, _TRAINING_DATA, _DATA, _PYTHON),
    "onnxruntime": (_NOT_SERVING,),
    "jax": (_NOT_SERVING,),
    "pack": (_PACK_DIRECTORY,),
    "command": (_COMMAND,),
}

PACK_CHECKS: dict[str, tuple[Check, ...]] = {
    "benchmark": (_PACK_INSTALLED,),
    "model": (_NOT_SERVING, _PACK_INSTALLED),
    "architecture": (_PACK_INSTALLED, _MODEL, _REPLICAS, _DATA, _PYTHON),
    "container": (_PACK_CONTAINER,),
}
