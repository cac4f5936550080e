"""Logs and results of the original DLBS are judged as it did: by a positive throughput, whatever their status says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlbs.results.read.logs import read_logs
from dlbs.results.read.records import read_runs
from dlbs.results.runs import status_of
from tests.conftest import RunDlbs

# The form of the original's logs: a first line of its launcher, its parameters, the benchmark's output, perhaps a status again.
LOG = """Running subprocess (['/dlbs/scripts/launchers/pytorch.sh', '--exp_model', 'resnet50']) with log file '/x/a.log'

-----------------------------------
Variables from python entry script.
-----------------------------------
__exp.framework__="pytorch"
__exp.model__="resnet50"
__exp.replica_batch__=32
__exp.status__="ok"
__exp.status_msg__=""

----------------------------
Starting framework launcher.
----------------------------
__exp.framework_title__="PyTorch"
"""


def status(tmp_path: Path, end: str) -> tuple[str, str]:
    log = tmp_path / "a.log"
    log.write_text(LOG + end)
    ((record,),) = read_logs([str(log)])
    return status_of(record), record["exp.status_msg"]


@pytest.mark.parametrize(
    "end",
    ["__results.throughput__= 12.5\n", "__results.time__=1.0\n__results.throughput__=300\n", "__results.time__=1\n"],
)
def test_ok_with_a_throughput_is_ok(tmp_path: Path, end: str) -> None:
    assert status(tmp_path, end) == ("ok", "")


@pytest.mark.parametrize(
    "end",
    [
        "",
        "RuntimeError: CUDA out of memory\n",
        "__results.time__= -1\n__results.throughput__= -1\n",
        "__results.throughput__= 0\n",
        "__results.time__= -1\n",
        "__results.time__= 3.5\n__results.throughput__= -1\n",
        '__results.throughput__= "fast"\n',
        "__results.throughput__= true\n",
        '__results.status__="failure"\n',
    ],
)
def test_ok_without_a_positive_throughput_is_a_failure(tmp_path: Path, end: str) -> None:
    judged, message = status(tmp_path, end)
    assert judged == "failure"
    assert "results.throughput" in message


def test_what_the_log_says_of_a_failure_stays(tmp_path: Path) -> None:
    end = '__exp.status__="skipped"\n__exp.status_msg__="The replica batch size (32) is too large"\n'
    assert status(tmp_path, end) == ("skipped", "The replica batch size (32) is too large")


def test_a_log_of_ours_needs_no_throughput(tmp_path: Path) -> None:
    assert status(tmp_path, '__exp.dlbs_version__= "0.1.0"\n') == ("ok", "")


def test_results_of_the_original_are_judged_too(tmp_path: Path) -> None:
    one = {"exp.model": "resnet50", "exp.status": "ok"}
    records = [{**one, "results.throughput": -1}, {**one, "results.throughput": 10}, {**one, "results.time": 3.0}]
    (tmp_path / "r.json").write_text(json.dumps({"data": records}))
    assert [status_of(record) for record in read_runs([str(tmp_path / "r.json")])] == ["failure", "ok", "ok"]


def test_the_report_prints_no_throughput_of_a_failure(dlbs: RunDlbs, tmp_path: Path) -> None:
    more = '__exp.phase__="training"\n__exp.gpus__="0"\n__exp.num_gpus__=1\n'
    (tmp_path / "a.log").write_text(LOG + more + "__results.time__= -1\n__results.throughput__= -1\n")
    (tmp_path / "b.log").write_text(
        LOG + more.replace("training", "inference") + "__results.time__=10\n__results.throughput__=3200\n"
    )
    done = dlbs("report", "a.log", "b.log", check=True)
    assert "3,200" in done.stdout
    assert "-1" not in done.stdout
    parsed = dlbs("parse", "a.log", "b.log", "--failed-benchmarks", "discard", check=True)
    assert [record["exp.phase"] for record in json.loads(parsed.stdout)["data"]] == ["inference"]
    assert "1 failure" in parsed.stderr


def test_experiments_log_the_version(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=", check=True, DLBS_VERSION="forged")
    ((record,),) = read_logs([str(tmp_path / "logs")])
    assert record["exp.dlbs_version"] == "0.1.0"
    assert record["exp.status"] == "ok"
