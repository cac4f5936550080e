"""The main job with real benchmarks: a grid, its logs, its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RunDlbs

pytestmark = pytest.mark.integration


def test_plan_to_table(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs(
        "run",
        "-Pexp.docker=false",
        "-Pexp.gpus=",
        "-Pexp.num_batches=3",
        "-Pexp.num_warmup_batches=1",
        "-Pexp.model=deep_mnist",
        '-Vexp.replica_batch,exp.phase=[[1,"training"],[2,"inference"]]',
    )
    assert done.returncode == 0, done.stderr
    dlbs("parse", "logs", "--output-file", "results.json", check=True)
    records = json.loads((tmp_path / "results.json").read_text())["data"]
    assert [record["exp.replica_batch"] for record in records] == [1, 2]
    for record in records:
        assert record["exp.status"] == "ok"
        assert record["exp.model_title"] == "DeepMNIST"
        assert record["exp.framework_title"] == "PyTorch"
        assert record["results.throughput"] > 0
        assert len(record["results.time_data"]) == 3
    report = dlbs("report", "results.json", "--type", "regular", check=True).stdout
    assert "all runs: deep_mnist, float32, cpu" in report
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in report.splitlines() if line.startswith("│")]
    assert rows == [["training", "1"], ["inference", "2"]]


def test_a_failure_has_its_reason_in_table_and_log(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs(
        "run",
        "-Pexp.docker=false",
        "-Pexp.gpus=",
        "-Pexp.model=alexnet",
        "-Pexp.dtype=float16",
        "-Pexp.replica_batch=1",
        "-Pexp.phase=inference",
    )
    assert done.returncode == 1
    assert "float16" in done.stderr
    (log,) = tmp_path.glob("logs/*.log")
    assert "Traceback" not in log.read_text()
    assert "failure: " in (said := dlbs("report", "logs").stdout)
    assert "float16" in said.partition("failure: ")[2]
