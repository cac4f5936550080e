"""The rooms: the order in which they import each other, and the map that names every module."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import module_map
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


def test_the_map_names_every_module_and_no_other() -> None:
    assert module_map.contributing() == (ROOT / "CONTRIBUTING.md").read_text(), "make docs brings the map up to date"


def test_the_map_has_every_room() -> None:
    packages = {
        str(path.parent.relative_to(ROOT))
        for top in ("dlbs", "python")
        for path in (ROOT / top).rglob("*.py")
        if "templates" not in path.parts and "migrations" not in path.parts
    }
    assert packages == set(module_map.ROOMS)


@pytest.mark.parametrize("room", module_map.ROOMS)
def test_every_module_says_what_it_is_for(room: str) -> None:
    for path in module_map.modules_of(room):
        assert module_map.first_line(path), path


def test_files_and_folders_that_the_guide_names_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The map")[0]
    for name in re.findall(r"`((?:dlbs|config|scripts|benchmarks|tests)/[\w/.]+)`", page):
        assert (ROOT / name).exists(), name
