"""Policies of a run: when it stops early, which experiments are retried, and which are skipped."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest

from dlbs.errors import ConfigError
from dlbs.executors.base import Outcome
from dlbs.run.policies import BatchLimits, Policies, parse_deadline, parse_duration
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values


def test_deadlines() -> None:
    now = time.monotonic()
    assert parse_deadline("90m") - now == pytest.approx(5400, abs=1)
    assert parse_deadline("2h") - now == pytest.approx(7200, abs=1)
    assert parse_deadline("10s") - now == pytest.approx(10, abs=1)
    assert 0 < parse_deadline("00:00") - now <= 86400
    assert parse_deadline(f"{date.today().year + 5}-01-01T00:00") > now
    for wrong in ("soon", "25:00", "2001-01-01", "10", ""):
        with pytest.raises(ConfigError, match="--deadline"):
            parse_deadline(wrong)


def test_durations() -> None:
    given = ("90m", "2h", "1.5 d", "10s", "3 s")
    assert [parse_duration(words, "--budget") for words in given] == [5400, 7200, 129_600, 10, 3]
    for wrong in ("soon", "18:30", "0", "4", "-1h", ""):
        with pytest.raises(ConfigError, match=r"--budget: '.*' is not a duration \(write 90s, 90m, 2h or 1d\)"):
            parse_duration(wrong, "--budget")


def test_pauses_grow() -> None:
    assert [Policies().pause(attempt) for attempt in (1, 2, 3, 20)] == [1, 2, 4, 60]


def test_limits_are_those_of_the_same_thing() -> None:
    base = {"exp.framework": "pytorch", "exp.model": "a", "exp.phase": "training", "exp.dtype": "float32"}
    limits = BatchLimits()
    limits.learn({**base, "exp.replica_batch": 64}, Outcome("failure", "CUDA out of memory"))
    limits.learn({**base, "exp.replica_batch": 32}, Outcome("failure", "no", exit_code=3))
    limits.learn({**base, "exp.replica_batch": 2}, Outcome("failure", "exit code 1", exit_code=1))
    assert limits.reason_to_skip({**base, "exp.replica_batch": 33})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 32})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 33, "exp.dtype": "float16"})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 33, "exp.ignore_past_errors": True})


@pytest.mark.integration
def test_what_pauses_before_its_next_attempt_keeps_nobody_waiting(dlbs: RunDlbs, tmp_path: Path) -> None:
    """Far more experiments run in the pause, a minute after the seventh attempt, than may overtake one that waits for room."""
    flag = launcher(
        tmp_path,
        "echo {{ exp.seed }} >> ran; test {{ exp.seed }} -ne 79 || kill -USR1 $PPID; test {{ exp.seed }} -ne 0",
    )
    done = dlbs("run", *DUMMY, flag, f"-Vexp.seed={list(range(80))}", "-Pexp.attempt=7", "--retries", "9")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").read_text().split() == [str(seed) for seed in range(80)]
    assert "79 ok, 1 left" in done.stderr


@pytest.mark.parametrize(("flags", "ran"), [(["--fail-fast"], 2), (["--max-failures", "2"], 3), ([], 5)])
def test_failures_may_stop_a_run(dlbs: RunDlbs, tmp_path: Path, flags: list[str], ran: int) -> None:
    done = dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,1,2,3,0]", "-Pexp.id=$(uuid4())$", *flags)
    assert done.returncode == 1
    assert len(logs(tmp_path)) == ran
    assert ("stopped: " in done.stderr) == bool(flags)
    assert ("left" in done.stderr) == bool(flags)


def test_a_plan_of_which_everything_was_skipped_measured_nothing(dlbs: RunDlbs) -> None:
    for _ in range(2):  # the second time, that is known from the log
        done = dlbs("run", *DUMMY, "-Pdummy.exit_code=77")
        assert done.returncode == 1
        assert "nothing was measured: all experiments were skipped" in done.stderr
    assert dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,77]").returncode == 0


def test_larger_batches_than_one_that_did_not_fit_are_skipped(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo {{ exp.replica_batch }} >> ran; test {{ exp.replica_batch }} -lt 4 || (exit 3)")
    grid = (*DUMMY, flag, "-Vexp.replica_batch=[1,4,8,2,16]")
    done = dlbs("run", *grid)
    assert (tmp_path / "ran").read_text().split() == ["1", "4", "2"]
    assert "2 skipped" in done.stderr
    reasons = {values(log)["exp.replica_batch"]: values(log)["exp.status_msg"] for log in logs(tmp_path)}
    assert "batch size 4 did not fit into memory" in reasons[16]
    again = dlbs("run", *grid[:-1], "-Vexp.replica_batch=[4,32]")  # known from the log of the run before
    assert "1 skipped, 1 already finished" in again.stderr
    dlbs("run", *grid[:-1], "-Pexp.replica_batch=64", "-Pexp.ignore_past_errors=true")
    assert (tmp_path / "ran").read_text().split()[-1] == "64"
