"""Somebody's own program, run by an own framework: nothing is reported of it that it did not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunDlbs
from tests.experiments import logs, values

pytestmark = pytest.mark.integration

TEMPLATE = '{%% extends "base.sh" %%}{%% block benchmark %%}\n%s\n{%% endblock %%}'
OWN = ("-Pexp.framework=own", "-Pown.launcher=./own", "-Pexp.docker=false", "-Pexp.gpus=")
INVENTED = ("alexnet", "training", "float32", "batch 16", "synthetic")


def program(tmp_path: Path, body: str, *, template: bool) -> None:
    (tmp_path / "own").write_text(TEMPLATE % body if template else f"#!/bin/bash\n{body}\n")
    (tmp_path / "own").chmod(0o644 if template else 0o755)


@pytest.mark.parametrize("template", [True, False], ids=["template", "executable"])
def test_nothing_is_invented_anywhere(dlbs: RunDlbs, tmp_path: Path, template: bool) -> None:
    program(tmp_path, 'echo "__results.time_data__= [10, 20, 30]"; echo "arguments: $*"', template=template)
    done = dlbs("run", *OWN, "-Pexp.repeats=3", "-Vruntime.malloc=[keep,system]", check=True)
    (tmp_path / "results").mkdir()
    dlbs("parse", "logs", "-o", "results/all.csv", check=True)
    dlbs("report", "logs", "--html", "results/page.html", check=True)
    dlbs("db", "add", "logs", "--db", "results.db", check=True)
    shown = {
        "progress": done.stderr,
        "status": dlbs("status", check=True).stdout,
        "report": dlbs("report", "logs", check=True).stdout,
        "scores": dlbs("report", "logs", "--scores", check=True).stdout,
        "compare": dlbs("compare", "logs", "--by", "runtime.malloc", check=True).stdout,
        "query": dlbs("db", "query", "--db", "results.db", check=True).stdout,
        "csv": (tmp_path / "results" / "all.csv").read_text(),
        "page": (tmp_path / "results" / "page.html").read_text().partition("<body")[2],
        "log": logs(tmp_path)[0].read_text(),
        "script": next((tmp_path / "logs").glob("*.sh")).read_text(),
    }
    for place, text in shown.items():
        assert not [word for word in INVENTED if word in text], place
    assert "20.00 ms" in shown["progress"]
    assert "own" in shown["report"]
    assert "20.00" in shown["report"]  # the mean of results.time_data
    assert values(logs(tmp_path)[0])["exp.framework"] == "own"
    if not template:
        assert "--exp_framework own" in shown["log"]
        assert "--exp_model" not in shown["log"]


def test_what_is_said_is_shown(dlbs: RunDlbs, tmp_path: Path) -> None:
    program(tmp_path, 'echo "__results.throughput__= 5"; echo model {{ exp.model }}', template=True)
    done = dlbs("run", *OWN, "-Pexp.model=net", "-Vexp.replica_batch=[2,4]", check=True)
    assert "[2/2] batch 4: ok in " in done.stderr
    report = dlbs("report", "logs", check=True).stdout
    assert "net" in report
    assert "batch 2" in report
    assert "float32" not in report


def test_a_launcher_that_reads_a_model_that_nobody_set_is_refused(dlbs: RunDlbs, tmp_path: Path) -> None:
    program(tmp_path, "echo model {{ exp.model }}", template=True)
    done = dlbs("run", *OWN)
    assert done.returncode == 2
    assert "uses 'exp.model', of frameworks with models, in an experiment of the framework own" in done.stderr
    assert "set exp.model, or add 'frameworks: {own: [models]}'" in done.stderr
