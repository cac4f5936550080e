"""Nothing needs a suite: without its folder, the tests of packs, plans and the command line pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

SUITES = sorted(path.parent.name for path in (ROOT / "dlbs" / "suites").glob("*/__init__.py"))
TESTS = ("packs", "plan/test_frameworks.py", "cli/test_main.py", "launch/test_script.py", "config/test_names.py")


@pytest.mark.parametrize("suite", SUITES)
def test_the_rest_passes_without_a_suite(tmp_path: Path, suite: str) -> None:
    hidden = shutil.ignore_patterns("__pycache__")
    for path in ROOT.iterdir():
        if path.name not in {"dlbs", "tests", ".git"}:
            (tmp_path / path.name).symlink_to(path)
    for name in ("dlbs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=hidden)
    shutil.rmtree(tmp_path / "dlbs" / "suites" / suite)
    shutil.rmtree(tmp_path / "tests" / "suites")
    words = ["-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not integration", "--tb=short"]
    command = [sys.executable, "-m", "pytest", *words, *(f"tests/{name}" for name in TESTS)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
