"""Policies of a run: when it stops early, which experiments are retried, and which are skipped."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest

from dlbs.core.errors import ConfigError
from dlbs.executors.base import Outcome
from dlbs.run.policies import BatchLimits, Policies, parse_deadline, parse_duration
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values


def test_deadlines() -> None:
    now = time.monotonic()
    for words, seconds in (("90m", 5400), ("2h", 7200), ("10s", 10)):
        before = time.monotonic()
        assert before + seconds <= parse_deadline(words) <= time.monotonic() + seconds
    assert now < parse_deadline("00:00") <= time.monotonic() + 86400
    assert parse_deadline(f"{date.today().year + 5}-01-01T00:00") > now
    for wrong in ("soon", "25:00", "2001-01-01", "10", ""):
        with pytest.raises(ConfigError, match="--deadline"):
            parse_deadline(wrong)


def test_durations() -> None:
    given = ("90m", "2h", "1.5 d", "10s", "3 s", "1h30m", "1 min 5 s")
    assert [parse_duration(words, "--budget") for words in given] == [5400, 7200, 129_600, 10, 3, 5400, 65]
    for wrong in ("soon", "18:30", "0", "4", "-1h", ""):
        with pytest.raises(ConfigError, match=r"--budget: '.*' is not a duration \(write 90s, 90m, 1h30m or 1d\)"):
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


def test_a_limit_applies_to_nothing_that_may_need_other_memory() -> None:
    """The parameters that differ within the plan decide, except the length of a run for programs that are known."""
    limits = BatchLimits(["exp.seed", "exp.replica_batch", "slurm.partition", "impl", "exp.repeat"])
    own = {"exp.framework": "mine", "exp.seed": 1, "slurm.partition": "v100", "impl": 3}
    theirs = {**own, "exp.framework": "pytorch"}
    for one in (own, theirs):
        limits.learn({**one, "exp.replica_batch": 64}, Outcome("failure", "no", exit_code=3))
    larger = {"exp.replica_batch": 128, "exp.repeat": 2, "exp.effective_batch": 256}
    assert limits.reason_to_skip({**own, **larger})
    for other in ({"slurm.partition": "a100"}, {"impl": 0}, {"exp.gpus": "1"}, {"exp.pack": "p"}, {"exp.nodes": ["a"]}):
        assert not limits.reason_to_skip({**own, **larger, **other})
    assert not limits.reason_to_skip({**own, **larger, "exp.seed": 2})
    assert limits.reason_to_skip({**theirs, **larger, "exp.seed": 2})


def test_a_command_that_contains_the_batch_size_has_a_limit() -> None:
    limits = BatchLimits(["exp.replica_batch"])
    commands = [
        {"exp.framework": "command", "exp.replica_batch": n, "command.line": f"train --batch {n}"} for n in (64, 128)
    ]
    limits.learn(commands[0], Outcome("failure", "no", exit_code=3))
    assert limits.reason_to_skip(commands[1])


def test_a_batch_that_fits_removes_the_limits_below_it() -> None:
    experiment = {"exp.framework": "dummy"}
    failure = {"exp.status": "failure", "exp.exit_code": 3}
    limits = BatchLimits()
    limits.learn_from_log({**experiment, "exp.replica_batch": 8}, failure)
    assert limits.reason_to_skip({**experiment, "exp.replica_batch": 64})
    limits.learn({**experiment, "exp.replica_batch": 16}, Outcome("ok"))
    assert not limits.reason_to_skip({**experiment, "exp.replica_batch": 64})
    limits.learn_from_log({**experiment, "exp.replica_batch": 8}, failure)  # read after the success
    assert not limits.reason_to_skip({**experiment, "exp.replica_batch": 64})
    assert limits.learn({**experiment, "exp.replica_batch": 32}, Outcome("failure", "no", exit_code=3))
    assert limits.reason_to_skip({**experiment, "exp.replica_batch": 64})


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


def test_a_limit_of_an_earlier_run_applies_in_every_order(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "echo {{ exp.replica_batch }} >> ran; test {{ exp.replica_batch }} -lt 4 || (exit 3)"
    flags = (*DUMMY, launcher(tmp_path, body))
    assert "1 ok, 1 failure, 1 skipped" in dlbs("run", *flags, "-Vexp.replica_batch=[1,4,16]").stderr
    larger_first = "-Vexp.replica_batch=[32,16,8,4,1]"
    assert "2 skipped, 3 already finished" in dlbs("run", *flags, larger_first).stderr
    for order in (("plan",), ("random",), ("random", "--order-seed", "2"), ("round-robin",)):
        assert "5 already finished" in dlbs("run", *flags, larger_first, "--order", *order).stderr
    assert (tmp_path / "ran").read_text().split() == ["1", "4"]
    assert (
        "4 failure, 1 already finished" in dlbs("run", *flags, larger_first, "-Pexp.rerun=onfail").stderr
    )  # no longer final
    assert (tmp_path / "ran").read_text().split() == ["1", "4", "32", "16", "8", "4"]


def test_what_does_not_fit_on_one_partition_or_in_one_implementation_runs_on_the_others(dlbs: RunDlbs) -> None:
    flag = '-Pdummy.exit_code=$(3 if "${slurm.partition}" == "v100" else 0)$'
    done = dlbs("run", *DUMMY, flag, "-Vslurm.partition=[v100,a100]", "-Vexp.replica_batch=[64,128]")
    assert "2 ok, 1 failure, 1 skipped" in done.stderr
    grid = (
        "-Vimpl=[3,0]",
        "-Vexp.replica_batch=[16,32]",
        "-Pdummy.exit_code=${impl}",
        "-Pdummy.env=BATCH=${exp.replica_batch}",
    )
    done = dlbs("run", *DUMMY, *grid, "-Pexp.log_dir=others")
    assert "2 ok, 1 failure, 1 skipped" in done.stderr


def test_a_batch_that_was_skipped_is_decided_again(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "echo {{ exp.replica_batch }} >> ran; test {{ exp.replica_batch }} -lt 4 -o -e fits || (exit 3)"
    grid = (*DUMMY, launcher(tmp_path, body), "-Vexp.replica_batch=[2,4,8,16]")
    assert "1 ok, 1 failure, 2 skipped" in dlbs("run", *grid).stderr

    def written() -> dict[Path, tuple[int, int]]:
        return {log: (log.stat().st_ino, log.stat().st_mtime_ns) for log in logs(tmp_path)}

    before = written()
    assert "4 already finished" in dlbs("run", *grid).stderr
    assert written() == before
    (tmp_path / "fits").touch()
    assert "2 ok, 2 already finished" in dlbs("run", *grid, "-Pexp.ignore_past_errors=true").stderr
    assert (tmp_path / "ran").read_text().split() == ["2", "4", "8", "16"]
    assert "1 ok, 3 already finished" in dlbs("run", *grid, "-Pexp.rerun=onfail").stderr


def test_a_smaller_batch_that_fits_now_lets_the_skipped_ones_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "test {{ exp.replica_batch }} -lt 4 -o -e fits || (exit 3)"
    grid = (*DUMMY, launcher(tmp_path, body), "-Vexp.replica_batch=[2,4,8]")
    dlbs("run", *grid)
    assert "1 failure, 2 already finished" in dlbs("run", *grid, "-Pexp.rerun=onfail").stderr
    (tmp_path / "fits").touch()
    assert "2 ok, 1 already finished" in dlbs("run", *grid, "-Pexp.rerun=onfail").stderr


def test_a_benchmark_that_skipped_itself_stays_skipped(dlbs: RunDlbs, tmp_path: Path) -> None:
    own = tmp_path / "own.sh"
    own.write_text("echo ran >> ran; sleep 0.01; exit 77")  # it logs no exit code
    for flags in ([], ["-Pexp.ignore_past_errors=true", "-Pexp.rerun=onfail"]):
        dlbs("run", *DUMMY, f"-Pdummy.launcher={own}", *flags)
    assert (tmp_path / "ran").read_text() == "ran\n"
