"""What the files of a run tell: the state of a plan, and one experiment to repeat."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest

from dlbs.errors import LogError
from dlbs.run.status import State, read_states, time_left
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, logs, start, values
from tests.waiting import wait_until


def test_many_runs_with_one_reason_are_one_line(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Vexp.replica_batch=[1,2,3,4]", "-Pdummy.exit_code=7")
    shown = dlbs("status").stdout
    assert "  failure      4 experiments: exit code 7 (-v lists them)\n" in shown
    assert ".log" not in shown
    assert dlbs("status", "-v").stdout.count(": exit code 7\n") == 4


def test_the_remaining_time_comes_from_the_logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    running = tmp_path / "running.log"
    running.with_name("running.log.part").write_text(
        '__exp.model__= "a"\n__exp.start_time__= "2026-11-30T18:30:00+0100"\n'
    )
    monkeypatch.setattr(
        "dlbs.run.status.time.time", lambda: datetime(2026, 11, 30, 17, 30, 4, tzinfo=timezone.utc).timestamp()
    )
    ended = State(tmp_path / "ended.log", "ok", seconds=10.0)
    waiting = State(tmp_path / "waiting.log", "to do")
    left = time_left([ended, State(running, "running"), waiting])
    assert left is not None
    assert left.seconds == 16.0
    assert time_left([State(running, "running"), waiting]) is None  # nothing has ended
    assert time_left([ended, waiting]) is None  # nothing runs


@pytest.mark.integration
def test_status_tells_from_the_logs_alone(dlbs: RunDlbs, tmp_path: Path) -> None:
    process = start(tmp_path, "-Vdummy.seconds=[0,600,601]", "-Vdummy.exit_code=[1,0]")
    wait_until(lambda: len(logs(tmp_path)) == 2 and list(tmp_path.glob("logs/*.part")))
    shown = dlbs("status")
    assert shown.returncode == 1
    assert "6 experiments: 1 ok, 1 failure, 1 running, 3 to do" in shown.stdout
    assert f"running in process {process.pid}" in shown.stdout
    assert "exit code 1" in shown.stdout
    launchers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    found = json.loads(dlbs("status", "logs", "--json").stdout)
    assert found["statuses"] == {"ok": 1, "failure": 1, "interrupted": 1, "to do": 3}
    assert found["runs"] == {}
    dlbs("run", *DUMMY, "-Pexp.log_dir=good", check=True)
    assert dlbs("status", "good").returncode == 0
    assert dlbs("status", "nowhere").returncode == 2
    for launcher in launchers:
        launcher.kill()


def test_a_list_of_logs_that_is_a_link_or_a_pipe_is_not_read(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "secret").write_text('["exp.model"]\n"from-elsewhere.log"\n')
    plan = tmp_path / "logs" / ".dlbs.plan"
    plan.symlink_to(tmp_path / "secret")
    assert dlbs("status").stderr == "error: logs/.dlbs.plan: is a symbolic link, which is not followed\n"
    plan.unlink()
    os.mkfifo(plan)
    assert dlbs("status").stderr == "error: logs/.dlbs.plan: is not a regular file\n"


def test_a_directory_that_is_not_there_gets_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "file").touch()
    for name, said in (
        ("lgos", "no such directory (did you mean 'logs'?)"),
        (
            "elsewhere",
            "no such directory (`dlbs run` writes logs to logs/, or to exp.log_dir)",
        ),
        ("no/logs", "no such directory"),
        ("file", "is not a directory"),
    ):
        with pytest.raises(LogError) as raised:
            read_states(tmp_path / name)
        assert str(raised.value).startswith(f"{tmp_path / name}: {said}")


def test_rerun_repeats_one_experiment_from_its_log(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs(
        "run",
        *DUMMY,
        "-Pexp.model=it's \\${x} odd",
        "-Vexp.replica_batch=[1,7]",
        "-Pdummy.seconds=0.1",
        "--no-validation",
    )
    log = next(log for log in logs(tmp_path) if values(log)["exp.replica_batch"] == 7)
    other = next(other for other in logs(tmp_path) if other != log)
    before, kept = values(log), other.stat().st_mtime_ns
    done = dlbs("rerun", str(log.relative_to(tmp_path)))
    assert done.returncode == 0, done.stderr
    after = values(log)
    for key in before:
        if key not in {"exp.start_time", "exp.end_time", "exp.seconds", "exp.rerun", "exp.log_file"}:
            assert after[key] == before[key], key
    assert after["exp.start_time"] >= before["exp.start_time"]
    assert other.stat().st_mtime_ns == kept
    assert "nope.log: no such file" in dlbs("rerun", "nope.log").stderr
    (tmp_path / "note.log").write_text("hello")
    refused = dlbs("rerun", "note.log")
    assert refused.returncode == 2
    assert "does not begin with the parameters of an experiment" in refused.stderr


def test_repeating_one_experiment_keeps_the_list_of_the_plan(dlbs: RunDlbs, tmp_path: Path) -> None:
    grid = (*DUMMY, "-Vexp.replica_batch=[1,2,3,4]", "-Pdummy.exit_code=$(1 if ${exp.replica_batch} == 2 else 0)$")
    dlbs("run", *grid, "--fail-fast")
    done, failed = (next(tmp_path.glob(f"logs/*_b{batch}_*.log")) for batch in (1, 2))
    dlbs("rerun", str(done), check=True)
    assert "1 ok, 1 failure, 2 to do" in dlbs("status").stdout
    failed.unlink()
    assert "3 to do" in dlbs("status").stdout
    (tmp_path / "logs" / ".dlbs.plan").unlink()
    dlbs("rerun", str(done), check=True)
    assert dlbs("status").stdout == "1 experiment: 1 ok\n"


@pytest.mark.parametrize("code", [0, 5])
def test_the_next_run_removes_what_a_killed_repeat_left_beside_a_complete_log(
    dlbs: RunDlbs, tmp_path: Path, code: int
) -> None:
    grid = (*DUMMY, "-Vexp.seed=[1,2]", f"-Pdummy.exit_code={code}")
    dlbs("run", *grid)
    log, other = logs(tmp_path)
    head = log.read_text().split("__exp.start_time__")[0]
    for path in (log, other):
        path.with_name(f"{path.name}.part").write_text(head)
    other.unlink()  # this one was interrupted in its first run
    assert "2 interrupted" in dlbs("status").stdout
    dlbs("run", *DUMMY, "-Pexp.seed=3")  # another plan
    assert sorted(tmp_path.glob("logs/*.part")) == [other.with_name(f"{other.name}.part")]
    assert "1 already finished" in dlbs("run", *grid).stderr
    assert not list(tmp_path.glob("logs/*.part"))
    assert dlbs("status").returncode == (1 if code else 0)
