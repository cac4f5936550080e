"""One more executor is one file and one line; another package brings its own by an entry point, or is named by module and class."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dlbs.core.errors import ConfigError
from dlbs.executors.base import EXECUTORS, Executor, executor_name, is_registered, load_executor
from tests.conftest import ROOT, RunDlbs
from tests.executors.nohup_executor import NohupExecutor
from tests.experiments import DUMMY, launcher, logs, values
from tests.waiting import wait_until

NOHUP = "tests.executors.nohup_executor:NohupExecutor"


@pytest.mark.parametrize("name", EXECUTORS)
def test_each_name_leads_to_an_executor_and_back(name: str, tmp_path: Path) -> None:
    executor = load_executor(name)(tmp_path, 2)
    assert Executor in type(executor).__mro__
    assert executor_name(executor) == name
    assert executor.running == 0
    assert executor.owned_logs(tmp_path) == set()


def test_one_line_registers_an_executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert executor_name(NohupExecutor(tmp_path)) == NOHUP
    monkeypatch.setitem(EXECUTORS, "nohup", NOHUP)
    assert load_executor("nohup") is NohupExecutor
    assert executor_name(NohupExecutor(tmp_path)) == "nohup"


@pytest.mark.integration
def test_another_package_registers_an_executor_by_an_entry_point(dlbs: RunDlbs, tmp_path: Path) -> None:
    package = tmp_path / "site" / "nohup_runs-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: nohup-runs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[dlbs.executors]\nnohup = {NOHUP}\n")
    done = dlbs("run", *DUMMY, "--executor", "nohup", PYTHONPATH=f"{ROOT}:{package.parent}")
    assert done.returncode == 0, done.stderr
    assert values(logs(tmp_path)[0])["exp.status"] == "ok"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("slrum", "did you mean 'slurm'"),
        ("no.such.module:Class", "cannot be imported"),
        ("dlbs.core.text:NoSuchClass", "cannot be imported"),
        ("dlbs.executors.local:LocalExecuter", "did you mean 'LocalExecutor'"),
        ("dlbs.core.text:text", "is not an executor"),
        ("dlbs.executors.base:Executor", "does not define end_all, look, next_look, running, start"),
    ],
)
def test_what_is_no_executor(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_executor(name)
    assert not is_registered(name)


def test_the_example_in_the_manual_is_the_executor_that_is_tested() -> None:
    code = (ROOT / "tests" / "executors" / "nohup_executor.py").read_text().split('"""', 2)[2].strip()
    page = (ROOT / "docs" / "launchers.md").read_text()
    assert textwrap.indent(code, "    ", lambda line: bool(line.strip())) in page


@pytest.fixture
def no_process_stays(tmp_path: Path) -> Iterator[None]:
    """A detached experiment ends after its log is complete, also if the test has failed by then."""

    def left() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or ())]

    yield
    wait_until(lambda: not left(), "the end of detached processes")


@pytest.mark.integration
@pytest.mark.usefixtures("no_process_stays")
def test_the_example_works_when_the_manual_is_followed(dlbs: RunDlbs, tmp_path: Path) -> None:
    """And each verb says the truth about what its executor runs, whether it knows that executor or not."""
    page = (ROOT / "docs" / "launchers.md").read_text()
    package = tmp_path / "code" / "mypackage"
    package.mkdir(parents=True)
    (package / "nohup.py").write_text(textwrap.dedent(page[page.index("    from __future__") :]))
    mine = ("--executor", "mypackage.nohup:NohupExecutor")
    assert f"dlbs run {' '.join(mine)}" in page
    assert "add its directory to PYTHONPATH" in dlbs("status", *mine).stderr
    found = {"PYTHONPATH": f"{ROOT}:{package.parent}"}
    flag = launcher(tmp_path, "until test -e go; do sleep 0.1; done")
    assert dlbs("validate", *DUMMY, flag, *mine, **found).returncode == 0
    try:
        started = dlbs("run", *DUMMY, flag, *mine, "--detach", **found)
        assert started.returncode == 0, started.stderr
        wait_until(lambda: list(tmp_path.glob("logs/*.part")))
        assert "1 running" in dlbs("status", *mine, **found).stdout
        stranger = dlbs("status")
        assert "1 unknown" in stranger.stdout
        assert "dlbs status --executor mypackage.nohup:NohupExecutor" in stranger.stderr
        refused = dlbs("run", *DUMMY, flag)
        assert refused.returncode == 2
        assert "may still be running" in refused.stderr
    finally:
        (tmp_path / "go").touch()
    watched = dlbs("run", *DUMMY, flag, *mine, **found)
    assert watched.returncode == 0, watched.stderr
    after = dlbs("status")
    assert (after.returncode, after.stderr) == (0, "")
    assert "1 ok" in after.stdout


@pytest.mark.integration
def test_listing_executors_imports_none() -> None:
    program = "import sys, dlbs.executors.base; print([name for name in sys.modules if name.startswith('dlbs.')])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "dlbs.executors.local" not in done.stdout
    assert "dlbs.executors.slurm" not in done.stdout
