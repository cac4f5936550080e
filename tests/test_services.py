"""What is said of tests that a machine cannot run, and what becomes of them in CI."""

from __future__ import annotations

import os

import pytest

from tests.conftest import ROOT
from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

TESTS = """
import subprocess
import sys

import pytest

@pytest.mark.needs("docker")
def test_container() -> None: ...

@pytest.mark.needs("docker", "base image")
def test_image() -> None: ...

@pytest.mark.needs("two GPUs")
def test_gpus() -> None: ...

def test_of_nothing() -> None: ...

def test_unmarked_process() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)

@pytest.mark.integration
def test_marked_process() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


@pytest.fixture(scope="module")
def said(forked_torch: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pytest prints where there is no docker and no second GPU, in CI and elsewhere."""
    root = tmp_path_factory.mktemp("services")
    directory = root / "tests"
    directory.mkdir()
    for name in ("__init__.py", "conftest.py", "durations.py", "forked.py", "services.py", "waiting.py"):
        (directory / name).write_text((ROOT / "tests" / name).read_text())
    (directory / "test_it.py").write_text(TESTS)
    (root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = {}
    for ci in ("false", "true"):
        environment = {**clean, "PATH": "/nowhere", "CUDA_VISIBLE_DEVICES": "", "CI": ci}
        command = ("-m", "pytest", "-p", "no:cacheprovider", "tests")
        done = forked_torch.run(*command, directory=root, environment=environment, timeout=PATIENCE)
        said[ci] = done.stdout
    return said


def test_one_line_says_what_was_skipped_and_what_brings_it(said: dict[str, str]) -> None:
    assert "1 failed, 2 passed, 3 skipped" in said["false"]
    (line,) = [line for line in said["false"].splitlines() if ".ci/services" in line]
    assert (
        line == "2 tests were skipped for want of docker (2): .ci/services installs and starts them (as root on Debian)"
    )


def test_in_ci_only_a_gpu_may_be_missing(said: dict[str, str]) -> None:
    assert "1 failed, 2 passed, 1 skipped," in said["true"]
    assert "2 errors" in said["true"]
    assert "skipped in CI" in said["true"]
    assert "needs docker: docker is not installed" in said["true"]


def test_what_starts_a_process_is_no_unit_test(said: dict[str, str]) -> None:
    assert "'-c', '']: mark it `integration`" in said["false"]
