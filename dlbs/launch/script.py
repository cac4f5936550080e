"""From a resolved experiment to the shell script that runs it.

Launchers are Jinja2 templates. Whatever a template prints is quoted for the shell unless a filter of ours did so already, so a
value cannot become code by a forgotten filter; and they are rendered in a sandbox, since a plan may name a stranger's template.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.errors import LaunchError, did_you_mean
from dlbs.experiment import Experiment
from dlbs.files import dlbs_root
from dlbs.launch.container import container_name
from dlbs.logs import parameter_line
from dlbs.machine.devices import cuda_name
from dlbs.machine.resources import gpu_ids, memory_size
from dlbs.text import text

__all__ = ["Launcher", "environment", "launcher_path", "make_launcher"]

# Two settings of glibc; raising the trim threshold alone makes things worse. Measured with alexnet training on two cores: 492 ms
# a batch without, 345 ms with them.
_MALLOC_KEEP = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
_OUTCOME = frozenset({"exp.status", "exp.status_msg"})  # are not known before the end; a log says each once
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Launcher:
    """One experiment, ready to run.

    Attributes:
        experiment: Final values of its parameters.
        log: Its log file.
        script: Where the launcher is written: beside the log.
        source: The launcher's text.
    """

    experiment: Experiment
    log: Path
    script: Path
    source: str


class _Shell(str):
    """Text that is shell code already."""


class _Namespace:
    """`exp.model` in a template, for parameters whose names have dots in them."""

    def __init__(self, values: Mapping[str, Any], prefix: str) -> None:
        self._values = values
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        full = f"{self._prefix}.{name}"
        if full in self._values:
            return self._values[full]
        if not name.startswith("_") and any(known.startswith(full + ".") for known in self._values):
            return _Namespace(self._values, full)
        raise AttributeError(full)


def launcher_path(experiment: Experiment) -> Path:
    """`F.launcher`, or `scripts/launchers/F.sh` for a framework F that does not set it."""
    framework = experiment.get("exp.framework", "")
    own = experiment.get(f"{framework}.launcher")
    return Path(own) if own else dlbs_root() / "scripts" / "launchers" / f"{framework}.sh"


def make_launcher(experiment: Experiment, directory: Path | None = None) -> Launcher:
    """Render the launcher of an experiment.

    Args:
        experiment: Final values.
        directory: Where the experiment runs; the current directory by default.

    Raises:
        LaunchError: The launcher is missing or malformed, or uses a parameter that the experiment lacks.
    """
    directory = Path.cwd() if directory is None else directory
    log = directory / str(experiment["exp.log_file"])
    source = _render(experiment, directory)
    return Launcher(experiment, log, Path(f"{log}.sh"), source)


def _render(experiment: Experiment, directory: Path) -> str:
    import jinja2

    path = launcher_path(experiment)
    if not path.is_file():
        raise LaunchError(
            f"no launcher {path} for framework {experiment.get('exp.framework')!r}",
            hint=f"set {experiment.get('exp.framework')}.launcher to a template or an executable",
        )
    executable = os.access(path, os.X_OK)
    variables = environment(experiment)
    extended = {name: code for name, value in variables if (code := _extension(name, value))}
    context = {
        **{root: _Namespace(experiment, root) for root in {name.split(".")[0] for name in experiment if "." in name}},
        **{name: value for name, value in experiment.items() if "." not in name},
        "parameters": experiment,
        "parameter_lines": _Shell(
            "\n".join(parameter_line(name, experiment[name]) for name in experiment if name not in _OUTCOME)
        ),
        "environment": [(name, value) for name, value in variables if name not in extended],
        "extended": list(extended.items()),
        "extend": "".join(f"export {_variable(name)}={code}; " for name, code in extended.items()),
        "docker_gpus": _docker_gpus(experiment),
        "container": container_name(experiment, directory / str(experiment["exp.log_file"])),
        "user": f"{os.getuid()}:{os.getgid()}",
        "memory": memory_size(text(experiment.get("runtime.memory"))),
        "directory": str(directory),
        "launcher": str(path.resolve()),
        "options": list(_options(experiment)) if executable else [],
    }
    try:
        template = _template(str(dlbs_root() / "scripts" / "launchers" / "executable.sh" if executable else path))
        return str(template.render(context))
    except jinja2.TemplateSyntaxError as error:
        raise LaunchError(f"malformed template: {error.message}", where=f"{path}:{error.lineno}") from None
    except jinja2.UndefinedError as error:
        raise _missing(str(error), experiment, str(path)) from None
    except jinja2.TemplateError as error:
        raise LaunchError(f"cannot be rendered: {error}", where=str(path)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise LaunchError(f"cannot be rendered: {type(error).__name__}: {error}", where=str(path)) from None


def _missing(name: str, experiment: Experiment, where: str) -> LaunchError:
    """The error for a parameter that a template uses and the experiment lacks, because it belongs to another framework or to none."""
    from dlbs.config.load import load_config

    declarations = load_config().declarations
    one = declarations.get(name)
    found = [one] if one else [one for known, one in declarations.items() if known.startswith(f"{name}.")]
    owners = sorted({framework for one in found for framework in one.frameworks})
    if not owners:
        hint = did_you_mean(name, experiment) or "set it with -P, or declare it in a configuration"
        return LaunchError(f"uses {name!r}, which the experiment lacks", where=where, hint=hint)
    framework = text(experiment.get("exp.framework"))
    set_it = f"set {name}, or " if one else ""
    return LaunchError(
        f"uses '{name if one else f'{name}.*'}', of the framework {' and '.join(owners)}, in an experiment of the framework {framework}",
        where=where,
        hint=f"{set_it}write 'frameworks: {{{framework}: [{', '.join(owners)}]}}' into a configuration file",
    )


@lru_cache(maxsize=64)
def _template(path: str) -> Any:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    class Undefined(jinja2.StrictUndefined):
        @property
        def _undefined_message(self) -> str:
            """The full name of the parameter that was looked for, or why the sandbox refuses it."""
            if self._undefined_hint:
                return str(self._undefined_hint)
            owner = self._undefined_obj
            name = str(self._undefined_name)
            return f"{owner._prefix}.{name}" if isinstance(owner, _Namespace) else name

    directories = [str(Path(path).parent), str(dlbs_root() / "scripts" / "launchers")]
    made = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(directories),
        undefined=Undefined,
        finalize=_quoted,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(sh=_quoted, words=_words, variable=_variable, arguments=_arguments)
    return made.get_template(Path(path).name)


def _quoted(value: Any) -> str:
    """One shell word, whatever the value has in it."""
    if isinstance(value, _Shell):
        return value
    word = str(value) if type(value).__name__ == "Undefined" else text(value)  # str() of it raises, with the name
    if "\0" in word:
        raise LaunchError("a NUL character cannot be handed to a program", hint="remove it from the parameter's value")
    return _Shell(shlex.quote(word))


def _words(values: Any) -> str:
    """A list as shell words, one for each element that is not empty."""
    items = shlex.split(values) if isinstance(values, str) else values
    return _Shell(" ".join(_quoted(item) for item in items if text(item) != ""))


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """Options of a program as `--name=value`; those that are empty are left out."""
    return [f"--{name}={text(value)}" for name, value in options.items() if value not in (None, "", [], {})]


def _variable(name: Any) -> str:
    if not _VARIABLE.fullmatch(str(name)):
        raise LaunchError(f"{name!r} is not the name of an environment variable")
    return _Shell(name)


def _options(experiment: Experiment) -> Iterator[str]:
    """`--exp_model alexnet` for each parameter, for launchers that are programs."""
    for name, value in experiment.items():
        yield f"--{name.replace('.', '_')}"
        # Programs append results to the file that exp.log_file names, so it is the one that is being written. An empty word would be
        # dropped from a list of words; programs need it to stay in step.
        yield _Shell('"$log"') if name == "exp.log_file" else _quoted(value)


def _docker_gpus(experiment: Experiment) -> list[str]:
    ids = _gpus(experiment)
    return ["--gpus", f'"device={",".join(map(cuda_name, ids))}"'] if ids else []


def _gpus(experiment: Experiment) -> list[int]:
    """The GPUs that it got; of those that may be any, none before it runs."""
    gpus = text(experiment.get("exp.gpu_ids") or experiment.get("exp.gpus"))
    return [] if gpus.startswith("any:") else gpu_ids(gpus)


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
    if not in_docker:  # in a container the devices that it is given are numbered from 0
        gpus = _gpus(experiment)
        if gpus:  # as nvidia-smi numbers them; CUDA's own order puts the fastest first
            found.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        found["CUDA_VISIBLE_DEVICES"] = ",".join(map(cuda_name, gpus))
    if experiment.get("runtime.cuda_cache"):
        found["CUDA_CACHE_PATH"] = "/workspace/cuda_cache" if in_docker else text(experiment["runtime.cuda_cache"])
    return list(found.items())


def _extension(name: str, value: str) -> str:
    """Shell code for `/x:$NAME`, `$NAME:/x` or `/x:$NAME:/y`: the value around the one that the variable NAME has; empty for others."""
    parts = value.split(":")
    if parts.count(f"${name}") != 1 or len(parts) == 1 or not _VARIABLE.fullmatch(name):
        return ""
    at = parts.index(f"${name}")
    before, after = [":".join(around) for around in (parts[:at], parts[at + 1 :])]
    if not before:
        return _Shell(f'"${{{name}:+${name}:}}"{shlex.quote(after)}')
    behind = shlex.quote(f":{after}") if after else ""
    return _Shell(f'{shlex.quote(before)}"${{{name}:+:${name}}}"{behind}')


def _assignments(name: str, given: Any) -> Iterator[tuple[str, str]]:
    """`export A=1; export B='x y'`, or a mapping."""
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
        if not equals or not _VARIABLE.fullmatch(variable):
            raise LaunchError(
                f"{name} has {word!r}, which sets no variable", hint="write export NAME=value, or a JSON object"
            )
        yield variable, value
