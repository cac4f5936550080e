"""One experiment under way: its processes, its log, its end."""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmark_core.exits import UNAVAILABLE
from dlbs.core.logs import parse_line
from dlbs.executors.base import Outcome
from dlbs.executors.local import LocalExecutor
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values
from tests.waiting import LIMITS, has_ended, wait_until


@pytest.mark.integration
def test_the_launcher_alone_reproduces_the_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, check=True)
    (log,) = logs(tmp_path)
    again = subprocess.run(["bash", f"{log}.sh"], capture_output=True, text=True, cwd="/", check=True)
    found = dict(pair for pair in map(parse_line, again.stdout.splitlines()) if pair)
    before = values(log)
    changing = {"exp.start_time", "exp.end_time", "exp.seconds", "exp.status_msg"}
    assert {key: found[key] for key in found if key not in changing} == {
        key: before[key] for key in before if key not in changing
    }


@pytest.mark.integration
def test_a_timeout_ends_everything_the_experiment_started(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "(trap '' TERM; exec sleep 300) & echo child=$! > pids; sleep 300 & echo other=$! >> pids; wait"
    pids = tmp_path / "pids"
    for limit in LIMITS:
        done = dlbs("run", *DUMMY, launcher(tmp_path, body), f"-Pexp.timeout={limit:g}", "-Pexp.rerun=always")
        assert done.returncode == 1
        (log,) = logs(tmp_path)
        assert values(log)["exp.status"] == "timeout"
        assert f" {limit:g} s" in values(log)["exp.status_msg"]
        begun = pids.read_text().split() if pids.exists() else []
        for line in begun:
            wait_until(partial(has_ended, int(line.split("=")[1])))
        if len(begun) == 2:
            return
    raise AssertionError("no experiment began in time")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("set -u; echo $UNKNOWN", r"exit code 1: line \d+: UNKNOWN: unbound variable"),
        ("missing-program", r"exit code 127: line \d+: missing-program: command not found"),
        ("missing-program; echo something else; exit 3", "exit code 3"),
        ("exit 4", "exit code 4"),
    ],
)
def test_an_error_of_the_shell_is_the_reason(dlbs: RunDlbs, tmp_path: Path, body: str, message: str) -> None:
    assert dlbs("run", *DUMMY, launcher(tmp_path, body)).returncode == 1
    (log,) = logs(tmp_path)
    assert re.fullmatch(message, values(log)["exp.status_msg"])


@pytest.mark.integration
@pytest.mark.parametrize("body", ["kill -TERM $$", "sh -c 'kill -TERM $$'; exit $?"])
def test_a_launcher_that_is_terminated_alone_fails(dlbs: RunDlbs, tmp_path: Path, body: str) -> None:
    assert dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.interval=0.1").returncode == 1
    found = values(logs(tmp_path)[0])
    assert (found["exp.status"], found["exp.status_msg"]) == ("failure", "ended by SIGTERM")


@pytest.mark.integration
def test_a_launcher_that_is_terminated_before_us_is_cancelled(tmp_path: Path) -> None:
    """Slurm sends the signal to all processes of a job: the launcher may be first, and its log said that it failed."""
    flags = [flag.removeprefix("-P") for flag in (*DUMMY, launcher(tmp_path, "echo $$ > pid; kill -TERM $$"))]
    config = configure(parameters=[*flags, "exp.log_dir=logs"])
    (experiment,) = processor_for(config).resolve_all(build(config))
    executor = LocalExecutor(tmp_path)
    (tmp_path / "logs").mkdir()
    assert executor.start(experiment)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert not list(executor.look())
    executor.end_all("stopped by SIGTERM")
    found: list[Outcome] = []

    def has_ended() -> bool:
        found.extend(outcome for _, outcome in executor.look())
        return bool(found)

    wait_until(has_ended)
    assert [(one.status, one.message) for one in found] == [("cancelled", "stopped by SIGTERM")]
    assert values(logs(tmp_path)[0])["exp.status"] == "cancelled"


@pytest.mark.integration
def test_what_is_asked_to_end_has_time_to_tidy_up(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "sh -c \"trap 'sleep 1; echo tidied up; exit 0' TERM; touch trapped; while :; do sleep 0.1; done\""
    for limit in LIMITS:
        done = dlbs("run", *DUMMY, launcher(tmp_path, body), f"-Pexp.timeout={limit:g}", "-Pexp.rerun=always")
        assert done.returncode == 1
        if (tmp_path / "trapped").exists():
            break
    assert "tidied up" in logs(tmp_path)[0].read_text()


@pytest.mark.integration
@pytest.mark.parametrize("end", ["timeout", "failure", "killed"])
def test_processes_in_separate_sessions_end_with_an_experiment_that_fails(
    dlbs: RunDlbs, tmp_path: Path, end: str
) -> None:
    """The workers of torchrun are in such sessions. They may end by themselves, and are killed otherwise."""
    polite = "trap 'echo tidied up; kill $!; exit' TERM; sleep 300 & echo $$ > polite; wait"
    stubborn = "trap '' TERM; echo $$ > stubborn; exec sleep 300"
    last = {"timeout": "sleep 300", "failure": "exit 4", "killed": "kill -KILL $$"}[end]
    both = "test -e polite && test -e stubborn"
    body = f'setsid sh -c "{polite.replace("$", chr(92) + "$")}" & setsid sh -c "{stubborn.replace("$", chr(92) + "$")}" &\nuntil {both}; do sleep 0.02; done; {last}'
    for limit in LIMITS if end == "timeout" else (0,):
        done = dlbs("run", *DUMMY, launcher(tmp_path, body), f"-Pexp.timeout={limit:g}", "-Pexp.rerun=always")
        if (tmp_path / "polite").exists() and (tmp_path / "stubborn").exists():
            break
    assert done.returncode == 1
    for name in ("polite", "stubborn"):
        pid = int((tmp_path / name).read_text())
        assert has_ended(pid)
    assert ("tidied up" in logs(tmp_path)[0].read_text()) == (end == "timeout")


def test_what_an_experiment_leaves_running_is_ended(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, launcher(tmp_path, "sleep 300 & echo $! > pid"))
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_the_message_of_the_benchmark_is_kept(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = """echo '__exp.status_msg__= "out of coffee"'; exit 4"""
    done = dlbs("run", *DUMMY, launcher(tmp_path, f"({body})"))
    assert "out of coffee" in done.stderr
    assert values(logs(tmp_path)[0])["exp.status_msg"] == "out of coffee"


def test_a_benchmark_that_dies_of_a_signal(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, launcher(tmp_path, "kill -KILL $$"))
    assert done.returncode == 1
    assert values(logs(tmp_path)[0])["exp.status"] == "failure"
    assert "SIGKILL" in values(logs(tmp_path)[0])["exp.status_msg"]


@pytest.mark.integration
def test_an_experiment_that_is_ended_at_once_still_says_what_it_was(dlbs: RunDlbs, tmp_path: Path) -> None:
    path = tmp_path / "slow.sh"
    path.write_text("sleep 300")
    dlbs("run", *DUMMY, f"-Pdummy.launcher={path}", "-Pexp.timeout=0.2")
    found = values(logs(tmp_path)[0])
    assert found["exp.model"] == "alexnet"
    assert found["exp.status"] == "timeout"


def test_a_torn_last_line_stays_a_line_of_its_own(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, launcher(tmp_path, "printf 'no newline'; kill -KILL $$"))
    assert "no newline\n__exp.status__=" in logs(tmp_path)[0].read_text()


def test_a_log_that_is_removed_under_way_is_a_failure_and_the_others_go_on(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "test {{ exp.seed }} -ne 1 || rm logs/*.part")
    done = dlbs("run", *DUMMY, flag, "-Vexp.seed=[1,2]")
    assert done.returncode == 1
    assert "its log file was removed while it ran" in done.stderr
    assert [values(log)["exp.seed"] for log in logs(tmp_path)] == [2]


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_stops_the_plan_and_is_no_failure_of_the_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path / "logs")], check=True)
    try:
        flag = launcher(tmp_path, "test {{ exp.seed }} -ne 1 || head -c 200000 /dev/zero; true")
        done = dlbs("run", *DUMMY, flag, "-Vexp.seed=[1,2]")
    finally:
        subprocess.run(["umount", str(tmp_path / "logs")], check=True)
    assert done.returncode == UNAVAILABLE
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "2 experiments: 2 left" in done.stderr


def test_facts_about_the_machine_are_logged_on_request(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Pexp.sys_info=cpu,memory", check=True)
    found = values(logs(tmp_path)[0])
    assert found["exp.sys.cpu.cores_logical"] == os.cpu_count()
    assert found["exp.sys.memory.total_bytes"] > 0
    assert not any(key.startswith("exp.sys.host") for key in found)
    refused = dlbs("run", *DUMMY, "-Pexp.sys_info=weather")
    assert refused.returncode == 2
