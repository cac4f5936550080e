"""Log directories belong to one run at a time, and what a killed run left there is ended."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, start
from tests.waiting import PATIENCE, wait_until


@pytest.mark.integration
def test_what_a_killed_run_left_running_is_ended_and_does_not_write_into_the_new_log(
    dlbs: RunDlbs, tmp_path: Path
) -> None:
    """Also what has left the process group, and is nobody's child any more."""
    body = "echo $$ > first; (setsid sh -c 'echo $$ > second; while :; do sleep 0.1; echo from the first; done' &); sleep 100000"
    flag = launcher(tmp_path, body)
    process = start(tmp_path, flag)
    wait_until(lambda: (tmp_path / "second").exists() and (tmp_path / "second").read_text())
    process.kill()
    process.wait()
    pids = [int((tmp_path / name).read_text()) for name in ("first", "second")]
    assert all(psutil.pid_exists(pid) for pid in pids)
    (tmp_path / "own.sh").write_text('{% extends "base.sh" %}{% block benchmark %}\nsleep 1; echo anew\n{% endblock %}')
    dlbs("run", *DUMMY, flag, check=True)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
    text = logs(tmp_path)[0].read_text()
    assert "from the first" not in text
    assert "anew" in text


@pytest.mark.integration
def test_a_second_run_over_the_same_logs_is_refused_or_waits(dlbs: RunDlbs, tmp_path: Path) -> None:
    held = launcher(tmp_path, "while test ! -e go; do sleep 0.1; done")
    process = start(tmp_path, held)
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    refused = dlbs("run", *DUMMY, held)
    assert refused.returncode == 2
    assert f"process {process.pid}" in refused.stderr
    assert "--wait" in refused.stderr
    assert process.poll() is None
    elsewhere = dlbs("run", *DUMMY, "-Pexp.log_dir=others")
    assert elsewhere.returncode == 0
    waiting = start(tmp_path, held, "--wait")
    lock = str(tmp_path / "logs" / ".dlbs.lock")
    wait_until(lambda: lock in [file.path for file in psutil.Process(waiting.pid).open_files()], "a run that waits")
    (tmp_path / "go").touch()
    _, told = waiting.communicate(timeout=PATIENCE)
    assert process.wait() == 0
    assert waiting.returncode == 0
    assert "1 already finished" in told


def test_an_unwritable_log_directory_is_a_clear_error(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    done = dlbs("run", *DUMMY)
    assert done.returncode == 2
    assert "cannot write logs: File exists" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_executor_that_is_not_registered_is_named_but_never_imported(dlbs: RunDlbs, tmp_path: Path) -> None:
    """What lies in a log directory must not be able to name code that is run."""
    (tmp_path / "evil.py").write_text("open('pwned', 'w')\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / ".dlbs.lock").write_text('{"executor": "evil:Executor"}')
    (tmp_path / "logs" / "a.log.part").touch()
    refused, shown = dlbs("run", *DUMMY), dlbs("status")
    assert refused.returncode == 2
    for said in (refused.stderr, shown.stderr):
        assert "used --executor evil:Executor, which is not registered" in said
        assert "dlbs run --executor evil:Executor" in said
        assert "remove logs/.dlbs.lock" in said.replace(f"{tmp_path}/", "")
    assert "1 unknown" in shown.stdout
    assert "unknown" in dlbs("status", "--executor", "local").stdout
    assert not (tmp_path / "pwned").exists()
    (tmp_path / "logs" / ".dlbs.lock").unlink()
    assert "1 interrupted" in dlbs("status").stdout
    (tmp_path / "logs" / "a.log.part").unlink()
    assert dlbs("run", *DUMMY).returncode == 0
    assert dlbs("status").returncode == 0


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("other", ["link", "missing/../real", "./real/"])
def test_a_directory_with_two_paths_is_locked_once(dlbs: RunDlbs, tmp_path: Path, other: str, exists: bool) -> None:
    (tmp_path / "link").symlink_to("real")
    if exists:
        (tmp_path / "real").mkdir()
    done = dlbs(
        "run",
        *DUMMY,
        f"-Vexp.log_dir=[real,{other}]",
        "-Pexp.log_file=${exp.log_dir}/$(1 if '${exp.log_dir}' == 'real' else 2)$.log",
    )
    assert "2 experiments: 2 ok" in done.stderr
    assert "2 experiments: 2 ok" in dlbs("status", "real").stdout
    assert len((tmp_path / "real" / ".dlbs.plan").read_text().splitlines()) == 3


def test_a_log_with_two_paths_is_a_problem(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    done = dlbs("run", *DUMMY, "-Vexp.log_dir=[real,link]")
    assert done.returncode == 2
    assert f"writes to the same log file as experiment 1: {tmp_path}/real/" in done.stderr


@pytest.mark.integration
def test_processes_of_a_log_in_a_linked_directory_are_found(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    process = start(tmp_path, launcher(tmp_path, "echo $$ > pid; exec sleep 300"), "-Pexp.log_dir=link")
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    dlbs("run", *DUMMY, "-Pexp.log_dir=real", "-Pexp.seed=2", check=True)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
