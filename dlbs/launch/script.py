"""Render the shell script that runs a resolved experiment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.gpus import cuda_name, docker_name
from benchmark_core.log import key_line
from dlbs.core.errors import InfrastructureError, LaunchError, did_you_mean
from dlbs.core.experiment import Experiment, log_path
from dlbs.core.files import dlbs_root
from dlbs.core.text import text
from dlbs.launch.containers import container_name, gpu_arguments
from dlbs.launch.template import VARIABLE, namespaces, render
from dlbs.launch.words import Code, Words
from dlbs.machine.resources import gpu_ids, memory_size

# Two settings of glibc; raising the trim threshold alone is slower. Measured with alexnet training on two cores: 492 ms
# per batch without, 345 ms with them.
_MALLOC_KEEP = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
_read: set[Path] = set()  # launchers that existed: without them the machine has failed, not the experiment
_OUTCOME = frozenset({"exp.status", "exp.status_msg"})  # unknown before the end; a log contains each once


class Launcher(NamedTuple):
    """One experiment, ready to run.

    Attributes:
        experiment: Final values of its parameters.
        log: Its log file.
        script: Path of the launcher, in the directory of the log.
        source: The text of the launcher.
    """

    experiment: Experiment
    log: Path
    script: Path
    source: str


def launcher_path(experiment: Experiment) -> Path:
    """The path of a framework F's launcher: `F.launcher`, or `scripts/launchers/F.sh` if that is not set."""
    framework = experiment.get("exp.framework", "")
    own = experiment.get(f"{framework}.launcher")
    return Path(own) if own else dlbs_root() / "scripts" / "launchers" / f"{framework}.sh"


def expect_launcher(experiment: Experiment) -> None:
    """Note that the launcher existed when the plan began, so that it is a fault of the machine if it is missing."""
    _read.add(launcher_path(experiment))


def make_launcher(experiment: Experiment, directory: Path | None = None) -> Launcher:
    """Render the launcher of an experiment.

    Args:
        experiment: Final values.
        directory: Base of relative paths, also of `exp.working_dir`; the current directory by default.

    Raises:
        LaunchError: The launcher is missing or malformed, or uses a parameter that the experiment lacks.
    """
    directory = Path.cwd() if directory is None else directory
    log = log_path(experiment, directory)
    source = _render(experiment, directory)
    return Launcher(experiment, log, Path(f"{log}.sh"), source)


def _render(experiment: Experiment, directory: Path) -> str:
    path = launcher_path(experiment)
    if not os.path.isfile(path):  # unlike Path.is_file, it accepts names that are invalid for files
        framework = experiment.get("exp.framework", "")
        if experiment.get(f"{framework}.launcher"):
            hint = f"set {framework}.launcher to a template or an executable"
        else:
            ours = [one.stem for one in Path(path).parent.glob("*.sh")]
            own = f"{framework} is not included in DLBS: write a launcher and set NAME.launcher, see docs/launchers.md"
            hint = did_you_mean(text(framework), ours) or own
        kind = InfrastructureError if path in _read else LaunchError
        raise kind(f"no launcher {path} for framework {framework!r}", hint=hint)
    _read.add(path)
    executable = os.access(path, os.X_OK)
    variables = environment(experiment)
    extended = {name: code for name, value in variables if (code := _extension(name, value))}
    gpus = list(map(docker_name, _gpus(experiment)))
    context = {
        **namespaces(experiment),
        "parameters": experiment,
        "parameter_lines": "\n".join(key_line(name, experiment[name]) for name in experiment if name not in _OUTCOME),
        "environment": [(name, value) for name, value in variables if name not in extended],
        "extended": list(extended.items()),
        "extend": "".join(f"export {name}={code}; " for name, code in extended.items()),
        "docker_gpus": gpu_arguments(text(experiment.get("exp.docker_launcher")), gpus),
        "docker_gpu_names": ",".join(gpus),
        "container": container_name(experiment, log_path(experiment, directory)),
        "user": f"{os.getuid()}:{os.getgid()}",
        "memory": memory_size(text(experiment.get("runtime.memory"))),
        "directory": str(directory / text(experiment.get("exp.working_dir"))),
        "launcher": _resolved(path),
        "options": Words(list(_options(experiment))) if executable else [],
    }
    template = dlbs_root() / "scripts" / "launchers" / "executable.sh" if executable else path
    return render(template, context, lambda name: _missing(name, experiment, str(path)))


@lru_cache(maxsize=64)
def _resolved(path: Path) -> str:
    return str(path.resolve())


def _missing(name: str, experiment: Experiment, where: str) -> LaunchError:
    """The error for a parameter that a template uses and the experiment lacks: it belongs to another framework or is undefined."""
    from dlbs.config.load import load_config

    declarations = load_config().declarations
    one = declarations.get(name)
    found = [one] if one else [one for known, one in declarations.items() if known.startswith(f"{name}.")]
    owners = sorted({framework for one in found for framework in one.frameworks})
    if not owners:
        hint = did_you_mean(name, experiment) or "set it with -P, or declare it in a configuration"
        return LaunchError(f"uses {name!r}, which the experiment lacks", where=where, hint=hint)
    framework = text(experiment.get("exp.framework"))
    if framework in owners:
        hint = "dlbs build writes plans that contain it; or set it with -P"
        return LaunchError(f"uses {name!r}, which the experiment lacks", where=where, hint=hint)
    set_it = f"set {name}, or " if one else ""
    # `models` is the common part of frameworks with models, not a framework.
    of = "frameworks with models" if owners == ["models"] else f"the framework {' and '.join(owners)}"
    return LaunchError(
        f"uses '{name if one else f'{name}.*'}', of {of}, in an experiment of the framework {framework}",
        where=where,
        hint=f"{set_it}add 'frameworks: {{{framework}: [{', '.join(owners)}]}}' to a configuration file",
    )


def _options(experiment: Experiment) -> Iterator[Any]:
    """Parameters as options, `--exp_model alexnet`, for launchers that are programs."""
    for name, value in experiment.items():
        yield f"--{name.replace('.', '_')}"
        # Programs append results to the file that exp.log_file names, so it must be the one that is being written.
        yield Code('"$log"') if name == "exp.log_file" else value


def _gpus(experiment: Experiment) -> list[int]:
    """The assigned GPUs; `any` GPUs are not assigned before the experiment runs."""
    gpus = text(experiment.get("exp.gpu_ids") or experiment.get("exp.gpus"))
    return [] if gpus.startswith("any:") else gpu_ids(gpus)


def _gpu_names(experiment: Experiment, gpus: list[int]) -> list[str]:
    """Entries of CUDA_VISIBLE_DEVICES; this machine's own variable says nothing about other machines (`exp.nodes`)."""
    return [str(gpu) if experiment.get("exp.nodes") else cuda_name(gpu) for gpu in gpus]


def environment(experiment: Experiment) -> list[tuple[str, str]]:
    """The environment variables of an experiment: `F.env`, `F.variables`, `runtime.env.*`, its GPUs and CUDA's cache."""
    framework = experiment.get("exp.framework", "")
    found = dict(_MALLOC_KEEP) if experiment.get("runtime.malloc") == "keep" else {}
    found.update(_assignments(f"{framework}.env", experiment.get(f"{framework}.env") or {}))
    found.update(_assignments(f"{framework}.variables", experiment.get(f"{framework}.variables") or {}))
    for name, value in experiment.items():
        if name.startswith("runtime.env.") and text(value) != "":
            found[name.removeprefix("runtime.env.")] = text(value)
    in_docker = bool(experiment.get("exp.docker"))
    if not in_docker:  # in a container the assigned devices are numbered from 0
        gpus = _gpus(experiment)
        if gpus:  # the numbering of nvidia-smi; CUDA's default order puts the fastest first
            found.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        if gpus or not text(experiment.get("exp.gpus")).startswith("any:"):  # assigned later (--dry-run): hide none
            found["CUDA_VISIBLE_DEVICES"] = ",".join(_gpu_names(experiment, gpus))
    if experiment.get("runtime.cuda_cache"):
        found["CUDA_CACHE_PATH"] = "/workspace/cuda_cache" if in_docker else text(experiment["runtime.cuda_cache"])
    return list(found.items())


def _extension(name: str, value: str) -> str:
    """Shell code for `/x:$NAME`, `$NAME:/x` or `/x:$NAME:/y`: the value extends that of the variable NAME; empty for other values."""
    parts = value.split(":")
    if parts.count(f"${name}") != 1 or len(parts) == 1 or not VARIABLE.fullmatch(name):
        return ""
    at = parts.index(f"${name}")
    before, after = [":".join(around) for around in (parts[:at], parts[at + 1 :])]
    if not before:
        return Code(f'"${{{name}:+${name}:}}"{shlex.quote(after)}')
    behind = shlex.quote(f":{after}") if after else ""
    return Code(f'{shlex.quote(before)}"${{{name}:+:${name}}}"{behind}')


def _assignments(name: str, given: Any) -> Iterator[tuple[str, str]]:
    """Parse variables given as `export A=1; export B='x y'` or as a mapping."""
    if isinstance(given, Mapping):
        yield from ((str(key), text(value)) for key, value in given.items())
        return
    try:
        words = shlex.split(text(given).replace(";", " ; ").replace("\n", " ; "))
    except ValueError as error:
        raise LaunchError(f"{name} is malformed: {error}", hint="write export NAME=value") from None
    for word in words:
        if word in {"export", ";"}:
            continue
        variable, equals, value = word.partition("=")
        if not equals or not VARIABLE.fullmatch(variable):
            raise LaunchError(
                f"{name} contains {word!r}, which sets no variable", hint="write export NAME=value, or a JSON object"
            )
        yield variable, value
