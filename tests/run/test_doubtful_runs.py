"""Doubtful runs: whoever shows a number shows that it is doubtful."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmark_core.doubts import KINDS, doubts_of
from dlbs.core.doubts import Doubts, describe_doubts, short_doubts
from dlbs.core.logs import last_values
from tests.conftest import ROOT, RunDlbs
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
    assert doubtful.endswith("12.50 instances/s ⚠ CPU contention 69 %, drift +7 %")
    last = (
        "⚠ 1 of 2 results are doubtful (CPU contention 1, drift 1)\n"
        "  CPU contention: other programs used up to 69 % of the CPUs; rerun on an idle machine (dlbs run ... -Pexp.rerun=doubtful)\n"
        "  drift: times changed by up to +7 % between the first and the last third of the run; "
        "warm up longer (exp.num_warmup_batches), fix clocks and cooling\n"
    )
    assert last in done.stderr
    assert json.loads((tmp_path / "progress.json").read_text())["doubtful"] == 1
    assert last in dlbs("run", *plan, check=True).stderr  # already finished
    shown = dlbs("status", check=True).stdout
    assert "2 experiments: 2 ok" in shown
    assert last in shown
    assert "doubtful     batch 4: CPU contention, drift\n" in shown
    experiments = json.loads(dlbs("status", "--json", check=True).stdout)["experiments"]
    assert sorted(one["doubts"] for one in experiments) == [[], ["CPU contention", "drift"]]


def test_the_worst_run_of_each_kind_is_reported_once() -> None:
    doubts = Doubts()
    for share in (9, 86, 40):
        doubts.add([f"CPU contention: {share} %, 1,234 preemptions; rerun on an idle machine"])
    doubts.add([])
    assert doubts.lines() == [
        "3 of 4 results are doubtful (CPU contention)",
        "CPU contention: other programs used up to 86 % of the CPUs; rerun on an idle machine "
        "(dlbs run ... -Pexp.rerun=doubtful)",
    ]


def test_a_kind_of_a_program_of_its_own_is_shown_as_it_was_logged() -> None:
    doubts = Doubts()
    doubts.add(["stale cache: 3 % hits; clear it"])
    assert doubts.lines() == ["1 of 1 result is doubtful (stale cache)", "stale cache: 3 % hits; clear it"]


@pytest.mark.parametrize(
    ("warning", "short"),
    [
        (BUSY, "CPU contention 69 %"),
        ("drift: batch times -7 % from the first third to the last; warm up longer", "drift -7 %"),
        ("outliers: 2 of 30 runs, up to 9.1 ms, the median is 3 ms; rerun on an idle machine", "outliers 2 of 30"),
        ("slow first run: 19.5 ms, the median is 3 ms; warm up", "slow first run"),
        ("slow data type: this CPU has no instructions for bfloat16; use float32", "slow data type"),
        ("mine: 3 % of it", "mine"),
    ],
)
def test_a_progress_line_has_the_kind_and_its_figure(warning: str, short: str) -> None:
    assert short_doubts({"results.warnings": [warning]}) == [short]


def test_every_kind_that_is_logged_is_explained() -> None:
    sources = [path.read_text() for path in (ROOT / "python").rglob("*.py")]
    logged = {kind for source in sources for kind in re.findall(r"""\bwarning\(\s*"([A-Za-z' -]+)\"""", source)}
    assert {"CPU contention", "drift", "outliers", "failures", "GPU contention", "GPU throttling"} <= logged
    assert logged <= KINDS.keys()


@pytest.mark.parametrize("word", ["contention", "drift", "Outliers", "doubtful"])
def test_help_explains_the_kinds(word: str) -> None:
    lines = describe_doubts(word)
    for kind in [kind for kind in KINDS if word.lower() in kind.lower()] or ["CPU contention"]:
        assert kind in lines
        assert f"  {KINDS[kind].meaning}" in lines
        assert any(line.startswith(f"  {KINDS[kind].remedy}") for line in lines)


def test_dlbs_help_knows_doubtful(dlbs: RunDlbs) -> None:
    shown = dlbs("help", "doubtful", check=True).stdout
    assert all(kind in shown for kind in KINDS)
    assert dlbs("help", "contention", check=True).stdout.startswith("CPU contention\n")


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
