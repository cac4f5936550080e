"""The program that times commands, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.logs import parse_line
from tests.conftest import ROOT
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

RUNNER = [sys.executable, str(ROOT / "python" / "command_runner")]


def time(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the program; its exit code, the values that it logs, and its other lines."""
    done = subprocess.run([*RUNNER, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    values = dict(pair for line in lines if (pair := parse_line(line)) is not None)
    return done.returncode, values, "\n".join(line for line in lines if parse_line(line) is None)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_runs_are_counted_and_warm_up_is_not(tmp_path: Path) -> None:
    code, values, _ = time(tmp_path, "--warmup", "2", "--batches", "3", "--", "sh", "-c", "echo run >> runs")
    assert code == 0
    assert len(lines_of(tmp_path / "runs")) == 5
    assert (len(values["results.time_warmup_data"]), len(values["results.time_data"])) == (2, 3)
    assert min(values["results.time_data"]) > 0


def test_runs_go_on_for_the_least_time(tmp_path: Path) -> None:
    _, values, _ = time(tmp_path, "--batches", "1", "--min-seconds", "0.3", "--", "sleep", "0.05")
    times = values["results.time_data"]
    assert sum(times[:-1]) < 300 <= sum(times)


def test_resources_are_those_of_the_command(tmp_path: Path) -> None:
    busy = "import hashlib; data = bytearray(64 << 20); [hashlib.sha256(data[: 1 << 20]).digest() for _ in range(40)]"
    _, values, _ = time(tmp_path, "--warmup", "0", "--batches", "2", "--", sys.executable, "-c", busy)
    assert values["results.memory_host"] >= 64 << 20
    assert values["results.time_user"] > 0
    assert values["results.time_user"] + values["results.time_system"] <= 1.5 * values["results.time"]
    assert values["results.page_faults"] > 1000


def test_arguments_reach_the_command_as_they_are(tmp_path: Path) -> None:
    words = ["", " a  b ", "$HOME", "*", "it's", "--", "--warmup"]
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    code, _, output = time(tmp_path, "--batches", "1", "--", sys.executable, "-c", show, *words)
    assert code == 0
    assert output == '["", " a  b ", "$HOME", "*", "it\'s", "--", "--warmup"]'


def test_output_stands_in_the_log_once(tmp_path: Path) -> None:
    _, values, output = time(
        tmp_path, "--batches", "3", "--", "sh", "-c", "echo hello; echo oops >&2; echo '__results.x__= 2'"
    )
    assert output.splitlines() == ["hello", "oops"]
    assert values["results.x"] == 2


def test_results_of_the_warm_up_do_not_count(tmp_path: Path) -> None:
    script = 'echo run >> runs; echo "__results.x__= $(wc -l < runs)"'
    _, values, _ = time(tmp_path, "--warmup", "1", "--batches", "2", "--", "sh", "-c", script)
    assert values["results.x"] == 2.5


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["sh", "-c", "echo fine; echo first >&2; echo last >&2; exit 3"], 3, "exit code 3: last"),
        (["sh", "-c", "echo said; exit 4"], 4, "exit code 4: said"),
        (["sh", "-c", "echo '__exp.status_msg__= \"out of memory\"'; exit 5"], 5, "out of memory"),
        (["sh", "-c", "kill -KILL $$"], 137, "ended by SIGKILL"),
        (["./missing"], 127, "program './missing' not found"),
        (["./text"], 126, "./text is not executable"),
        (["./broken"], 126, "./broken: Exec format error"),
    ],
)
def test_a_command_that_fails_ends_it_with_the_reason(
    tmp_path: Path, command: list[str], code: int, message: str
) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "broken").write_bytes(b"\0")
    (tmp_path / "broken").chmod(0o755)
    for warmup in ("0", "1"):
        found, values, _ = time(tmp_path, "--warmup", warmup, "--", *command)
        assert (found, values["exp.status_msg"]) == (code, message)
    assert "results.time" not in values


def test_failures_may_be_ignored(tmp_path: Path) -> None:
    code, values, _ = time(tmp_path, "--ignore-failure", "--batches", "3", "--", "false")
    assert code == 0
    assert values["results.warnings"][-1].startswith("failures: 3 of 3 runs")


def test_preparing_runs_before_each_run_and_cleaning_up_once(tmp_path: Path) -> None:
    arguments = ["--warmup", "1", "--batches", "2", "--prepare", "sh -c 'echo prepared >> runs'"]
    code, _, _ = time(tmp_path, *arguments, "--cleanup", "mv runs done", "--", "sh", "-c", "echo run >> runs")
    assert code == 0
    assert lines_of(tmp_path / "done") == ["prepared", "run"] * 3


def test_what_prepares_may_fail_and_cleaning_up_happens_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    code, values, _ = time(tmp_path, "--prepare", "sh -c 'echo no >&2; exit 9'", "--cleanup", "rm data", "--", "true")
    assert (code, values["exp.status_msg"]) == (9, "command.prepare: exit code 9: no")
    assert not (tmp_path / "data").exists()


def test_a_failing_clean_up_takes_no_results_away(tmp_path: Path) -> None:
    code, values, output = time(tmp_path, "--batches", "1", "--cleanup", "./missing", "--", "true")
    assert code == 0
    assert "results.time" in values
    assert output == "warning: command.cleanup: program './missing' not found"


def test_the_command_cleans_up_when_it_is_ended(tmp_path: Path) -> None:
    script = "touch began; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [*RUNNER, "--cleanup", "touch cleaned", "--", "sh", "-c", script], cwd=tmp_path, start_new_session=True
    )
    wait_until((tmp_path / "began").exists)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert (tmp_path / "cleaned").exists()


def test_a_command_without_words_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([*RUNNER, "--"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no command after --" in done.stderr
