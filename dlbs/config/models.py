"""List models by reading their sources, without running them or importing torch."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from dlbs.files import dlbs_root, read_source

__all__ = ["known_models", "registered_in"]


@lru_cache(maxsize=1)
def known_models() -> dict[str, str]:
    """The models of pytorch_benchmarks, with the first lines of their docstrings."""
    models: dict[str, str] = {}
    for path in sorted((dlbs_root() / "python" / "pytorch_benchmarks" / "models").glob("*.py")):
        models.update(registered_in(path))
    return models


def registered_in(path: Path) -> dict[str, str]:
    """The models that a file registers, with the first lines of their docstrings; empty if it is missing or not Python."""
    try:
        body = ast.parse(read_source(path)).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    models: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):  # the original DLBS's way to name models
            models.update(dict.fromkeys(_implements(node), (ast.get_docstring(node) or "").partition("\n")[0]))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "register_model":
                    lines = (ast.get_docstring(node) or "").splitlines()
                    for argument in decorator.args:
                        if isinstance(argument, ast.Constant):
                            models[str(argument.value)] = lines[0] if lines else ""
    return models


def _implements(model: ast.ClassDef) -> list[str]:
    """The values of a class's attribute `implements`: one name, or a list of names."""
    for node in model.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "implements" for name in node.targets
        ):
            values = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else [node.value]
            return [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return []
