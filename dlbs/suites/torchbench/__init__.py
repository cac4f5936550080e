"""TorchBench (github.com/pytorch/benchmark): models written for it run as packs, measured by pytorch_benchmarks.

`measured/` is the half that other processes load by its path: it imports pytorch_benchmarks, never dlbs.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from dlbs.config.documents import load
from dlbs.core.errors import ConfigError
from dlbs.core.experiment import NOT_SERVING
from dlbs.core.files import dlbs_root, read_source
from dlbs.packs.architecture import TorchKind
from dlbs.packs.environments import python_of
from dlbs.packs.kinds import Finding, Surveyed, findings_of, programs_environment
from dlbs.packs.pack import Environment, Pack, Places, constant_argv, matches

_MEASURED = Path(__file__).parent / "measured"
_NAMES = {"DEFAULT_TRAIN_BSIZE": "training", "DEFAULT_EVAL_BSIZE": "inference"}


class ModelKind(TorchKind):
    """A model with its own data and steps: a directory with a class `Model`."""

    name = "model"
    precedence = 10  # also with a Dockerfile, which some models contain
    files = "__init__.py with a class Model"
    template = Path(__file__).parent / "templates" / "model"
    checks = (NOT_SERVING, *TorchKind.checks)

    def recognises(self, directory: Path) -> bool:
        return matches(directory / "__init__.py", r"^class Model\b")

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        """The parameters of a model. The batch sizes in its source become those of the plan, so that names and tables show them."""
        parameters = super().parameters(pack, places, given) | {
            "pack.launcher": str(Path(__file__).parent / "launcher.sh"),
            "pack.loader": str(_MEASURED / "workload.py"),
            "pack.argv": constant_argv(pack),
            "pack.own_batch": False,
        }
        if "exp.replica_batch" in given:
            return parameters
        sizes = default_batch_sizes(pack.directory)
        if not sizes:
            return parameters | {"pack.own_batch": True}
        training, inference = (sizes.get(phase, 0) for phase in ("training", "inference"))
        parameters["exp.replica_batch"] = (
            f"$({training or inference} if '${{exp.phase}}' == 'training' else {inference or training})$"
        )
        if not (training and inference):
            parameters["pack.own_batch"] = f"$('${{exp.phase}}' != '{'training' if training else 'inference'}')$"
        return parameters

    def run_installer(self, environment: Environment) -> None:
        programs = {"PYTHONPATH": str(dlbs_root() / "python")}
        command = [str(environment.python), str(_MEASURED), "install", str(environment.pack.directory)]
        environment.run("install.py", *command, **programs)

    def check(self, pack: Pack, device: str) -> Iterator[Finding]:
        """The checks of a model, which run it in a separate process."""
        command = [python_of(pack), str(_MEASURED), "check", str(pack.directory)]
        command += ["--device", device, "--pack_args", json.dumps(constant_argv(pack))]
        yield from findings_of(command, programs_environment(pack))

    def shell(self, pack: Pack) -> dict[str, str]:
        return {**super().shell(pack), "DLBS_PACK_LOADER": str(_MEASURED)}  # `python $DLBS_PACK_LOADER run .`

    def survey(self, places: Sequence[Path]) -> list[Surveyed]:
        from dlbs.suites.torchbench.importing import model_directories, needs_of

        return list(map(needs_of, model_directories(places)))


KIND = ModelKind


def default_batch_sizes(directory: Path) -> dict[str, int]:
    """Phase → default batch size on a CPU, for phases where the class Model defines it as a number."""
    try:
        body = ast.parse(read_source(directory / "__init__.py")).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, int] = {}
    fixed = False
    for model in (node for node in body if isinstance(node, ast.ClassDef) and node.name == "Model"):
        for node in model.body:
            names, value = _assigned(node)
            if isinstance(value, ast.Constant) and type(value.value) is int and value.value > 0:
                found |= {_NAMES[name]: value.value for name in names if name in _NAMES}
            elif "ALLOW_CUSTOMIZE_BSIZE" in names and isinstance(value, ast.Constant):
                fixed = value.value is False
    return found | {phase: size for phase, size in _of_metadata(directory).items() if phase in found and not fixed}


def _assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)], node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id], node.value
    return [], None


def _of_metadata(directory: Path) -> dict[str, int]:
    """Phase → batch size for CPUs in metadata.yaml."""
    path = directory / "metadata.yaml"
    if not path.is_file():
        return {}
    try:
        data = load(path).data
    except ConfigError:  # running the model reports the error
        return {}
    devices = data.get("devices") if isinstance(data, dict) else None
    entry = devices.get("cpu") if isinstance(devices, dict) else None
    sizes = {_NAMES[f"DEFAULT_{test}_BSIZE"]: _size(entry, f"{test.lower()}_batch_size") for test in ("TRAIN", "EVAL")}
    return {phase: size for phase, size in sizes.items() if size}


def _size(entry: object, key: str) -> int:
    size = entry.get(key) if isinstance(entry, dict) else None
    return size if isinstance(size, int) and size > 0 else 0
