"""Imports go one way through the rooms of pytorch_benchmarks, and none of them leads to dlbs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "python" / "pytorch_benchmarks"

# A module imports from its own row and from those above it. A name stands for a module, or for all modules of a room.
ROWS = (
    {"rendezvous", "torchrun"},
    {"options"},
    {"devices", "distributed"},
    {"data"},
    {"models", "weights"},
    {"model_factory"},
    {"phases"},
    {"workload"},
    {"results"},
    {"training", "checks", "serving"},
    {"benchmarks", "train"},
)
NUMBER = {name: number for number, row in enumerate(ROWS) for name in row}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports inside the package are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_is_in_a_row() -> None:
    assert {room_of(path) for path in MODULES} == NUMBER.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_row_and_those_above(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] != "dlbs"
        if parts[0] == "pytorch_benchmarks":
            assert NUMBER[parts[1]] <= NUMBER[room_of(path)], f"{path.name} imports {name}"


def test_modules_import_each_other_in_no_circle() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    needs = {
        name: {other for found in imports(path) for other in (found, found.rpartition(".")[0]) if other in names}
        for name, path in names.items()
    }
    while free := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in free:
            del needs[name]
    assert not needs, f"in a circle, or above one: {sorted(needs)}"
