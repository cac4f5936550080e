"""Launchers of one's own append results to the file that `--exp_log_file` names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import RunDlbs
from tests.experiments import DUMMY, logs, values

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


@pytest.mark.integration
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
