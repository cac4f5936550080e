"""Turn packs into parameters: an extension for each pack that a plan may name, overridden by anything the user sets."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, Extension, values_of
from dlbs.config.models import registered_in
from dlbs.config.names import check_names
from dlbs.errors import ConfigError
from dlbs.files import read_source
from dlbs.packs import definition
from dlbs.packs.arguments import filled_argv
from dlbs.packs.batch_sizes import default_batch_sizes
from dlbs.packs.definition import Pack, find_pack, find_packs
from dlbs.packs.places import Places

__all__ = [
    "add_packs",
    "chosen_packs",
    "constant_argv",
    "imports",
    "needs_environment",
    "option_name",
    "parameters_of",
    "starts_itself",
    "uses_voir",
]

_BUILDS_ON = {"model": ("pytorch",), "architecture": ("pytorch",)}  # kinds of packs that pytorch_benchmarks runs


def add_packs(config: Config) -> None:
    """Insert the extensions of the packs that a configuration names before its own extensions.

    Values that the user sets, in a file or on the command line, win.

    Raises:
        ConfigError: A pack is unknown, or its definition is malformed.
    """
    names = _named(config)
    if not names:
        return
    places = Places.of()
    given = {name for name in config.settings if not config.is_shipped(name)}
    given |= {name.strip() for key in config.variables for name in key.split(",")}
    extensions = []
    for name in names:
        pack = find_pack(name)
        if pack.num_machines > 1:
            raise ConfigError(
                f"{pack.name} requires {pack.num_machines} machines; packs run on one machine only", where=pack.where
            )
        pack = replace(pack, argv=filled_argv(pack, places))
        config.packs[name] = _BUILDS_ON.get(pack.kind, ())
        parameters = {key: value for key, value in _parameters(pack, places, given).items() if key not in given}
        check_names(config, parameters, pack.where)
        cases = [] if "exp.job" in given else _cases(pack, given)
        extensions.append(
            Extension({"exp.framework": "pack", "exp.pack": re.escape(name)}, parameters, cases, pack.where)
        )
    config.extensions[:0] = extensions


def chosen_packs(select: Iterable[str], exclude: Iterable[str]) -> list[str]:
    """The names of selected packs.

    Raises:
        ConfigError: A word matches no pack, or no pack is left.
    """
    chosen = [pack.name for pack in definition.select(find_packs().values(), select, exclude)]
    if not chosen:
        raise ConfigError("no pack is left", where="--exclude", hint="run dlbs pack list")
    return chosen


def parameters_of(pack: Pack) -> dict[str, Any]:
    """The default parameters of a pack."""
    places = Places.of()
    return _parameters(replace(pack, argv=filled_argv(pack, places)), places, set())


def _named(config: Config) -> list[str]:
    """Values that exp.pack may have in experiments of the framework `pack`."""
    frameworks = values_of(config, "exp.framework")
    if "pack" not in frameworks:
        return []
    names = [str(name) for name in values_of(config, "exp.pack") if name not in (None, "")]
    if not names:
        raise ConfigError(
            "no pack is chosen", where="exp.pack", hint="set -Pexp.pack=NAME or --select NAME,...; run dlbs pack list"
        )
    return list(dict.fromkeys(names))


def option_name(option: str) -> str:
    """The parameter of an option: `argv.batch_size` for `--batch-size`."""
    return "argv." + re.sub(r"[^A-Za-z0-9]+", "_", option).strip("_")


def _parameters(pack: Pack, places: Places, given: set[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "pack.name": pack.name,
        "pack.dir": str(pack.directory),
        "pack.definition": str(pack.file),
        "pack.kind": pack.kind,
        "pack.group": pack.install_group,
        "pack.tags": list(pack.tags),
        "pack.python": str(places.python(pack)),
        "pack.install_note": "" if "pack.python" in given else str(places.note(pack, "install")),
        "pack.variables": places.variables(pack),
        "pack.uses_voir": uses_voir(pack.directory),
        "pack.has_voirfile": (pack.directory / "voirfile.py").is_file(),
        "pack.start": starts_itself(pack.directory),
        "exp.model": pack.name,
        "exp.weight": pack.weight,
        "exp.timeout": pack.max_duration,
    }
    if pack.shares_torch:
        parameters["exp.docker_image"] = "${pytorch.docker_image}"
    if not needs_environment(pack):
        parameters.update({"pack.python": "${runtime.python}", "pack.install_note": ""})
    if pack.kind == "model":
        return {**parameters, **_model(pack, given)}
    if pack.kind == "architecture":
        return {**parameters, **_architecture(pack)}
    if pack.kind == "benchmark":  # it has an environment; an image must be set
        parameters["exp.docker"] = "exp.docker_image" in given
    if pack.kind == "container":
        parameters.update(
            {
                "exp.docker": True,
                "exp.phase": "inference",
                "pack.predictor": pack.predictor,
                "exp.docker_image": pack.image,
                "exp.replica_batch": 16,
                "exp.num_batches": 10,
                "exp.num_warmup_batches": 1,
            }
        )
    parameters.update({f"voir.{name}": value for name, value in pack.voir.items()})
    if parameters["pack.has_voirfile"] or parameters["pack.start"]:
        chosen = {name.removeprefix("voir.") for name in given if name.startswith("voir.")}
        parameters["pack.voir_options"] = sorted(chosen | set(pack.voir))
    if isinstance(pack.argv, list):
        parameters["pack.argv"] = [_text(word) for word in pack.argv]
        return parameters
    words = []
    for option, value in pack.argv.items():
        name = option_name(str(option))
        parameters[name] = value
        # A flag without a value: null and true add it, false omits it.
        if value is None or isinstance(value, bool):
            parameters[name] = value is not False
            words.append(f"$({str(option)!r} if boolean(${{{name}}}) else None)$")
        else:
            words += [str(option), f"${{{name}}}"]
    parameters["pack.argv"] = words
    if pack.kind != "container":  # a container's batch is one request, which its model may divide
        _join_batch(parameters, given)
    return parameters


def _model(pack: Pack, given: set[str]) -> dict[str, Any]:
    """The parameters of a model pack. The batch sizes in its source become those of the plan, so that names and tables show them."""
    parameters: dict[str, Any] = {"pack.argv": constant_argv(pack), "pack.own_batch": False}
    if "exp.replica_batch" in given:
        return parameters
    sizes = default_batch_sizes(pack.directory)
    if sizes:
        training, inference = (sizes.get(phase, 0) for phase in ("training", "inference"))
        parameters["exp.replica_batch"] = (
            f"$({training or inference} if '${{exp.phase}}' == 'training' else {inference or training})$"
        )
        parameters["pack.own_batch"] = (
            False if training and inference else f"$('${{exp.phase}}' != '{'training' if training else 'inference'}')$"
        )
    else:
        parameters["pack.own_batch"] = True
    return parameters


def _architecture(pack: Pack) -> dict[str, Any]:
    """The parameters of an architecture pack: an additional model of pytorch_benchmarks.

    Raises:
        ConfigError: `argv` is a list instead of a mapping.
    """
    file = pack.directory / "architecture.py"
    models = registered_in(file)
    if not isinstance(pack.argv, dict):
        raise ConfigError("argv of an architecture must be a mapping of its builder's options", where=pack.where)
    # It runs like a model of pytorch_benchmarks, except for the file that registers it.
    parameters: dict[str, Any] = {"pack.launcher": "${pytorch.launcher}", "pytorch.architecture": str(file)}
    if needs_environment(pack):
        parameters["runtime.python"] = "$('${pack.python}' if not ${exp.docker} else 'python3')$"
    parameters["exp.model"] = pack.name if pack.name in models or not models else next(iter(models))
    if pack.argv:
        parameters["exp.model_opts"] = dict(pack.argv)
    return parameters


def _join_batch(parameters: dict[str, Any], given: set[str]) -> None:
    """Link an option named batch size with exp.replica_batch, so that grids and tables use it; either may be set."""
    batch = next((f"argv.{name}" for name in ("batch_size", "batchsize", "bs") if f"argv.{name}" in parameters), None)
    if batch is None:
        return
    if "exp.replica_batch" in given:
        parameters[batch] = "${exp.replica_batch}"
    else:
        parameters["exp.replica_batch"] = f"${{{batch}}}" if batch in given else parameters[batch]
    parameters["pack.batch"] = "${exp.replica_batch}"


def _text(word: Any) -> str:
    return word if isinstance(word, str) else json.dumps(word)


def uses_voir(directory: Path) -> bool:
    """Whether the main script runs under voir: if the pack has a voirfile, or its code mentions voir."""
    if (directory / "voirfile.py").is_file():
        return True
    return imports(directory / "main.py", "voir", "benchmate")


def imports(file: Path, *packages: str) -> bool:
    """Whether a script imports any of these packages."""
    try:
        source = read_source(file)
    except OSError:
        return False
    return re.search(rf"^\s*(import|from)\s+({'|'.join(packages)})\b", source, re.MULTILINE) is not None


def starts_itself(directory: Path) -> bool:
    """Whether benchfile.py defines how the pack runs; determined from its text, since planning runs no code."""
    # A package of milabench runs through its plan, overridden or not.
    return bool({"command", "__pack__"} & _benchfile_names(directory))


def _benchfile_names(directory: Path) -> set[str]:
    """The methods of the classes in benchfile.py, and the variables that it assigns; none if it cannot be parsed."""
    try:
        tree = ast.parse(read_source(directory / "benchfile.py"))
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {one.name for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def needs_environment(pack: Pack) -> bool:
    """Whether a pack needs its own environment: it has requirements or an install group, or uses voir, which dlbs does not include."""
    directory = pack.directory
    if pack.shares_torch:
        return any((directory / name).is_file() for name in ("requirements.txt", "install.py"))
    if pack.kind == "container":
        return False
    return (
        pack.install_group != pack.name
        or any(directory.glob("requirements*.in"))
        or any(directory.glob("requirements*.txt"))
        or bool({"install", "__pack__"} & _benchfile_names(directory))
        or uses_voir(directory)
    )


def constant_argv(pack: Pack) -> list[str]:
    """The arguments as words: null and true give a flag without a value, false omits it."""
    if isinstance(pack.argv, list):
        return [_text(word) for word in pack.argv]
    words: list[str] = []
    for option, value in pack.argv.items():
        if value is None or value is True:
            words.append(str(option))
        elif value is not False:
            words += [str(option), _text(value)]
    return words


def _cases(pack: Pack, given: set[str]) -> list[dict[str, Any]]:
    """Cases of a pack's plan: one experiment per GPU, unless the user chose GPUs, or several equal ones."""
    from dlbs.machine.devices import visible_gpus

    method = pack.plan.get("method")
    if method == "per_gpu":
        if "exp.gpus" in given:
            return []
        return [{"exp.gpus": str(gpu), "exp.job": number} for number, gpu in enumerate(visible_gpus())]
    if method == "njobs" and pack.plan.get("n", 1) > 1:
        return [{"exp.job": number} for number in range(pack.plan["n"])]
    return []
