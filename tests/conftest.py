"""What all tests share: their environment, how they start dlbs, and what is skipped where a service is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.services import ACCELERATORS, COMMAND, skip_reason
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
RunDlbs = Callable[..., "subprocess.CompletedProcess[str]"]


def _search_path() -> list[str]:
    """Where this interpreter was told to look for packages besides its own."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def pytest_configure() -> None:
    # Threads of OpenMP spin while they wait for each other: beside other work two of them are many times slower than one.
    # Set before anything imports torch, and inherited by the processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    hypothesis.settings.register_profile(
        "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any speed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for service in marker.args:
            if reason := skip_reason(service):
                pytest.skip(reason)


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
            timeout=PATIENCE,
            check=check,
        )

    return run


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Slurm on this machine."""
    from tests.slurm_cluster import HOST, Cluster

    if reason := skip_reason("Slurm"):
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("slurm"), (HOST,))
    made.start()
    yield made
    made.stop()


def needed(report: pytest.TestReport) -> str:
    """The service for want of which a test was skipped, if that is why."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    found = re.match(r"Skipped: needs ([^:]+): ", reason)
    return found[1] if found else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI everything but GPUs is installed, so a skip means that a test did not run that should have."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail") and needed(report) not in ACCELERATORS
    if skipped and "gpu" not in item.keywords and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = Counter(needed(report) for report in terminalreporter.stats.get("skipped", []))
    missing = {name: count for name, count in counts.items() if name and name not in ACCELERATORS}
    if missing:
        services = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
        terminalreporter.write_line(
            f"{sum(missing.values())} tests were skipped for want of {services}: {COMMAND} installs and starts them "
            "(as root on Debian)",
            yellow=True,
        )
