"""The rooms: the order in which they import each other, and the map of all modules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import module_map
from scripts.figures import Tree
from tests.conftest import ROOT

LINTER = str(Path(sys.executable).with_name("lint-imports"))


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{directory / 'python'}"}
    return subprocess.run([LINTER, "--no-cache"], cwd=directory, env=environment, capture_output=True, text=True)


@pytest.mark.integration
def test_rooms_import_only_from_rooms_below_them() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.integration
def test_an_import_of_a_room_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "dlbs").symlink_to(ROOT / "dlbs")
    settings = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[\n(.*?)\n\]", settings, re.DOTALL)
    assert layers is not None
    upside_down = "\n".join(reversed(layers[1].splitlines()))
    (tmp_path / "pyproject.toml").write_text(settings.replace(layers[1], upside_down))
    (tmp_path / "python").symlink_to(ROOT / "python")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "dlbs.plan is not allowed to import dlbs.config" in done.stdout


def test_the_map_has_every_module() -> None:
    page = module_map.module_map()
    for path in (ROOT / "dlbs").rglob("*.py"):
        if path.name != "__init__.py" and not {"templates", "migrations"} & set(path.parts):
            section = page.partition(f"\n## {path.parent.relative_to(ROOT)}/\n")[2].partition("\n## ")[0]
            assert f"\n- `{path.name}`: " in section, path


def test_the_map_is_in_the_order_of_the_pipeline() -> None:
    rooms = module_map.rooms()
    assert rooms[0] == "dlbs"
    assert rooms.index("dlbs/config") < rooms.index("dlbs/plan") < rooms.index("dlbs/run") < rooms.index("dlbs/cli")
    assert rooms.index("dlbs/cli") < rooms.index("python/pytorch_benchmarks")


@pytest.mark.parametrize("room", module_map.rooms())
def test_every_module_says_what_it_is_for(room: str) -> None:
    for path in module_map.modules_of(room):
        assert module_map.first_line(path), path


def test_files_and_folders_that_the_guide_names_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`((?:dlbs|config|scripts|benchmarks|tests)/[\w/.]+)`", page):
        assert (ROOT / name).exists(), name


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT)


def test_the_program_does_not_grow_unnoticed(tree: Tree) -> None:
    """Whoever needs more first looks at what can be joined or removed, and then raises a limit here."""
    assert len(tree.files) <= 287
    assert tree.lines.code <= 42_570
    assert tree.lines.imports / tree.lines.code <= 0.11


@pytest.mark.parametrize(("lazy", "longest"), [(False, 11), (True, 14)], ids=["at import", "with those in functions"])
def test_chains_of_imports_are_short(tree: Tree, lazy: bool, longest: int) -> None:
    assert len(tree.chain(lazy=lazy)) <= longest


@pytest.mark.integration
def test_the_start_of_a_run_loads_few_modules(tree: Tree) -> None:
    every, ours = tree.start()
    assert ours <= 66
    assert every <= 175  # the standard library's own imports differ between versions of Python
