"""The default batch sizes of a model, read from its source and its metadata.yaml: no code of the model is run."""

from __future__ import annotations

import ast
from pathlib import Path

from dlbs.config.documents import load
from dlbs.errors import ConfigError
from dlbs.files import read_source

__all__ = ["default_batch_sizes"]

_NAMES = {"DEFAULT_TRAIN_BSIZE": "training", "DEFAULT_EVAL_BSIZE": "inference"}


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
