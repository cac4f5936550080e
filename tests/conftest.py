"""What all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
RunDlbs = Callable[..., "subprocess.CompletedProcess[str]"]


def _search_path() -> list[str]:
    """Where this interpreter was told to look for packages besides its own."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


@pytest.fixture
def dlbs(tmp_path: Path) -> RunDlbs:
    """Run `dlbs ARGUMENTS` as a process in an empty directory."""

    def run(*arguments: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dlbs", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_search_path()]), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    return run


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Slurm on this machine."""
    from tests.slurm_cluster import HOST, WHY_NOT, Cluster

    if WHY_NOT:
        pytest.skip(WHY_NOT)
    made = Cluster(tmp_path_factory.mktemp("slurm"), (HOST,), 26817)
    made.start()
    yield made
    made.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI everything that a test needs is installed, so a skip means that a test did not run that should have."""
    report = yield
    if (
        report.skipped
        and "gpu" not in item.keywords
        and not hasattr(report, "wasxfail")
        and os.environ.get("CI") == "true"
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
