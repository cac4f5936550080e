"""Running plans: what runs and what does not, in which order, and what is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values


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


def test_doubtful_runs_are_repeated_on_request(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = """
echo '__results.throughput__= 1.5'
{% if dummy.exit_code == 0 and exp.replica_batch == 4 %}
echo '__results.warnings__= ["drift: times +7 % from the first third of the runs to the last; warm up longer"]'
{% endif %}
exit {{ dummy.exit_code }}"""
    plan = (*DUMMY, launcher(tmp_path, body), "-Vexp.replica_batch=[2,4]", "-Vdummy.exit_code=[0,1]")
    dlbs("run", *plan)
    before = {values(log)["exp.id"]: log.stat().st_ino for log in logs(tmp_path)}
    done = dlbs("run", *plan, "-Pexp.rerun=doubtful")
    assert "4 experiments: 1 ok, 3 already finished" in done.stderr
    again = [values(log) for log in logs(tmp_path) if log.stat().st_ino != before[values(log)["exp.id"]]]
    assert [(one["exp.replica_batch"], one["dummy.exit_code"]) for one in again] == [(4, 0)]


def test_a_failure_is_told_and_stops_no_others(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, "-Vdummy.exit_code=[7,0]")
    assert done.returncode == 1
    assert "failure" in done.stderr
    assert "exit code 7" in done.stderr
    assert sorted(values(log)["exp.status"] for log in logs(tmp_path)) == ["failure", "ok"]
    assert {values(log)["exp.status_msg"] for log in logs(tmp_path)} == {"exit code 7", ""}


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
    dlbs("build", *DUMMY, "-o", "plan.json", "-Vexp.replica_batch=[1,2]", check=True)
    assert isinstance(json.loads((tmp_path / "plan.json").read_text()), list)
    assert dlbs("run", "--plan", "plan.json").returncode == 0
    assert len(logs(tmp_path)) == 2
    dlbs("build", *DUMMY, "--resolve", "-o", "plan.jsonl", "-Vexp.replica_batch=[1,2]", check=True)
    done = dlbs("run", "--plan", "plan.jsonl")
    assert "2 already finished" in done.stderr


def test_p_changes_a_written_plan(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("build", *DUMMY, "-o", "plan.json", check=True)
    dlbs("run", "--plan", "plan.json", "-Pexp.model=other", check=True)
    assert values(logs(tmp_path)[0])["exp.model"] == "other"
    done = dlbs("run", "--plan", "plan.json", "-Vexp.model=[a,b]")
    assert done.returncode == 2
    assert "-Vexp.model" in done.stderr
