"""The default batch sizes of a model, read from its source and its metadata.yaml: nothing of it is run."""

from __future__ import annotations

import ast
from pathlib import Path

from dlbs.config.documents import load
from dlbs.errors import ConfigError
from dlbs.files import read_source

__all__ = ["default_batch_sizes"]

_NAMES = {"DEFAULT_TRAIN_BSIZE": "training", "DEFAULT_EVAL_BSIZE": "inference"}


def default_batch_sizes(directory: Path) -> dict[str, int]:
    """Phase → instances in a batch on a CPU, for those phases of which the class Model says it in figures."""
    try:
        body = ast.parse(read_source(directory / "__init__.py")).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, int] = {}
    for model in (node for node in body if isinstance(node, ast.ClassDef) and node.name == "Model"):
        for node in model.body:
            names, value = _assigned(node)
            if isinstance(value, ast.Constant) and type(value.value) is int and value.value > 0:
                found |= {_NAMES[name]: value.value for name in names if name in _NAMES}
    if (of_cpu := _of_metadata(directory)) and "inference" in found:
        found["inference"] = of_cpu
    return found


def _assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)], node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id], node.value
    return [], None


def _of_metadata(directory: Path) -> int:
    """The batch size for inference that metadata.yaml has for CPUs; 0 without one."""
    path = directory / "metadata.yaml"
    if not path.is_file():
        return 0
    try:
        data = load(path).data
    except ConfigError:  # whoever runs the model says what is wrong with it
        return 0
    devices = data.get("devices") if isinstance(data, dict) else None
    entry = devices.get("cpu") if isinstance(devices, dict) else None
    size = entry.get("eval_batch_size") if isinstance(entry, dict) else None
    return size if isinstance(size, int) and size > 0 else 0
