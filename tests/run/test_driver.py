"""Running plans with real processes: what is left behind, what runs again, how runs are stopped."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dlbs.logs import last_values, parse_line
from tests.conftest import ROOT, RunDlbs

DUMMY = ("-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=")


def logs(directory: Path) -> list[Path]:
    return sorted((directory / "logs").glob("*.log"))


def values(log: Path) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, log.read_text().splitlines()) if pair)


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dlbs", "run", *DUMMY, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


def test_a_grid_leaves_one_complete_log_each(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, "-Vexp.replica_batch=[1,2]", "-Vexp.model=[a,b]")
    assert done.returncode == 0, done.stderr
    assert len(logs(tmp_path)) == 4
    assert not list(tmp_path.glob("logs/*.part"))
    for log in logs(tmp_path):
        found = values(log)
        assert found["exp.status"] == "ok"
        assert found["exp.status_msg"] == ""
        assert found["results.throughput"] == found["exp.replica_batch"] * 1000
        assert Path(f"{log}.sh").is_file()
    assert "[4/4]" in done.stderr
    assert "4 ok" in done.stderr


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


@pytest.mark.parametrize(
    ("policy", "reran_ok", "reran_failed"), [("never", False, False), ("onfail", False, True), ("always", True, True)]
)
def test_rerun(dlbs: RunDlbs, tmp_path: Path, policy: str, reran_ok: bool, reran_failed: bool) -> None:
    grid = (*DUMMY, "-Vdummy.exit_code=[0,1]", f"-Pexp.rerun={policy}")
    assert dlbs("run", *grid).returncode == 1
    before = {values(log)["dummy.exit_code"]: log.stat().st_ino for log in logs(tmp_path)}
    dlbs("run", *grid)
    after = {values(log)["dummy.exit_code"]: log.stat().st_ino for log in logs(tmp_path)}
    assert (before[0] != after[0], before[1] != after[1]) == (reran_ok, reran_failed)


def test_a_failure_is_told_and_stops_no_others(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, "-Vdummy.exit_code=[7,0]")
    assert done.returncode == 1
    assert "failure" in done.stderr
    assert "exit code 7" in done.stderr
    assert sorted(values(log)["exp.status"] for log in logs(tmp_path)) == ["failure", "ok"]
    assert {values(log)["exp.status_msg"] for log in logs(tmp_path)} == {"exit code 7", ""}


def launcher(directory: Path, body: str) -> str:
    """A template whose benchmark is `body`, as a -P flag."""
    path = directory / "own.sh"
    path.write_text('{% extends "base.sh" %}{% block benchmark %}\n' + body + "\n{% endblock %}")
    return f"-Pdummy.launcher={path}"


@pytest.mark.integration
def test_a_timeout_ends_everything_the_experiment_started(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "(trap '' TERM; exec sleep 300) & echo child=$! > pids; sleep 300 & echo other=$! >> pids; wait"
    begin = time.monotonic()
    done = dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pexp.timeout=0.5")
    assert done.returncode == 1
    assert time.monotonic() - begin < 30
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "timeout"
    assert "0.5 s" in values(log)["exp.status_msg"]
    for line in (tmp_path / "pids").read_text().split():
        pid = int(line.split("=")[1])
        wait_for(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


@pytest.mark.integration
def test_what_is_asked_to_end_has_time_to_tidy_up(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "sh -c \"trap 'sleep 1; echo tidied up; exit 0' TERM; while :; do sleep 0.1; done\""
    done = dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pexp.timeout=1")
    assert done.returncode == 1
    assert "tidied up" in logs(tmp_path)[0].read_text()


def test_what_an_experiment_leaves_running_is_ended(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, launcher(tmp_path, "sleep 300 & echo $! > pid"))
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


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


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(
    dlbs: RunDlbs, tmp_path: Path, number: signal.Signals
) -> None:
    grid = ("-Vdummy.seconds=[0,300,0.01]",)
    process = start(tmp_path, *grid)
    wait_for(lambda: list(tmp_path.glob("logs/*.part")) and logs(tmp_path))
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "the same command runs what is left" in told
    statuses = {values(log)["dummy.seconds"]: values(log)["exp.status"] for log in logs(tmp_path)}
    assert statuses == {0: "ok", 300: "cancelled"}
    assert not list(tmp_path.glob("logs/*.part"))
    done = dlbs("run", *DUMMY, "-Vdummy.seconds=[0,300,0.01]", "-Pexp.timeout=0.3")
    assert "1 finished before" in done.stderr
    statuses = {values(log)["dummy.seconds"]: values(log)["exp.status"] for log in logs(tmp_path)}
    assert statuses == {0: "ok", 300: "timeout", 0.01: "ok"}


@pytest.mark.integration
def test_sigusr1_stops_after_the_current_experiment(tmp_path: Path) -> None:
    process = start(tmp_path, "-Vdummy.seconds=[1,2,3]")
    wait_for(lambda: list(tmp_path.glob("logs/*.part")))
    process.send_signal(signal.SIGUSR1)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "2 left" in told
    assert [values(log)["exp.status"] for log in logs(tmp_path)] == ["ok"]


@pytest.mark.integration
def test_after_kill_9_the_same_command_runs_what_is_missing(dlbs: RunDlbs, tmp_path: Path) -> None:
    process = start(tmp_path, "-Vdummy.seconds=[0,1.5]")
    wait_for(lambda: list(tmp_path.glob("logs/*.part")) and logs(tmp_path))
    process.kill()
    process.wait()
    assert len(logs(tmp_path)) == 1
    done = dlbs("run", *DUMMY, "-Vdummy.seconds=[0,1.5]")
    assert done.returncode == 0
    assert "1 ok, 1 finished before" in done.stderr
    assert all(last_values(log)["exp.status"] == "ok" for log in logs(tmp_path))


@pytest.mark.integration
def test_what_a_killed_run_left_running_is_ended_and_does_not_write_into_the_new_log(
    dlbs: RunDlbs, tmp_path: Path
) -> None:
    """Also what has left the process group, and is nobody's child any more."""
    body = "echo $$ > first; (setsid sh -c 'echo $$ > second; while :; do sleep 0.1; echo from the first; done' &); sleep 60"
    flag = launcher(tmp_path, body)
    process = start(tmp_path, flag)
    wait_for(lambda: (tmp_path / "second").exists() and (tmp_path / "second").read_text())
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
    process = start(tmp_path, "-Pdummy.seconds=3")
    wait_for(lambda: list(tmp_path.glob("logs/*.part")))
    refused = dlbs("run", *DUMMY, "-Pdummy.seconds=3")
    assert refused.returncode == 2
    assert f"process {process.pid}" in refused.stderr
    assert "--wait" in refused.stderr
    assert process.poll() is None
    elsewhere = dlbs("run", *DUMMY, "-Pexp.log_dir=others")
    assert elsewhere.returncode == 0
    waited = dlbs("run", *DUMMY, "-Pdummy.seconds=3", "--wait")
    assert process.wait() == 0
    assert waited.returncode == 0
    assert "1 finished before" in waited.stderr


@pytest.mark.integration
def test_jobs_run_side_by_side_and_say_so(dlbs: RunDlbs, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = dlbs("run", *DUMMY, "-Vexp.seed=[1,2,3,4]", "-Pdummy.seconds=2", "--jobs", "4")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 6
    found = [values(log) for log in logs(tmp_path)]
    ids = {one["exp.id"] for one in found}
    for one in found:
        assert set(one["exp.neighbours"]) == ids - {one["exp.id"]}
    dlbs("run", *DUMMY, "-Pexp.log_dir=alone", check=True)
    assert values(next(tmp_path.glob("alone/*.log")))["exp.neighbours"] == []


@pytest.mark.integration
def test_gpus_are_given_to_one_experiment_at_a_time(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = 'echo "$CUDA_VISIBLE_DEVICES" >> got; mkdir "gpu$CUDA_VISIBLE_DEVICES" || exit 9; sleep 0.3; rmdir "gpu$CUDA_VISIBLE_DEVICES"'
    flags = (*DUMMY[:2], "-Pexp.gpus=any:1", launcher(tmp_path, body), "-Vexp.seed=[1,2,3,4,5,6]")
    done = dlbs("run", *flags, "--jobs", "6", CUDA_VISIBLE_DEVICES="2,5")
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "got").read_text().split()) == ["2"] * 3 + ["5"] * 3
    for log in logs(tmp_path):
        found = values(log)
        assert found["exp.gpus"] == "any:1"
        assert found["exp.gpu_ids"] in {"2", "5"}
        assert found["exp.num_gpus"] == 1
        assert found["exp.device_type"] == "gpu"
        assert len(found["exp.neighbours"]) >= 1


def test_processors_are_bound_and_shared_with_nobody(dlbs: RunDlbs, tmp_path: Path) -> None:
    count = len(os.sched_getaffinity(0))
    body = "taskset -cp $$; sleep 0.2"
    done = dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pruntime.cpus=1", f"-Vexp.seed={list(range(4))}", "-j", "4")
    assert done.returncode == 0, done.stderr
    got = [values(log)["exp.cpus"] for log in logs(tmp_path)]
    for log in logs(tmp_path):
        assert f"affinity list: {values(log)['exp.cpus']}\n" in log.read_text()
    assert len(set(got)) == min(4, count)
    refused = dlbs("run", *DUMMY, f"-Pruntime.cpus={count + 1}")
    assert refused.returncode == 2
    assert f"{count + 1} processors, and there are {count}" in refused.stderr


@pytest.mark.integration
def test_retries_keep_the_log_of_each_attempt(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo attempt >> count; test $(wc -l < count) -ge 3")
    done = dlbs("run", *DUMMY, flag, "--retries", "3")
    assert done.returncode == 0, done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.attempt"] == 3
    assert values(log)["exp.status"] == "ok"
    attempts = sorted(tmp_path.glob("logs/*.attempt*"))
    assert [values(attempt)["exp.status"] for attempt in attempts] == ["failure", "failure"]
    assert "attempt 2: failure" in done.stderr
    (tmp_path / "count").unlink()
    assert dlbs("run", *DUMMY, flag, "--retries", "1", "-Pexp.rerun=always").returncode == 1


@pytest.mark.integration
def test_what_pauses_before_its_next_attempt_keeps_nobody_waiting(dlbs: RunDlbs, tmp_path: Path) -> None:
    """Far more experiments run in the pause than may overtake one that waits for room."""
    flag = launcher(
        tmp_path, "echo {{ exp.seed }} >> order; test {{ exp.seed }} -ne 0 -o -e again || { touch again; exit 1; }"
    )
    done = dlbs("run", *DUMMY, flag, f"-Vexp.seed={list(range(100))}", "--retries", "1", "-q")
    assert done.returncode == 0, done.stderr
    order = (tmp_path / "order").read_text().split()
    assert len(order) == 101
    assert order.count("0") == 2
    assert order.index("0", 1) > 66  # more than 64 ran in the second of the pause


@pytest.mark.parametrize(("flags", "ran"), [(["--fail-fast"], 2), (["--max-failures", "2"], 3), ([], 5)])
def test_failures_may_stop_a_run(dlbs: RunDlbs, tmp_path: Path, flags: list[str], ran: int) -> None:
    done = dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,1,2,3,0]", "-Pexp.id=$(uuid4())$", *flags)
    assert done.returncode == 1
    assert len(logs(tmp_path)) == ran
    assert ("stopped: " in done.stderr) == bool(flags)
    assert ("left" in done.stderr) == bool(flags)


@pytest.mark.integration
def test_the_deadline_stops_what_runs_and_the_same_command_goes_on(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, "-Vdummy.seconds=[0.1,30,0.2]", "--deadline", "3s")
    assert done.returncode == 1
    assert "stopped: the deadline has come" in done.stderr
    assert sorted(values(log)["exp.status"] for log in logs(tmp_path)) == ["cancelled", "ok"]


def test_a_plan_of_which_everything_was_skipped_measured_nothing(dlbs: RunDlbs) -> None:
    for _ in range(2):  # the second time, that is known from the log
        done = dlbs("run", *DUMMY, "-Pdummy.exit_code=77")
        assert done.returncode == 1
        assert "nothing was measured: everything was skipped" in done.stderr
    assert dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,77]").returncode == 0


def test_larger_batches_than_one_that_did_not_fit_are_skipped(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo {{ exp.replica_batch }} >> ran; test {{ exp.replica_batch }} -lt 4 || (exit 3)")
    grid = (*DUMMY, flag, "-Vexp.replica_batch=[1,4,8,2,16]")
    done = dlbs("run", *grid)
    assert (tmp_path / "ran").read_text().split() == ["1", "4", "2"]
    assert "2 skipped" in done.stderr
    reasons = {values(log)["exp.replica_batch"]: values(log)["exp.status_msg"] for log in logs(tmp_path)}
    assert "a batch of 4 did not fit into memory" in reasons[16]
    again = dlbs("run", *grid[:-1], "-Vexp.replica_batch=[4,32]")  # known from the log of the run before
    assert "1 skipped, 1 finished before" in again.stderr
    dlbs("run", *grid[:-1], "-Pexp.replica_batch=64", "-Pexp.ignore_past_errors=true")
    assert (tmp_path / "ran").read_text().split()[-1] == "64"


@pytest.mark.parametrize(("order", "seeds"), [("plan", "1 1 2 2 3 3"), ("round-robin", "1 2 3 1 2 3")])
def test_order(dlbs: RunDlbs, tmp_path: Path, order: str, seeds: str) -> None:
    flag = launcher(tmp_path, "echo {{ exp.seed }} >> order")
    dlbs("run", *DUMMY, flag, "-Vexp.seed=[1,2,3]", "-Pexp.repeats=2", "--order", order, check=True)
    assert (tmp_path / "order").read_text().split() == seeds.split()


def test_a_random_order_is_seeded(dlbs: RunDlbs, tmp_path: Path) -> None:
    orders = []
    for seed in ("1", "1", "2"):
        (tmp_path / "order").unlink(missing_ok=True)
        flag = launcher(tmp_path, "echo {{ exp.seed }} >> order")
        flags = ("--order", "random", "--order-seed", seed, "-Pexp.rerun=always")
        dlbs("run", *DUMMY, flag, f"-Vexp.seed={list(range(12))}", *flags, check=True)
        orders.append((tmp_path / "order").read_text().split())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0], key=int) == [str(seed) for seed in range(12)]


def test_status_tells_from_the_logs_alone(dlbs: RunDlbs, tmp_path: Path) -> None:
    process = start(tmp_path, "-Vdummy.seconds=[0,30,31]", "-Vdummy.exit_code=[1,0]")
    wait_for(lambda: len(logs(tmp_path)) == 2 and list(tmp_path.glob("logs/*.part")))
    shown = dlbs("status")
    assert shown.returncode == 1
    assert "6 experiments: 1 failure, 1 ok, 1 running, 3 to do" in shown.stdout
    assert f"process {process.pid} is running them" in shown.stdout
    assert "exit code 1" in shown.stdout
    process.kill()
    process.wait()
    found = json.loads(dlbs("status", "logs", "--json").stdout)
    assert found["statuses"] == {"ok": 1, "failure": 1, "interrupted": 1, "to do": 3}
    assert found["runs"] == {}
    dlbs("run", *DUMMY, "-Pexp.log_dir=good", check=True)
    assert dlbs("status", "good").returncode == 0
    assert dlbs("status", "nowhere").returncode == 2


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
    (tmp_path / "note.log").write_text("hello")
    refused = dlbs("rerun", "note.log")
    assert refused.returncode == 2
    assert "has no parameters" in refused.stderr


def test_a_log_that_is_removed_under_way_is_a_failure_and_the_others_go_on(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "test {{ exp.seed }} -ne 1 || rm logs/*.part")
    done = dlbs("run", *DUMMY, flag, "-Vexp.seed=[1,2]")
    assert done.returncode == 1
    assert "its log file was removed while it ran" in done.stderr
    assert [values(log)["exp.seed"] for log in logs(tmp_path)] == [2]


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_is_a_clear_failure_and_the_others_go_on(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path / "logs")], check=True)
    try:
        flag = launcher(tmp_path, "test {{ exp.seed }} -ne 1 || head -c 200000 /dev/zero; true")
        done = dlbs("run", *DUMMY, flag, "-Vexp.seed=[1,2]")
    finally:
        subprocess.run(["umount", str(tmp_path / "logs")], check=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "[2/2]" in done.stderr


@pytest.mark.integration
def test_waiting_takes_no_processor_time(tmp_path: Path) -> None:
    process = start(tmp_path, "-Pdummy.seconds=3")
    wait_for(lambda: list(tmp_path.glob("logs/*.part")))
    own = psutil.Process(process.pid)
    before = own.cpu_times()
    switches = own.num_ctx_switches()
    time.sleep(1.5)
    after = own.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.05
    assert own.num_ctx_switches().voluntary - switches.voluntary < 10
    assert process.wait(timeout=30) == 0


def test_progress_file(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,1]", "--progress_file", "p.json")
    state = json.loads((tmp_path / "p.json").read_text())
    assert (state["total"], state["done"], state["failed"], state["left"], state["running"]) == (2, 2, 1, 0, False)


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dlbs", "run", *DUMMY, "-Vdummy.seconds=[0,0.2]"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        stderr=terminal,
        stdout=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux reports the end of a terminal as an error
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait(timeout=30) == 0
    text = shown.decode()
    assert "alexnet training" in text
    assert "1/2" in text
    assert "2 ok" in text


def test_inactive_and_simulated_experiments(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, "-Pexp.status=inactive")
    assert done.returncode == 0
    assert "1 inactive" in done.stderr
    for flag in ("-Pexp.status=simulate", "--dry-run"):
        done = dlbs("run", *DUMMY, flag)
        assert done.returncode == 0
        assert "#!/usr/bin/env bash" in done.stdout
    assert not (tmp_path / "logs").exists()


def test_simulated_experiments_may_stand_beside_others(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, '-Vexp.status=["", simulate, inactive]', "-Pexp.log_file=logs/${exp.status}x.log")
    assert done.returncode == 0, done.stderr
    assert "#!/usr/bin/env bash" in done.stdout
    assert [log.name for log in logs(tmp_path)] == ["x.log"]


def test_a_written_plan_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("build", *DUMMY, "--plan", "plan.json", "-Vexp.replica_batch=[1,2]", check=True)
    assert isinstance(json.loads((tmp_path / "plan.json").read_text()), list)
    assert dlbs("run", "--plan", "plan.json").returncode == 0
    assert len(logs(tmp_path)) == 2
    dlbs("build", *DUMMY, "--resolve", "--plan", "plan.jsonl", "-Vexp.replica_batch=[1,2]", check=True)
    done = dlbs("run", "--plan", "plan.jsonl")
    assert "2 finished before" in done.stderr


def test_p_changes_a_written_plan(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("build", *DUMMY, "--plan", "plan.json", check=True)
    dlbs("run", "--plan", "plan.json", "-Pexp.model=other", check=True)
    assert values(logs(tmp_path)[0])["exp.model"] == "other"
    done = dlbs("run", "--plan", "plan.json", "-Vexp.model=[a,b]")
    assert done.returncode == 2
    assert "-Vexp.model" in done.stderr


def test_an_unwritable_log_directory_is_a_clear_error(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    done = dlbs("run", *DUMMY)
    assert done.returncode == 2
    assert "logs cannot be written: File exists" in done.stderr
    assert "Traceback" not in done.stderr


APPENDS = """#!/bin/bash
while [ $# -gt 1 ]; do [ "$1" = --exp_log_file ] && log=$2; shift 2; done
echo "begin"
echo '__results.throughput__= 12.5' >>"$log"
echo "something printed between"
echo '__results.time__= 80.0' >>"$log"
echo '__results.named__= "'"$(dirname "$log")"'"'
"""


def test_results_appended_to_the_file_that_exp_log_file_names_arrive(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = tmp_path / "bench"
    program.write_text(APPENDS)
    program.chmod(0o755)
    dlbs("run", *DUMMY, f"-Pdummy.launcher={program}", check=True)
    log = logs(tmp_path)[0]
    found = values(log)
    assert (found["results.throughput"], found["results.time"], found["exp.status"]) == (12.5, 80.0, "ok")
    assert found["results.named"] == str(tmp_path / "logs")
    lines = log.read_text().splitlines()
    at = [
        lines.index(line)
        for line in ("begin", "__results.throughput__= 12.5", "something printed between", "__results.time__= 80.0")
    ]
    assert at == list(range(at[0], at[0] + 4))
    assert found["exp.log_file"] == f"logs/{log.name}"


def test_by_hand_they_are_printed(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = tmp_path / "bench"
    program.write_text(APPENDS)
    program.chmod(0o755)
    dlbs("run", *DUMMY, f"-Pdummy.launcher={program}", check=True)
    log = logs(tmp_path)[0]
    before = log.read_bytes()
    done = subprocess.run(["bash", f"{log}.sh"], capture_output=True, text=True, check=True)
    assert "__results.throughput__= 12.5\n" in done.stdout
    assert log.read_bytes() == before
    assert not list((tmp_path / "logs").glob("*.part"))


@pytest.mark.integration
def test_the_monitor_sees_cpu_and_memory(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = f"sleep 0.3; {sys.executable} -c 'import time; b=bytearray(50_000_000); e=time.time()+1.6\nwhile time.time()<e: pass'; true"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.interval=0.1", check=True)
    found = values(logs(tmp_path)[0])
    assert len(found["results.use.time"]) >= 5
    assert max(found["results.use.cpu"]) > 30
    assert max(found["results.use.cpu"]) < 200  # one thread: what it used before it was found is not one sample's
    assert max(found["results.use.mem_res"]) > 50_000_000


def test_hostile_names_write_no_control_sequences(dlbs: RunDlbs) -> None:
    done = dlbs("run", *DUMMY, '-Pexp.model="a\\u001b[31mb"')
    assert "\x1b" not in done.stderr


@pytest.mark.integration
def test_the_monitor_sees_children_files_and_threads(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = (
        "import os, threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=(2,)).start()\n"
        f"f = open({str(tmp_path / 'data')!r}, 'wb')\n"
        "for _ in range(8):\n"
        "    f.write(bytes(1 << 20)); f.flush(); os.fsync(f.fileno()); time.sleep(0.2)\n"
    )
    (tmp_path / "program.py").write_text(program)
    body = f"{sys.executable} {tmp_path / 'program.py'} & {sys.executable} {tmp_path / 'program.py'} & wait"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pmonitor.interval=0.1", check=True)
    found = values(logs(tmp_path)[0])
    series = [found[f"results.use.{name}"] for name in ("time", "cpu", "mem_res", "mem_shrd", "threads", "io_write")]
    assert len({len(one) for one in series}) == 1
    assert max(found["results.use.threads"]) >= 9
    assert found["results.use.mem_res_peak"] == max(found["results.use.mem_res"])
    assert found["results.use.cpu_mean"] <= found["results.use.cpu_peak"]
    assert sum(found["results.use.io_write"]) >= 0


def test_facts_about_the_machine_are_logged_on_request(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Pexp.sys_info=cpu,memory", check=True)
    found = values(logs(tmp_path)[0])
    assert found["exp.sys.cpu.cores_logical"] == os.cpu_count()
    assert found["exp.sys.memory.total_bytes"] > 0
    assert not any(key.startswith("exp.sys.host") for key in found)
    refused = dlbs("run", *DUMMY, "-Pexp.sys_info=weather")
    assert refused.returncode == 2
