"""A plan that is watched: what runs, since when, how long still, what failed; only what has changed is read again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlbs.executors.local import LocalExecutor
from dlbs.logs import parameter_line
from dlbs.results.page.now import now_variables
from dlbs.results.read.findings import Reading
from dlbs.results.read.kept import KeptLogs
from dlbs.run import watch as watch_module
from dlbs.run.locks import locked
from dlbs.run.planfile import write_plan_file
from dlbs.run.watch import Look, Watch
from tests.made_logs import make_record, write_log

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
    head = "".join(f"{parameter_line(key, value)}\n" for key, value in record.items())
    (directory / f"{name}.part").write_text(f"{head}{output}\nhalf a li")


def end(directory: Path, name: str, status: str = "ok", message: str = "", seconds: float = 10.0) -> None:
    (directory / f"{name}.part").unlink(missing_ok=True)
    write_log(directory / name, make_record(status=status, exp__seconds=seconds) | {"exp.status_msg": message})


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir()
    write_plan_file(directory, ["exp.model"], NAMES)
    return directory


def test_a_plan_that_runs(logs: Path) -> None:
    watch = Watch(logs)
    with running(logs):
        end(logs, "0.log")
        end(logs, "1.log", "failure", "CUDA out of memory")
        end(logs, "2.log", "failure", "CUDA out of memory")
        begin(logs, "3.log")
        look = watch.look()
    assert look.counts == {"ok": 1, "failure": 2, "running": 1, "to do": 2}
    assert (look.planned, look.done) == (6, 3)
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
    assert (reason.status, reason.message, reason.count) == ("failure", "CUDA out of memory", 2)
    assert look.remaining is not None
    assert look.remaining.high is not None


def test_an_experiment_keeps_its_slot_when_another_one_ends(logs: Path) -> None:
    watch = Watch(logs)
    with running(logs):
        for name in ("0.log", "1.log"):
            begin(logs, name)
        assert [(one.name, one.slot) for one in watch.look().under_way] == [("model0", 1), ("model1", 2)]
        end(logs, "0.log")
        begin(logs, "2.log")
        assert [(one.name, one.slot) for one in watch.look().under_way] == [("model2", 1), ("model1", 2)]


def test_only_logs_that_changed_are_read_again(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = watch_module.read_state

    def counting(log: Path, *arguments: object) -> object:
        if log.exists():
            read.append(log.name)
        return original(log, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watch_module, "read_state", counting)
    watch = Watch(logs)
    for name in NAMES[:3]:
        end(logs, name)
    first = watch.look()
    assert sorted(read) == NAMES[:3]
    assert watch.look() == first
    assert sorted(read) == NAMES[:3]
    end(logs, "1.log", "failure", "a message of another length")
    assert watch.look().counts == {"ok": 2, "failure": 1, "to do": 3}
    assert sorted(read) == sorted([*NAMES[:3], "1.log"])


def test_what_somebody_else_has_read_is_not_read_again(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end(logs, "0.log", "failure", "CUDA out of memory")
    end(logs, "1.log")
    watch = Watch(logs)
    kept = KeptLogs(str(logs))
    kept.read(Reading())
    for log, stamp, record in kept.complete():
        watch.learn(Path(log), stamp, record)
    expected = Watch(logs).look()
    read: list[Path] = []
    original = watch_module.read_state

    def counting(log: Path, *arguments: object) -> object:
        read.append(log)
        return original(log, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watch_module, "read_state", counting)
    found = watch.look()
    assert (found.counts, found.reasons, found.planned) == (expected.counts, expected.reasons, expected.planned)
    assert not [log for log in read if log.exists()]
    end(logs, "1.log", "timeout", "took more than 5 s")
    assert watch.look().counts["timeout"] == 1


def test_what_nobody_runs_is_interrupted_and_has_no_remaining_time(logs: Path) -> None:
    end(logs, "0.log")
    begin(logs, "1.log")
    look = Watch(logs).look()
    assert look.counts == {"ok": 1, "interrupted": 1, "to do": 4}
    assert (look.run, look.since, look.remaining, look.under_way) == ({}, None, None, ())


def test_what_cannot_be_read_is_a_problem_and_no_error(logs: Path, tmp_path: Path) -> None:
    assert Watch(tmp_path / "nothing").look().problems == (f"{tmp_path / 'nothing'}: no such directory",)
    (tmp_path / "file").touch()
    assert any("cannot be read" in line for line in Watch(tmp_path / "file").look().problems)
    (logs / ".dlbs.plan").write_bytes(b"\xff\xfe")
    assert any("UTF-8" in line for line in Watch(logs).look().problems)
    (logs / "0.log").mkdir()
    assert Watch(logs).look().counts["interrupted"] == 1


def test_a_hostile_log_stays_text(logs: Path) -> None:
    from dlbs.results.page.assets import fragment

    with running(logs):
        begin(logs, "0.log", "<script>window.hacked=1</script>\x1b[31m")
        end(logs, "1.log", "failure", "<img src=x onerror=alert(1)>")
        html = fragment("live.html", {**now_variables(Watch(logs).look()), "problems": []})
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in html


def test_moments_are_for_people() -> None:
    import time

    now = time.mktime((2026, 11, 21, 15, 0, 0, 0, 0, -1))
    look = Look({"pid": 7, "jobs": 3}, now - 3 * 3600, {"ok": 40, "to do": 2}, 0, 42, 40, (), 0, (), None, ())
    shown = now_variables(look, now)
    assert shown["since"] == "since 12:00, 3 h 0 min ago"
    assert shown["pace"] == "13 experiments per hour"
    assert shown["slots"] == "0 of 3"
    yesterday = now_variables(Look({"pid": 7}, now - 86_400, {}, 0, 0, 0, (), 0, (), None, ()), now)
    assert yesterday["since"].startswith("since Fri 20 Nov, 15:00")
