"""Doubtful runs: whoever shows a number shows that it is doubtful."""

from __future__ import annotations

import json
from pathlib import Path

from dlbs.doubts import doubts_of
from dlbs.logs import last_values
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs

BUSY = "CPU contention: 69 %, 5,231 preemptions; rerun on an idle machine"
BODY = f"""
echo '__results.throughput__= 12.5'
{{% if exp.replica_batch == 4 %}}
echo '__results.warnings__= ["{BUSY}", "drift: batch times +7 %; warm up longer"]'
{{% endif %}}
true"""


def test_progress_status_and_the_end_of_a_run_say_it(dlbs: RunDlbs, tmp_path: Path) -> None:
    plan = (*DUMMY, launcher(tmp_path, BODY), "-Vexp.replica_batch=[2,4]", "--progress-file", "progress.json")
    done = dlbs("run", *plan, check=True)
    fine, doubtful = done.stderr.splitlines()[:2]
    assert fine.endswith("12.50 instances/s")
    assert doubtful.endswith("12.50 instances/s ⚠ CPU contention, drift")
    last = "⚠ 1 experiment is doubtful: CPU contention 1, drift 1"
    assert last in done.stderr
    assert json.loads((tmp_path / "progress.json").read_text())["doubtful"] == 1
    assert last in dlbs("run", *plan, check=True).stderr  # finished before
    shown = dlbs("status", check=True).stdout
    assert "2 experiments: 2 ok" in shown
    assert "doubtful: 1 of 2 ok (CPU contention 1, drift 1)" in shown
    assert "doubtful     batch 4: CPU contention, drift\n" in shown
    experiments = json.loads(dlbs("status", "--json", check=True).stdout)["experiments"]
    assert sorted(one["doubts"] for one in experiments) == [[], ["CPU contention", "drift"]]


def test_a_log_says_its_status_once(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,1,77]")
    for log in logs(tmp_path):
        assert log.read_text().count("__exp.status__") == 1
        assert log.read_text().count("__exp.status_msg__") == 1


def test_results_are_found_before_a_long_ending(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    results = f"__results.warnings__= {json.dumps([BUSY])}\n\n__exp.end_time__= 1\n"
    samples = f"__results.use.cpu__= {json.dumps([99.5] * 50_000)}\n"
    log.write_text("__exp.start_time__= 0\n" + "output\n" * 100_000 + results + samples + '__exp.status__= "ok"\n')
    assert doubts_of(last_values(log)) == ["CPU contention"]
