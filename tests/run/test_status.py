"""What the files of a run tell: the state of a plan, and one experiment to repeat."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark_core.log import key_line
from dlbs.core.errors import LogError
from dlbs.core.logs import last_values
from dlbs.executors.local import LocalExecutor
from dlbs.results.page.live import now_variables
from dlbs.results.read.logs import KeptLogs
from dlbs.results.read.onelog import Reading
from dlbs.run.locks import locked
from dlbs.run.manifest import write_plan_file
from dlbs.run.status import Look, State, Watch, time_left
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, logs, start, values
from tests.made_logs import make_record, write_log
from tests.waiting import wait_until


def test_many_runs_with_one_reason_are_one_line(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Vexp.replica_batch=[1,2,3,4]", "-Pdummy.exit_code=7")
    shown = dlbs("status").stdout
    assert "  failure      4 experiments: exit code 7 (-v lists them)\n" in shown
    assert ".log" not in shown
    assert dlbs("status", "-v").stdout.count(": exit code 7\n") == 4


def test_the_remaining_time_comes_from_the_logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part, log = tmp_path / "running.log.part", tmp_path / "running.log"
    part.write_text('__exp.model__= "a"\n__exp.start_time__= "2026-11-30T18:30:00+0100"\n')
    monkeypatch.setattr(
        "dlbs.run.status.time.time", lambda: datetime(2026, 11, 30, 17, 30, 4, tzinfo=timezone.utc).timestamp()
    )
    write_plan_file(tmp_path, ["exp.model"], ["running.log", "waiting.log"])
    assert time_left([Watch(tmp_path).look({log})]) is None  # nothing has ended
    write_log(tmp_path / "ended.log", make_record(exp__seconds=10.0))
    left = time_left([Watch(tmp_path).look({log})])
    assert left is not None
    assert left.seconds == 16.0
    assert time_left([Watch(tmp_path).look()]) is None  # nothing runs


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
    nothing = dlbs("status", ".")
    assert nothing.returncode == 2
    assert ".: neither logs nor a plan (dlbs status good logs)" in nothing.stderr
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
            raise Watch(tmp_path / name).look().errors[0]
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
    assert "is a directory (give the log of one experiment" in dlbs("rerun", ".").stderr
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


NAMES = [f"{number}.log" for number in range(6)]


@contextmanager
def running(directory: Path, jobs: int = 2) -> Iterator[None]:
    """As while `dlbs run --jobs 2` holds the directory."""
    with locked([directory], LocalExecutor(directory, jobs)):
        yield


def begin(directory: Path, name: str, output: str = "step 1: 812 images/s") -> None:
    record = {
        "exp.model": f"model{name[0]}",
        "exp.gpu_ids": "0",
        "exp.cpus": "0-3",
        "exp.start_time": "2026-11-21T10:00:00+0000",
    }
    head = "".join(f"{key_line(key, value)}\n" for key, value in record.items())
    (directory / f"{name}.part").write_text(f"{head}{output}\nhalf a li")


def end(directory: Path, name: str, status: str = "ok", message: str = "", seconds: float = 10.0) -> None:
    (directory / f"{name}.part").unlink(missing_ok=True)
    write_log(directory / name, make_record(status=status, exp__seconds=seconds) | {"exp.status_msg": message})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir()
    write_plan_file(directory, ["exp.model"], NAMES)
    return directory


def test_a_plan_that_runs(directory: Path) -> None:
    watch = Watch(directory)
    with running(directory):
        end(directory, "0.log")
        end(directory, "1.log", "failure", "CUDA out of memory")
        end(directory, "2.log", "failure", "CUDA out of memory")
        begin(directory, "3.log")
        look = watch.look()
    assert look.counts == {"ok": 1, "failure": 2, "running": 1, "to do": 2}
    assert (len(look.states), look.done) == (6, 3)
    assert look.run is not None
    assert look.run["jobs"] == 2
    assert look.since is not None
    (one,) = look.under_way
    assert (one.name, one.slot, one.gpus, one.cpus, one.line, one.rate) == (
        "model3",
        1,
        "0",
        "0-3",
        "step 1: 812 images/s",
        "812 images/s",
    )
    (reason,) = look.reasons
    assert (reason.status, reason.message, reason.experiments) == ("failure", "CUDA out of memory", 2)
    assert look.remaining is not None
    assert look.remaining.high is not None


def test_an_experiment_keeps_its_slot_when_another_one_ends(directory: Path) -> None:
    watch = Watch(directory)
    with running(directory):
        for name in ("0.log", "1.log"):
            begin(directory, name)
        assert [(one.name, one.slot) for one in watch.look().under_way] == [("model0", 1), ("model1", 2)]
        end(directory, "0.log")
        begin(directory, "2.log")
        assert [(one.name, one.slot) for one in watch.look().under_way] == [("model2", 1), ("model1", 2)]


def test_only_logs_that_changed_are_read_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(log: Path) -> dict[str, Any]:
        read.append(log.name)
        return last_values(log)

    monkeypatch.setattr("dlbs.run.status.last_values", counting)
    watch = Watch(directory)
    for name in NAMES[:3]:
        end(directory, name)
    first = watch.look()
    assert sorted(read) == NAMES[:3]
    assert watch.look() == first
    assert sorted(read) == NAMES[:3]
    end(directory, "1.log", "failure", "a message of another length")
    assert watch.look().counts == {"ok": 2, "failure": 1, "to do": 3}
    assert sorted(read) == sorted([*NAMES[:3], "1.log"])


def test_what_somebody_else_has_read_is_not_read_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end(directory, "0.log", "failure", "CUDA out of memory")
    end(directory, "1.log")
    watch = Watch(directory)
    kept = KeptLogs(str(directory))
    kept.read(Reading())
    for log, stamp, record in kept.complete():
        watch.learn(Path(log), stamp, record)
    expected = Watch(directory).look()
    read: list[Path] = []

    def counting(log: Path) -> dict[str, Any]:
        read.append(log)
        return last_values(log)

    monkeypatch.setattr("dlbs.run.status.last_values", counting)
    found = watch.look()
    assert (found.counts, found.reasons, found.states) == (expected.counts, expected.reasons, expected.states)
    assert not read
    end(directory, "1.log", "timeout", "took more than 5 s")
    assert watch.look().counts["timeout"] == 1


def test_what_nobody_runs_is_interrupted_and_has_no_remaining_time(directory: Path) -> None:
    end(directory, "0.log")
    begin(directory, "1.log")
    look = Watch(directory).look()
    assert look.counts == {"ok": 1, "interrupted": 1, "to do": 4}
    assert (look.run, look.since, look.remaining, look.under_way) == (None, None, None, ())


def test_what_cannot_be_read_is_a_problem_and_no_error(directory: Path, tmp_path: Path) -> None:
    assert Watch(tmp_path / "nothing").look().problems == [f"{tmp_path / 'nothing'}: no such directory"]
    (tmp_path / "file").touch()
    assert any("is not a directory" in line for line in Watch(tmp_path / "file").look().problems)
    (directory / ".dlbs.plan").write_bytes(b"\xff\xfe")
    assert any("UTF-8" in line for line in Watch(directory).look().problems)
    (directory / "0.log").mkdir()
    assert Watch(directory).look().counts["interrupted"] == 1


def test_a_hostile_log_stays_text(directory: Path) -> None:
    from dlbs.results.page.assets import fragment

    with running(directory):
        begin(directory, "0.log", "<script>window.hacked=1</script>\x1b[31m")
        end(directory, "1.log", "failure", "<img src=x onerror=alert(1)>")
        html = fragment("live.html", {**now_variables(Watch(directory).look()), "problems": []})
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in html


def test_moments_are_for_people() -> None:
    import time

    now = time.mktime((2026, 11, 21, 15, 0, 0, 0, 0, -1))
    states = [State(Path(f"{number}.log"), "ok") for number in range(40)]
    look = Look(tuple(states), {"pid": 7, "jobs": 3}, now - 3 * 3600, ended=40)
    shown = now_variables(look, now)
    assert shown["since"] == "since 12:00, 3 h 0 min ago"
    assert shown["pace"] == "13 experiments/h"
    assert shown["slots"] == "0 of 3"
    yesterday = now_variables(Look((), {"pid": 7}, now - 86_400), now)
    assert yesterday["since"].startswith("since 2026-11-20 15:00")
