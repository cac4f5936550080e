"""`make gpu` itself: its report is right whatever becomes of cases and of the session. No GPU is needed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.gpu.journal import Case, Journal, cases_of
from scripts.gpu import parts, wheels
from scripts.gpu.__main__ import _keep_what_counts
from scripts.gpu.parts import Part, run_part
from scripts.gpu.report import as_markdown, make_report
from tests.conftest import ROOT
from tests.gpu.made_up import PROGRAM, outcomes, run
from tests.waiting import PATIENCE, wait_until


@pytest.mark.integration
def test_cases_run_once(tmp_path: Path) -> None:
    for _ in range(2):
        assert outcomes(run(tmp_path, {"a": "pass", "b": "pass"})) == {"a": "passed", "b": "passed"}
    assert (tmp_path / "log.txt").read_text().count("ran a") == 1


@pytest.mark.integration
@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise ValueError", "exit code 1"),
    ],
)
def test_a_case_that_ends_its_process_does_not_take_the_others_with_it(
    tmp_path: Path, action: str, reason: str
) -> None:
    found = run(tmp_path, {"a": "pass", "bad": action, "b": "pass"})
    assert outcomes(found) == {"a": "passed", "bad": "crashed", "b": "passed"}
    assert reason in found["bad"].reason
    assert (tmp_path / "log.txt").read_text().count("ran a") == 1


@pytest.mark.integration
def test_a_case_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (1.0, 10.0, 100.0):  # as long as this machine needs for a case that does nothing
        monkeypatch.setattr(parts, "CASE_SECONDS", limit)
        (tmp_path / str(limit)).mkdir()
        found = outcomes(run(tmp_path / str(limit), {"a": "pass", "bad": "time.sleep(100_000)", "b": "pass"}))
        assert found["bad"] == "timeout"
        if found["a"] == found["b"] == "passed":
            return
    raise AssertionError(f"the other cases took more than {limit} s")


@pytest.mark.integration
def test_what_a_case_started_ends_with_its_part(tmp_path: Path) -> None:
    """In a process group of its own, too: it would share the GPU with the parts that follow."""
    command = [sys.executable, "-c", "import time; time.sleep(100_000)"]
    start = f"import subprocess; print(subprocess.Popen({command}, start_new_session=True).pid, file=open('pid', 'w'))"
    found = run(tmp_path, {"a": start.replace("'pid'", repr(str(tmp_path / "pid")))})
    assert outcomes(found) == {"a": "passed"}
    left = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


@pytest.mark.integration
def test_what_the_time_is_too_short_for_is_not_run_and_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_GRACE", 0.5)
    cases = {
        "a": "pass",
        "long": f"time.sleep(0 if os.path.exists({str(tmp_path / 'second')!r}) else 100_000)",
        "b": "pass",
    }
    for seconds in (2, 20, 200):  # as long as this machine needs to come to the second case
        found = run(tmp_path, cases, seconds)
        if '"long", "outcome": "stopped"' in (tmp_path / "journal.jsonl").read_text():
            break
        (tmp_path / "journal.jsonl").unlink()
        (tmp_path / "log.txt").unlink()
    assert outcomes(found) == {"a": "passed", "long": "planned", "b": "planned"}
    assert found["long"].starts == 0  # it may be tried as often as the time is too short
    report = make_report({}, found.values())
    assert report["counts"] == {"passed": 1, "not run": 2}
    (tmp_path / "second").touch()
    assert outcomes(run(tmp_path, cases)) == {"a": "passed", "long": "passed", "b": "passed"}
    assert (tmp_path / "log.txt").read_text().count("ran a") == 1


def test_what_ends_every_session_is_not_tried_for_ever(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    begun = '{"part": "p", "name": "a", "outcome": "started"}\n'
    journal.write_text(begun)
    assert not cases_of(journal)["a"].done
    journal.write_text(2 * begun)
    assert cases_of(journal)["a"].outcome == "crashed"


@pytest.mark.integration
def test_a_part_that_cannot_begin_is_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    part = Part("part", 1, ("-c", "raise ImportError"))
    run_part(part, journal, dict(os.environ), time.time() + PATIENCE, tmp_path / "log.txt")
    (case,) = cases_of(journal.path).values()
    assert (case.part, case.outcome) == ("part", "crashed")
    assert "before its first case" in case.reason
    assert "ImportError" in (tmp_path / "log.txt").read_text()


def test_a_line_that_was_torn_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_GPU_PART", "p")
    journal = Journal(tmp_path / "journal.jsonl")
    journal.plan(["a"])
    with journal.path.open("a") as stream:
        stream.write('{"part": "p", "name": "a", "outc')
    journal.finish(Case("p", "a", "passed", 1.5))
    assert [(case.name, case.outcome, case.seconds) for case in cases_of(journal.path).values()] == [
        ("a", "passed", 1.5)
    ]


REPORT: dict[str, Any] = {
    "began": "2026-01-02T03:04:05+00:00",
    "digest": "abc",
    "minutes": 9,
    "seconds": 100.0,
    "interrupted": True,
    "machine": {"gpu": "NVIDIA H200", "torch": "2.11.0+cu130", "cuda": "13.0", "python": "3.12.3", "cpus": 16, "kernel": "L"},
    "packages": {"installed": ["lmdb"], "missing": ["orjson: no wheel of it"]},
    "parts": ["tests", "figures"],
    "part_seconds": {"tests": 61.5},
}  # fmt: skip


def test_the_report_for_people() -> None:
    cases = [
        Case("tests", "a", "passed", 12.34),
        Case("tests", "b", "failed", 60.0, reason="assert 1 == 2"),
        Case("tests", "c", "skipped", reason="needs two GPUs"),
        Case("tests", "d", "skipped", reason="needs two GPUs"),
        Case("figures", "e", "passed", values={"images/s": 2500.25, "ratio": 1.01}),
        Case("figures", "tests/gpu/test_x.py::test_y[z]", "passed", values={"ms": 1.0}),
        Case("figures", "f", "planned"),
    ]
    text = as_markdown(make_report(REPORT, cases))
    for line in (
        "# Session on a GPU: NVIDIA H200",
        "- outcome: 1 failed, 1 not run, 3 passed, 2 skipped",
        "- took: 100 s in total, of 540 s a session (interrupted)",
        "- installed from wheels: lmdb",
        "- missing: orjson: no wheel of it",
        "| tests | 1 | 1 | 2 |  |  |  | 62 |",
        "| figures | 2 |  |  |  |  | 1 |  |",
        "### b: failed",
        "assert 1 == 2",
        "| e | 2,500.2 | 1.010 |",
        "| test_y[z] | 1.000 |",
        "- needs two GPUs: 2 (c, d)",
        "- the time ran out, or the session was interrupted: 1 (f)",
    ):
        assert line in text.splitlines(), f"{line}\n\n{text}"
    assert text.splitlines()[-2:] == ["| b | tests | 60.0 |", "| a | tests | 12.3 |"]


@pytest.mark.integration
def test_a_part_ends_when_its_session_was_killed(tmp_path: Path) -> None:
    marker = tmp_path / "second"
    pid, go = tmp_path / "pid", tmp_path / "go"
    wait = (
        f"open({str(pid)!r}, 'w').write(f'{{os.getpid()}}.')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    )
    cases = {"a": wait, "b": f"open({str(marker)!r}, 'w')"}
    program = PROGRAM.format(cases=repr(cases))
    session_ = (
        "import sys, time; from pathlib import Path; from benchmarks.gpu.journal import Journal\n"
        "from scripts.gpu.parts import Part, run_part; import os\n"
        f"place = Path({str(tmp_path)!r})\n"
        f"part = Part('part', {PATIENCE}, ('-c', {program!r}))\n"
        f"run_part(part, Journal(place / 'journal.jsonl'), dict(os.environ), time.time() + {PATIENCE}, place / 'log.txt')\n"
    )
    journal = tmp_path / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", session_], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: pid.exists() and pid.read_text().endswith("."), "the first case")
    process.kill()
    process.wait()
    go.touch()  # it finishes the case that runs
    part = int(pid.read_text().rstrip("."))
    wait_until(lambda: not psutil.pid_exists(part) or psutil.Process(part).status() == "zombie", "the end of the part")
    assert not marker.exists()
    assert outcomes(cases_of(journal)) == {"a": "passed", "b": "planned"}


def make_wheel(directory: Path, name: str, needs: str = "") -> None:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        files = {f"{name}.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))


@pytest.mark.integration
def test_only_what_is_missing_is_installed_and_not_into_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "wheels", tmp_path / "site"
    folder.mkdir()
    make_wheel(folder, "dlbs_wanted", 'Requires-Dist: dlbs-needed (>=1)\nRequires-Dist: other; extra == "x"\n')
    make_wheel(folder, "dlbs_needed")
    make_wheel(folder, "dlbs_stranger")
    make_wheel(folder, "pytest")
    monkeypatch.setattr(wheels, "wanted", lambda: ["dlbs-wanted>=1", "pytest", "dlbs-nowhere"])
    assert wheels.install(folder, target) == (
        ["dlbs-needed", "dlbs-wanted"],
        [f"dlbs-nowhere: no wheel of it in {folder}"],
    )
    assert {path.name for path in target.glob("*.py")} == {"dlbs_wanted.py", "dlbs_needed.py"}
    assert wheels.missing(["dlbs-wanted"]) == ["dlbs-wanted"]
    (target / "dlbs_wanted.py").write_text("kept = True")
    assert wheels.install(folder, target)[0] == ["dlbs-needed", "dlbs-wanted"]  # a later session finds them
    assert (target / "dlbs_wanted.py").read_text() == "kept = True"


def test_what_is_wanted_is_what_the_project_depends_on() -> None:
    names = {wheels._name(one) for one in wheels.wanted()}
    assert {"orjson", "lmdb", "simplejpeg", "nvidia-ml-py", "torch", "pytest"} <= names
    assert not {"ruff", "mypy", "playwright"} & names


def session(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "scripts.gpu", "--only", "measuring", "--minutes", "200", "--wheels", str(tmp_path),
            "--out", str(tmp_path / "out"), "--state", str(tmp_path / "state"),
        ],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # as on a machine without a GPU
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def reported(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    return found


@pytest.mark.integration
def test_an_interrupted_session_is_reported_and_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.jsonl"
    first = session(tmp_path)

    def some_are_done() -> bool:
        assert first.poll() is None, first.communicate()[0]
        return sum(case.done for case in cases_of(journal).values()) >= 5

    wait_until(some_are_done)
    first.send_signal(signal.SIGTERM)  # as Ctrl-C does
    assert "run the same command again" in first.communicate(timeout=PATIENCE)[0]
    assert first.returncode == 130
    begun = reported(tmp_path)
    done = {case["name"] for case in begun["cases"] if case["outcome"] in {"passed", "skipped"}}
    assert begun["interrupted"]
    assert len(done) >= 5
    assert begun["counts"]["not run"] == len(begun["cases"]) - len(done) > 0

    second = session(tmp_path)
    output = second.communicate(timeout=PATIENCE)[0]
    whole = reported(tmp_path)
    assert second.returncode == 0, output
    assert not whole["interrupted"]
    assert set(whole["counts"]) == {"passed", "skipped"}
    assert [case["name"] for case in whole["cases"]] == [case["name"] for case in begun["cases"]]
    assert whole["seconds"] > begun["seconds"]
    log = (tmp_path / "out" / "log.txt").read_text()
    ran = sum(map(int, re.findall(r"(\d+) (?:passed|skipped)\b", log.splitlines()[-1])))
    assert ran == len(whole["cases"]) - len(done)  # what was done was not done again
    for case in whole["cases"]:
        if case["outcome"] == "skipped":
            assert "GPU" in case["reason"], case
    assert "no GPU" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("again", "kept"), [(False, {"a", "b", "c", "d"}), (True, {"a", "b", "d"})])
def test_again_repeats_only_what_failed(tmp_path: Path, again: bool, kept: set[str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    now = {"digest": "abc", "machine": {"gpu": "NVIDIA H200", "torch": "2.11.0"}}
    _keep_what_counts(journal, now, again=False, whatever=False)  # the first session of a place
    for name, outcome in {"a": "passed", "b": "skipped", "c": "failed", "d": "planned"}.items():
        journal.keep(Case("tests", name, outcome))
    _keep_what_counts(journal, now, again=again, whatever=False)
    assert set(cases_of(journal.path)) == kept
