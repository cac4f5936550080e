"""What every program imports needs nothing but Python, and an old one where the user's image has the interpreter."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAMS = ROOT / "python"
CORE = sorted((PROGRAMS / "benchmark_core").glob("*.py"))
OPTIONAL = {"pynvml"}
# These run a user's command or script, with the interpreter of the user's image or environment.
RUNNERS = [path for name in ("command_runner", "pack_runner") for path in sorted((PROGRAMS / name).glob("*.py"))]
_NEWER = {"slots", "kw_only", "strict"}  # arguments of dataclass, zip


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_only_the_standard_library(path: Path) -> None:
    found = {name.partition(".")[0] for name in imports(path)}
    assert found <= sys.stdlib_module_names | {"benchmark_core"} | OPTIONAL


def needed_by_runners() -> list[Path]:
    found, queue = set(), list(RUNNERS)
    while queue:
        path = queue.pop()
        if path in found or path.name == "voirfile.py":
            continue
        found.add(path)
        queue += [file for name in imports(path) if (file := PROGRAMS / f"{name.replace('.', '/')}.py").is_file()]
    return sorted(found)


@pytest.mark.parametrize("path", needed_by_runners(), ids=lambda path: str(path.relative_to(PROGRAMS)))
def test_what_runners_import_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
    assert not {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)} & _NEWER
    if path.stem not in {"__init__", "__main__"}:
        assert "from __future__ import annotations" in path.read_text(), "annotations are not evaluated"


@pytest.mark.integration
def test_a_checkout_that_is_not_installed_finds_its_own_core(tmp_path: Path) -> None:
    for name in ("dlbs", "python"):
        (tmp_path / name).mkdir()
    shutil.copytree(ROOT / "dlbs", tmp_path / "dlbs", dirs_exist_ok=True)
    shutil.copytree(PROGRAMS / "benchmark_core", tmp_path / "python" / "benchmark_core")
    program = "import dlbs.core.logs, benchmark_core; print(benchmark_core.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "python" / "benchmark_core" / "__init__.py")
