"""When the parts of a session run: what may, at the same time, and what is left. No GPU is needed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu.journal import PART, PIECE, Case, Journal, cases_of, earlier_of, lines_of
from scripts.gpu import parts
from scripts.gpu.__main__ import _keep_what_counts
from scripts.gpu.parts import (
    ALONE,
    PARTS,
    TOGETHER,
    Part,
    processes_for,
    run_part,
    run_stage,
    seconds_of,
    selected,
    stages_of,
    unfinished,
    what_is_left,
)
from tests.conftest import ROOT
from tests.gpu.made_up import environment, made_up, outcomes, start_session, wait_for
from tests.waiting import PATIENCE, wait_until


def files_of(marker: str) -> list[str]:
    parts = [part for part in PARTS if marker in part.arguments]
    assert all(part.alone == (marker == ALONE) for part in parts)
    return sorted(argument for part in parts for argument in part.arguments if argument.startswith("tests/"))


def test_every_test_that_needs_a_gpu_is_in_one_part() -> None:
    texts = {f"tests/gpu/{file.name}": file.read_text() for file in (ROOT / "tests/gpu").glob("test_*.py")}
    # Those that ask for a device, or for a package that uses one, and two that tell what is asked of a driver.
    needed = {name for name, text in texts.items() if re.search(r"(cuda|device): torch\.device|mark\.gpu\b", text)}
    needed.add("tests/gpu/test_driver.py")
    some_alone = {name for name in needed if re.search(r"^@pytest\.mark\.alone$", texts[name], re.MULTILINE)}
    all_alone = {name for name in needed if re.search(r"^pytestmark.*mark\.alone\b", texts[name], re.MULTILINE)}
    assert files_of(TOGETHER) == sorted(needed - all_alone)
    assert files_of(ALONE) == sorted(some_alone | all_alone)
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_time_is_verified_first_and_models_are_compiled_before_they_are_measured(tmp_path: Path) -> None:
    stages = stages_of(PARTS, processes_for(16), Journal(tmp_path / "none"))
    names = [{part.name for part in stage} for stage in stages]
    assert names[0] == {"measuring"}
    (together,) = (number for number, stage in enumerate(stages) if not stage[0].alone)
    assert names[together] >= {"compiling 1/3", "compiling 2/3", "compiling 3/3", "models 1/3"}
    assert {"compiled throughput"} in names[together + 1 :]


def test_tests_can_be_run_before_the_figures() -> None:
    tests = selected(PARTS, ["tests"])
    assert [part for part in PARTS if "pytest" in part.arguments] == tests
    assert "benchmarks.gpu" not in {word for part in tests for word in part.arguments}
    assert selected(PARTS, []) == list(PARTS)
    assert [part.name for part in selected(PARTS, ["throughput", "JAX"])] == ["throughput", "JAX"]


@pytest.mark.integration
def test_tests_that_do_not_need_a_gpu_can_be_omitted() -> None:
    chosen = selected(PARTS, [], without_cpu=True)
    assert [part.name for part in chosen] == [part.name for part in PARTS]
    (one,) = selected(PARTS, ["data"], without_cpu=True)
    listed = subprocess.run(
        [sys.executable, *one.arguments, "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = re.findall(r"^tests/.*::(\w+)(?:\[(.*)\])?$", listed.stdout, re.MULTILINE)
    assert ("test_memory_that_cannot_be_page_locked_is_used_as_it_is", "") in names
    assert ("test_synthetic_text_and_tables_come_too", "cuda") in names
    assert ("test_synthetic_text_and_tables_come_too", "cpu") not in names


@pytest.mark.parametrize(
    ("seconds", "processes", "wall"), [([30, 20, 10], 1, 60), ([30, 20, 10], 2, 30), ([20] * 6, 5, 24), ([70], 5, 70)]
)
def test_a_stage_takes_as_long_as_its_longest_part_or_its_share_of_all(
    seconds: list[float], processes: int, wall: float
) -> None:
    assert seconds_of(seconds, processes) == wall


@pytest.mark.parametrize(("cpus", "processes"), [(1, 1), (2, 2), (4, 2), (9, 3), (16, 5), (64, 6)])
def test_there_are_at_most_as_many_processes_as_cpus(cpus: int, processes: int) -> None:
    assert processes_for(cpus) == processes


def test_parts_that_run_alone_divide_the_others_into_stages(tmp_path: Path) -> None:
    parts = [
        made_up("first", {}, alone=True),
        made_up("second", {}, alone=True),
        made_up("short", {}, 10),
        made_up("long", {}, 80, pieces=3),
        made_up("last", {}, alone=True),
    ]
    journal = Journal(tmp_path / "journal.jsonl")
    names = [[part.name for part in stage] for stage in stages_of(parts, 2, journal)]
    assert names == [["first"], ["second"], ["long 1/2", "long 2/2", "short"], ["last"]]
    assert [stage[0].name for stage in stages_of(parts, 1, journal)] == ["first", "second", "long", "last"]


def test_parts_with_cases_that_never_passed_come_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for part, outcome in {"passed": "passed", "failed": "failed"}.items():
        journal.remember(Case(part, f"{part}: one", "passed"))
        journal.remember(Case(part, f"{part}: two", outcome))
    parts = [made_up("passed", {}, 30), made_up("failed", {}, 20), made_up("new", {}, 10)]
    assert [part.name for part in stages_of(parts, 2, journal)[0]] == ["failed", "new", "passed"]


def test_pieces_divide_the_cases_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    names = [f"case {number}" for number in range(8)]
    taken = []
    for part in made_up("part", {}, pieces=3).divided(5):
        monkeypatch.setenv(PART, part.name)
        monkeypatch.setenv(PIECE, f"{part.piece}/{part.pieces}")
        taken.append(journal.plan(names))
    assert taken == [names[0::3], names[1::3], names[2::3]]
    assert {case.part for case in cases_of(journal.path).values()} == {"part 1/3", "part 2/3", "part 3/3"}


def test_cases_that_never_passed_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources have changed, so everything is repeated; what is known of it says in which order, and how long it takes."""
    journal = Journal(tmp_path / "journal.jsonl")
    sessions = [{"digest": digest, "machine": {"gpu": "NVIDIA H200", "torch": "2.11.0"}} for digest in ("abc", "def")]
    _keep_what_counts(journal, sessions[0], again=False, whatever=False)
    for name, outcome in {"a": "passed", "b": "skipped", "c": "failed", "d": "planned", "e": "passed"}.items():
        journal.keep(Case("part", name, outcome, seconds=2.5))
    for _ in range(2):  # also if the next session ends before it repeats them
        _keep_what_counts(journal, sessions[1], again=False, whatever=False)
    assert not cases_of(journal.path)
    assert {name: case.outcome for name, case in earlier_of(journal.path).items()} == {
        "a": "passed", "b": "skipped", "c": "failed", "e": "passed",
    }  # fmt: skip
    monkeypatch.setenv(PART, "part")
    assert journal.plan(["a", "b", "c", "d", "e", "new"]) == ["b", "c", "d", "new", "a", "e"]


@pytest.mark.integration
def test_lines_of_several_processes_are_whole(tmp_path: Path) -> None:
    path, go = tmp_path / "journal.jsonl", tmp_path / "go"
    program = f"""
import os, time
from pathlib import Path
from benchmarks.gpu.journal import Case, Journal
{wait_for(go)}
for number in range(200):
    Journal(Path({str(path)!r})).finish(Case("p", f"{{os.getpid()}} {{number}}", "passed", reason="x" * 50 * number))
"""
    writers = [subprocess.Popen([sys.executable, "-c", program], env=environment()) for _ in range(4)]
    go.touch()
    assert [writer.wait(PATIENCE) for writer in writers] == [0] * 4
    assert len(cases_of(path)) == 800
    assert len([line for line in path.read_bytes().split(b"\n") if line]) == 800


def test_lanes_have_separate_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cpus: given.append(cpus))
    stage = [made_up(str(number), {}) for number in range(7)]
    run_stage(stage, 5, lambda part, stop: None)
    assert [len(cpus) for cpus in given] == [3] * 5
    assert len(set.union(*given)) == 15
    given.clear()
    run_stage(stage[:1], 5, lambda part, stop: None)  # what measures has all
    assert not given


def test_an_error_of_a_lane_ends_the_others() -> None:
    def run(part: Part, stop: threading.Event) -> None:
        if part.name == "bad":
            raise OSError("no space left on device")
        assert stop.wait(PATIENCE)

    with pytest.raises(OSError, match="no space"):
        run_stage([made_up("good", {}), made_up("bad", {})], 2, run)


def run_all(tmp_path: Path, stage: list[Part], processes: int) -> dict[str, Case]:
    """Run a stage; each part that has ended leaves a file with its name."""
    journal = Journal(tmp_path / "journal.jsonl")

    def run(part: Part, stop: threading.Event) -> None:
        run_part(part, journal, environment(), time.time() + PATIENCE, tmp_path / "log.txt", stop)
        (tmp_path / part.name).touch()

    run_stage(stage, processes, run)
    return cases_of(journal.path)


@pytest.mark.integration
def test_parts_of_a_stage_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for the other."""
    here, there = tmp_path / "here", tmp_path / "there"
    stage = [
        made_up("one", {"a": f"Path({str(here)!r}).touch()\n{wait_for(there)}"}),
        made_up("two", {"b": f"Path({str(there)!r}).touch()\n{wait_for(here)}"}),
    ]
    assert outcomes(run_all(tmp_path, stage, 2)) == {"a": "passed", "b": "passed"}
    log = (tmp_path / "log.txt").read_text()
    assert re.search(r"=== one: .*?ran a\n", log, re.DOTALL)
    assert re.search(r"=== two: .*?ran b\n", log, re.DOTALL)
    assert not list(tmp_path.glob("log-*"))


@pytest.mark.integration
@pytest.mark.parametrize("action", ["os.abort()", "os._exit(3)", "raise ValueError"])
def test_the_end_of_a_part_disturbs_no_other(tmp_path: Path, action: str) -> None:
    """What the other one started, in a process group of its own, goes on until its own part ends."""
    child = [sys.executable, "-c", "import time; time.sleep(100_000)"]
    steady = f"""
import subprocess
child = subprocess.Popen({child}, start_new_session=True)
print(child.pid, file=open({str(tmp_path / "pid")!r}, "w"))
{wait_for(tmp_path / "unsteady")}
assert child.poll() is None
"""
    stage = [
        made_up("steady", {"a": steady}),
        made_up("unsteady", {"bad": f"{wait_for(tmp_path / 'pid')}\n{action}", "b": "pass"}),
    ]
    found = run_all(tmp_path, stage, 2)
    assert outcomes(found) == {"a": "passed", "bad": "crashed", "b": "passed"}
    left = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def endless(tmp_path: Path, name: str) -> str:
    """Code of a case that writes its process id, and ends when there is a file `go`."""
    return f"Path({str(tmp_path / name)!r}).write_text(f'{{os.getpid()}}.')\n{wait_for(tmp_path / 'go')}"


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_session_that_is_interrupted_ends_all_of_its_parts_and_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    parts = (
        made_up("before", {"a": "pass"}, alone=True),
        *(made_up(name, {f"{name} 1": "pass", f"{name} 2": endless(tmp_path, name)}) for name in ("one", "two")),
        made_up("waits", {"b": "pass"}),
        made_up("after", {"c": "pass"}, 90, alone=True),
    )
    first = start_session(parts, tmp_path, "--processes", "2")
    files = [tmp_path / "one", tmp_path / "two"]
    wait_until(lambda: all(file.exists() and file.read_text().endswith(".") for file in files))
    first.send_signal(number)
    first.send_signal(number)  # the impatient press it twice
    output = first.communicate(timeout=PATIENCE)[0]
    assert first.returncode == 130, output
    assert "interrupted; run the same command again" in output
    assert output.splitlines()[-1].startswith("2 cases and 2 parts (waits, after) not run: run the same command again")
    for file in files:
        assert not psutil.pid_exists(int(file.read_text().rstrip(".")))
    assert cases_of(tmp_path / "journal.jsonl")["one 2"].starts == 0

    (tmp_path / "go").touch()
    second = start_session(parts, tmp_path, "--processes", "2")
    output = second.communicate(timeout=PATIENCE)[0]
    assert second.returncode == 0, output
    assert output.splitlines()[-1] == "all 7 cases have run"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"passed": 7}
    assert report["part_seconds"].keys() == {"before", "one", "two", "waits", "after"}
    log = (tmp_path / "log.txt").read_text()
    assert log.count("=== before") == 1  # all of it was done
    assert log.count("ran one 1") == log.count("ran one 2") == 1


@pytest.mark.integration
def test_a_line_is_printed_for_each_part(tmp_path: Path) -> None:
    parts = (
        made_up("alone", {"a": "pass"}, alone=True),
        made_up("cases", {"b": "pass", "c": "pass"}, 4, pieces=2),
        made_up("fails", {"d": "raise SystemExit(3)"}),
    )
    session = start_session(parts, tmp_path, "--processes", "2")
    output = session.communicate(timeout=PATIENCE)[0]
    assert session.returncode == 1, output
    lines = [re.sub(r"^ *\d+ s  ", "", line) for line in output.splitlines()]
    assert lines[1:4] == ["alone …", "alone: 1 passed", "2 at a time: cases 1/2, cases 2/2, fails …"]
    assert sorted(lines[4:7]) == ["cases 1/2: 1 passed", "cases 2/2: 1 passed", "fails: 1 crashed"]
    assert lines[7].startswith("1 crashed, 3 passed: ")


def test_what_is_left_and_how_long_it_takes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    parts = [
        made_up("measured", {}, 60, alone=True),
        made_up("checked", {}, 90),
        made_up("also checked", {}, 50),
        made_up("never begun", {}, 110, alone=True),
    ]
    stages = stages_of(parts, 2, journal)
    told = what_is_left(stages, 2, journal)
    assert told.startswith("4 parts (measured, checked, also checked, never begun) not run: ")
    assert told.endswith("about 5 minutes")  # 60, 90 and 110 s

    for part, names in {"measured": "ab", "checked": "cdef", "also checked": "g"}.items():
        journal.note(planned=part)
        for name in names:
            journal.keep(Case(part, name, "planned" if name in "bdf" else "passed", 10.0))
    journal.remember(Case("checked", "d", "failed", 77.0))
    assert [part.name for stage in stages for part in unfinished(stage, journal)] == [
        "measured",
        "checked",
        "never begun",
    ]
    journal.keep(Case("of other sessions", "x", "planned"))
    told = what_is_left(stages, 2, journal)
    assert told.startswith("3 cases and 1 part (never begun) not run: run the same command again")
    assert told.endswith("about 4 minutes")  # 8 and 10 s; 8, 77 as before and 10 as the others; 110 s

    for name in "bdf":
        journal.finish(Case("", name, "passed"))
    journal.note(planned="never begun")
    assert what_is_left(stages, 2, journal) == "all 7 cases have run"


def test_parts_whose_failures_are_repeated_are_not_complete(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    now = {"digest": "abc", "machine": {"gpu": "NVIDIA H200", "torch": "2.11.0"}}
    _keep_what_counts(journal, now, again=False, whatever=False)
    stage = [made_up("good", {}), made_up("bad", {})]
    for part, outcome in zip(stage, ("passed", "failed"), strict=True):
        journal.note(planned=part.name)
        journal.keep(Case(part.name, f"{part.name} case", outcome))
    journal.note(part_seconds={"bad": 3.0})
    _keep_what_counts(journal, now, again=False, whatever=False)
    assert unfinished(stage, journal) == []
    _keep_what_counts(journal, now, again=True, whatever=False)
    assert unfinished(stage, journal) == stage[1:]
    _keep_what_counts(journal, {**now, "digest": "def"}, again=False, whatever=True)
    assert unfinished(stage, journal) == stage  # there may be new cases
    assert {"session": {"part_seconds": {"bad": 3.0}}} in lines_of(journal.path)


def test_tests_that_were_omitted_are_run_when_they_are_asked_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    now = {"digest": "abc", "machine": {"gpu": "NVIDIA H200", "torch": "2.11.0"}}
    _keep_what_counts(journal, now, again=False, whatever=False, without_cpu=True)
    stage = [made_up("checked", {})]
    journal.note(planned="checked")
    journal.keep(Case("checked", "on the GPU", "passed"))
    _keep_what_counts(journal, now, again=False, whatever=False, without_cpu=True)
    assert unfinished(stage, journal) == []
    _keep_what_counts(journal, now, again=False, whatever=False, without_cpu=False)
    assert unfinished(stage, journal) == stage
    assert cases_of(journal.path)["on the GPU"].outcome == "passed"  # and is not repeated


def test_the_time_to_start_is_less_than_a_part_takes() -> None:
    assert all(part.seconds / part.pieces > parts._START for part in PARTS)
