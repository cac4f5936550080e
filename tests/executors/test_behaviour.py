"""What every executor does alike: finish, fail, time out, try again, stop early, be interrupted, be picked up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlbs.executors.base import load_executor
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, start, values
from tests.forked import Program
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

NAMES = ["local", "tests.executors.nohup_executor:NohupExecutor", "slurm"]


@dataclass(frozen=True)
class Executor:
    """`dlbs run --executor NAME` in a directory."""

    name: str
    directory: Path
    dlbs: RunDlbs
    environment: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.dlbs("run", *DUMMY, "--executor", self.name, *arguments, **self.environment)

    def start(self, *arguments: str) -> Program | subprocess.Popen[str]:
        return start(self.directory, "--executor", self.name, *arguments, **self.environment)

    @property
    def outlives_dlbs(self) -> bool:
        return load_executor(self.name).detachable

    def pending(self) -> str:
        """What has been handed over and has not begun."""
        if self.name != "slurm":
            return ""
        command, environment = ["squeue", "--noheader", "--states=PENDING"], {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def statuses(self) -> Counter[str]:
        return Counter(values(log)["exp.status"] for log in logs(self.directory))


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.integration if name == "slurm" else ()) for name in NAMES],
    ids=["local", "nohup", "slurm"],
)
def executor(request: pytest.FixtureRequest, dlbs: RunDlbs, tmp_path: Path) -> Executor:
    environment = request.getfixturevalue("cluster").environment if request.param == "slurm" else {}
    return Executor(request.param, tmp_path, dlbs, environment)


def progress(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "progress.json").read_text()))


def test_each_experiment_leaves_one_complete_log(executor: Executor, tmp_path: Path) -> None:
    grid = ("-Vexp.seed=[1,2,3]", "--jobs", "2")
    done = executor.run(*grid)
    assert done.returncode == 0, done.stderr
    assert "3 experiments: 3 ok" in done.stderr
    assert executor.statuses() == {"ok": 3}
    assert {values(log)["exp.seed"] for log in logs(tmp_path)} == {1, 2, 3}
    assert {path.name for path in tmp_path.glob("logs/.*")} == {".dlbs.lock", ".dlbs.plan"}
    assert "3 already finished" in executor.run(*grid).stderr


def test_a_failure_stops_no_others(executor: Executor, tmp_path: Path) -> None:
    done = executor.run("-Vdummy.exit_code=[7,0,77]")
    assert done.returncode == 1
    assert "exit code 7" in done.stderr
    assert executor.statuses() == {"failure": 1, "ok": 1, "skipped": 1}


def test_a_timeout_ends_the_experiment(executor: Executor, tmp_path: Path) -> None:
    done = executor.run("-Pdummy.seconds=300", "-Pexp.timeout=0.5")
    assert done.returncode == 1
    assert "1 timeout" in done.stderr
    assert "0.5 s" in values(logs(tmp_path)[0])["exp.status_msg"]


def test_what_failed_is_tried_again_and_keeps_the_log_of_each_attempt(executor: Executor, tmp_path: Path) -> None:
    failures = 2 if executor.name == "local" else 1  # the pause before each further attempt is twice as long
    flag = launcher(tmp_path, f"echo attempt >> count; test $(wc -l < count) -gt {failures}")
    done = executor.run(flag, "--retries", "3")
    assert done.returncode == 0, done.stderr
    assert f"attempt {failures}: failure" in done.stderr
    (log,) = logs(tmp_path)
    assert (values(log)["exp.attempt"], values(log)["exp.status"]) == (failures + 1, "ok")
    attempts = [Path(f"{log}.attempt{number}") for number in range(1, failures + 1)]
    assert {values(attempt)["exp.status"] for attempt in attempts} == {"failure"}
    if executor.name == "local":
        (tmp_path / "count").unlink()
        assert executor.run(flag, "--retries", "1", "-Pexp.rerun=always").returncode == 1


def test_after_a_failure_nothing_more_is_begun(executor: Executor, tmp_path: Path) -> None:
    flag = launcher(
        tmp_path,
        "echo {{ exp.seed }} >> ran; test {{ exp.seed }} -ne 0 || exit 1; while test ! -e go; do sleep 0.1; done",
    )
    process = executor.start(flag, f"-Vexp.seed={list(range(9))}", "--jobs", "1", "--fail-fast")
    wait_until((tmp_path / "ran").exists)
    wait_until(lambda: not executor.pending())
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "stopped: 1 experiment failed" in told
    ran = (tmp_path / "ran").read_text().split()
    assert len(ran) <= 2  # a cluster begins the next one before the failure is known here
    assert len(ran) == 1 or executor.name == "slurm"
    assert f"{9 - len(ran)} left" in told
    assert executor.statuses() == Counter({"failure": 1, "ok": len(ran) - 1}) + Counter()


def test_larger_batches_than_one_that_did_not_fit_are_skipped(executor: Executor, tmp_path: Path) -> None:
    body = "touch begun; while test {{ exp.replica_batch }} -ne 2 -a ! -e go; do sleep 0.1; done; (exit 3)"
    batches = [2**power for power in range(1, 9)]
    process = executor.start(launcher(tmp_path, body), f"-Vexp.replica_batch={batches}", "--jobs", "1")
    wait_until((tmp_path / "begun").exists)
    wait_until(lambda: not executor.pending())
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, told
    found = {values(log)["exp.replica_batch"]: values(log) for log in logs(tmp_path)}
    assert len(found) == 8
    assert found[2]["exp.status"] == "failure"
    assert found[256]["exp.status"] == "skipped"
    assert "did not fit into memory" in found[256]["exp.status_msg"]
    assert executor.statuses()["failure"] == 1 or executor.name == "slurm"


def test_the_deadline_ends_what_runs_and_the_same_command_goes_on(executor: Executor, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "touch begun; while test ! -e go; do sleep 0.1; done")
    grid = (flag, "-Vexp.seed=[1,2,3]", "--jobs", "1")
    for seconds in (1, 5, 25, 125, 625):  # as long as this machine needs to begin an experiment
        done = executor.run(*grid, "--deadline", f"{seconds}s")
        assert done.returncode == 1
        assert "stopped: the deadline has passed" in done.stderr
        if (tmp_path / "begun").exists():
            break
    assert "2 left" in done.stderr
    assert set(executor.statuses()) <= {"cancelled"}
    (tmp_path / "go").touch()
    again = executor.run(*grid)
    assert again.returncode == 0, again.stderr
    assert executor.statuses() == {"ok": 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_runs_and_the_same_command_goes_on(
    executor: Executor, tmp_path: Path, number: signal.Signals
) -> None:
    flag = launcher(tmp_path, "while test ! -e go; do sleep 0.1; done")
    grid = (flag, "-Vexp.seed=[1,2,3]", "--jobs", "1")
    process = executor.start(*grid)
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, told
    assert "2 left" in told
    assert "run the same command again to run the remaining ones" in told
    assert not list(tmp_path.glob("logs/*.part"))
    (tmp_path / "go").touch()
    again = executor.run(*grid)
    assert again.returncode == 0, again.stderr
    assert executor.statuses() == {"ok": 3}


def test_sigusr1_lets_what_runs_finish_and_begins_nothing_more(executor: Executor, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "while test ! -e go; do sleep 0.1; done")
    process = executor.start(flag, "-Vexp.seed=[1,2,3]", "--jobs", "1", f"-Pexp.timeout={PATIENCE}")
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: not executor.pending())
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "1 ok, 2 left" in told


def test_after_kill_9_the_same_command_runs_exactly_what_is_missing(executor: Executor, tmp_path: Path) -> None:
    body = "echo {{ exp.seed }} >> ran; while test {{ exp.seed }} -eq 2 -a ! -e go; do sleep 0.1; done"
    flag = launcher(tmp_path, body)
    grid = (flag, "-Vexp.seed=[1,2,3]", "--jobs", "1")
    process = executor.start(*grid, "--progress-file", "progress.json")
    # Its launcher runs, and dlbs knows that it was started.
    wait_until(lambda: logs(tmp_path) and "2" in (tmp_path / "ran").read_text() and progress(tmp_path)["current"])
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    before = {log: log.stat().st_ino for log in logs(tmp_path)}
    done = executor.run(*grid)
    assert done.returncode == 0, done.stderr
    assert executor.statuses() == {"ok": 3}
    assert not list(tmp_path.glob("logs/*.part"))
    assert all(log.stat().st_ino == inode for log, inode in before.items())
    ran = sorted((tmp_path / "ran").read_text().split())
    assert ran == (["1", "2", "3"] if executor.outlives_dlbs else ["1", "2", "2", "3"])


def test_an_experiment_that_ends_during_a_restart_runs_once(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo {{ exp.seed }} >> ran; while test ! -e go; do sleep 0.1; done")
    executor = Executor("tests.executors.late_nohup_executor:LateNohupExecutor", tmp_path, dlbs, {})
    process = executor.start(flag, "-Vexp.seed=[1,2]", "--jobs", "2", "--progress-file", "progress.json")
    wait_until(lambda: (tmp_path / "ran").exists() and len((tmp_path / "ran").read_text().split()) == 2)
    wait_until(lambda: len(progress(tmp_path)["current"]) == 2)
    process.kill()
    process.wait()
    done = executor.run(flag, "-Vexp.seed=[1,2]", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert executor.statuses() == {"ok": 2}
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]


def test_detached_experiments_are_watched_again_by_the_same_command(executor: Executor, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo {{ exp.seed }} >> ran; while test ! -e go; do sleep 0.1; done")
    grid = (flag, "-Vexp.seed=[1,2,3]", "--jobs", "3", f"-Pexp.timeout={PATIENCE}")
    done = executor.run(*grid, "--detach")
    if not executor.outlives_dlbs:
        assert done.returncode == 2
        assert "--detach" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "3 submitted" in done.stderr
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    other = executor.dlbs("run", *DUMMY, *grid, "--executor", "local", **executor.environment)
    assert other.returncode == 2
    assert f"--executor {executor.name}" in other.stderr
    assert executor.run(*grid, "--detach", "--retries", "1").returncode == 2
    process = executor.start(*grid, "--progress-file", "progress.json")
    wait_until(lambda: (tmp_path / "progress.json").exists() and len(progress(tmp_path)["current"]) == 3)
    (tmp_path / "go").touch()
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "3 ok" in told
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "3"]
    assert executor.dlbs("run", *DUMMY, *grid, "--executor", "local").returncode == 0
