"""Taking turns: processes that speak the protocol alternate, end together, and go on after any of them or the run was killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.exits import UNAVAILABLE
from dlbs.executors.turns import FEWEST_TURNS, TurnGiver
from dlbs.results.read.records import read_runs
from tests.conftest import ROOT
from tests.experiments import logs, values
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

# A program whose batches take `side` ms; it fails, or ends early, where it is told to.
PROGRAM = f"""\
#!{sys.executable}
import os, sys, time
sys.path.insert(0, {str(ROOT / "python")!r})
from benchmark_core.turns import Turns
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
side, fault = int(options["--mine_side"]), options["--mine_fault"]
turns = Turns.from_environment()
ran = 0
for number, seconds in enumerate(turns or ()):
    if fault == f"crash{{side}}" and number == 3 and not os.path.exists("crashed"):
        open("crashed", "w").close()
        sys.exit("no more memory")
    if fault == f"early{{side}}" and number == 3:
        sys.exit(0)
    begin, count = time.monotonic(), 0
    while not count or time.monotonic() - begin < seconds:
        time.sleep(side / 1000)
        count += 1
    if number:
        turns.add(count, count * side / 1000, 0.0)  # so that no load of this machine changes the verdict
print("__results.time__=", side)
print(*(turns.lines() if turns else []), sep="\\n")
"""

SHELL = """\
exec 3<"$DLBS_TURNS/turn" 4>"$DLBS_TURNS/done"
echo ready >&4
while read -r word value <&3 && [ "$word" = turn ]; do
    echo "begin $1"; sleep 0.01; echo "end $1"
    echo done >&4
done
echo "pair $value"
"""


@pytest.fixture
def plan(tmp_path: Path) -> list[str]:
    """Options of `dlbs run` for two sides, the second of which takes 1.5 times as long."""
    program = tmp_path / "mine"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    given: dict[str, Any] = {
        "exp.framework": "mine", "mine.launcher": str(program), "mine.takes_turns": True, "exp.docker": False, "exp.gpus": "",
        "turns.seconds": 0.03, "turns.count": 12, "mine.fault": "none", "exp.log_dir": str(tmp_path / "logs"),
    }  # fmt: skip
    parameters = [
        f"-P{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in given.items()
    ]
    return [*parameters, "-Vmine.side=[4,6]", "--by", "mine.side"]


def dlbs(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dlbs", *words], cwd=directory, env=environment(), capture_output=True, text=True)  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'python'}", "COLUMNS": "120"}


def results(directory: Path) -> list[Any]:
    return list(read_runs([str(directory / "logs")]))


def test_shell_programs_alternate_and_learn_the_name_of_their_pair(tmp_path: Path) -> None:
    script, output = tmp_path / "side.sh", tmp_path / "output"
    script.write_text(SHELL)
    giver = TurnGiver(2, 0.001, 15)
    with output.open("ab") as stream:
        sides = [
            subprocess.Popen(["bash", str(script), name], env={**os.environ, **variables}, stdout=stream)
            for name, variables in zip("AB", giver.environments, strict=True)
        ]
        assert [side.wait(60) for side in sides] == [0, 0]
    giver.close()
    assert giver.states == ["over", "over"]
    *turns, first, second = output.read_text().splitlines()
    assert first == second
    assert first.startswith("pair ")
    begins, ends = turns[::2], turns[1::2]
    assert [line.split()[1] for line in begins] == [line.split()[1] for line in ends]
    assert [line.split()[0] for line in turns] == ["begin", "end"] * len(begins)
    rounds = [sorted(line.split()[1] for line in begins[at : at + 2]) for at in range(0, len(begins), 2)]
    # A turn of 10 ms is longer than asked for, so the fewest turns are enough; the first round is for warm-up.
    assert rounds == [["A", "B"]] * (1 + FEWEST_TURNS)


def test_a_program_whose_giver_has_ended_fails(tmp_path: Path) -> None:
    code = "from benchmark_core.turns import Turns\nfor _ in Turns.from_environment(): print('turn')"
    giver = TurnGiver(2, 0.001, 15)
    variables = {**environment(), **giver.environments[0]}
    program = subprocess.Popen([sys.executable, "-c", code], env=variables, stderr=subprocess.PIPE, text=True)
    while giver.states != ["waits", ""]:
        time.sleep(0.01)
    giver.close()
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "the program that gives turns has ended" in errors
    again = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert "DLBS_TURNS: No such file or directory" in again.stderr


def test_a_program_that_begins_after_the_giver_was_killed_ends(tmp_path: Path) -> None:
    for name in ("turn", "done"):
        os.mkfifo(tmp_path / name)
    code = "from benchmark_core.turns import Turns\nTurns.from_environment()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "DLBS_TURNS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "the program that gives turns has ended" in done.stderr


def test_compare_uses_the_pairs(tmp_path: Path, plan: list[str]) -> None:
    done = dlbs(tmp_path, "run", *plan, "--turns", "3")
    assert done.returncode == 0, done.stderr
    assert "the sides take turns" in done.stderr
    assert "round 3: side=6 vs side=4:" in done.stderr
    assert "slower" in done.stdout
    first, *_ = found = results(tmp_path)
    assert len({one["results.turns.pair"] for one in found}) == 3
    assert len(first["results.turns.times"]) == len(first["results.turns.starts"]) >= FEWEST_TURNS
    compared = dlbs(tmp_path, "compare", "logs", "--by", "mine.side")
    assert "mean ratio of pairs of processes that took turns, weighted by their precision" in " ".join(
        compared.stdout.split()
    )
    assert "│ slower │" in " ".join(compared.stdout.split())
    again = dlbs(tmp_path, "run", *plan, "--turns", "3")
    assert "6 already finished" in again.stderr


def test_the_partner_of_a_process_that_crashes_ends_and_both_run_again(tmp_path: Path, plan: list[str]) -> None:
    done = dlbs(tmp_path, "run", *plan, "--turns", "1", "-Pmine.fault=crash6", "--retries", "1")
    assert done.returncode == 0, done.stderr
    kept = sorted(tmp_path.glob("logs/*attempt*"))
    lost = [one for one in map(Path.read_text, kept) if "__exp.lost_partner__= true" in one]
    assert len(kept) == 2
    assert len(lost) == 1
    assert "did not end well (failure: exit code 1)" in lost[0]
    assert {one["exp.status"] for one in results(tmp_path)} == {"ok"}


def test_without_retries_a_pair_that_lost_a_partner_is_recorded_as_failed(tmp_path: Path, plan: list[str]) -> None:
    done = dlbs(tmp_path, "run", *plan, "--turns", "1", "-Pmine.fault=crash4")
    assert done.returncode == 1
    assert [one["exp.status"] for one in results(tmp_path)] == ["failure", "failure"]


def test_a_process_that_ends_early_fails_with_its_partner(tmp_path: Path, plan: list[str]) -> None:
    dlbs(tmp_path, "run", *plan, "--turns", "1", "-Pmine.fault=early6")
    messages = {one["mine.side"]: one["exp.status_msg"] for one in results(tmp_path)}
    assert "it ended before its turns were over: -Pturns.seconds=0" in messages[6]
    assert "its partner" in messages[4]


def test_a_killed_run_goes_on_with_the_same_command(tmp_path: Path, plan: list[str]) -> None:
    command = [sys.executable, "-m", "dlbs", "run", *plan, "--turns", "3"]
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not list(tmp_path.glob("logs/*.part")):
        time.sleep(0.01)
    time.sleep(0.3)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = dlbs(tmp_path, "run", *plan, "--turns", "3")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert len(found) == 6
    assert {one["exp.status"] for one in found} == {"ok"}
    assert len({one["results.turns.pair"] for one in found}) == 3


def test_until_known_decides_by_pairs(tmp_path: Path, plan: list[str]) -> None:
    done = dlbs(tmp_path, "run", *plan, "--until-known", "--max-repeats", "12")
    assert done.returncode == 0, done.stderr
    assert "known after 5 rounds" in done.stderr
    alone = dlbs(tmp_path, "run", *plan, "--until-known", "--max-repeats", "1", "-Pturns.seconds=0", f"-Pexp.log_dir={tmp_path}/alone")  # fmt: skip
    assert "whole runs alternate, without turns: turns.seconds is 0" in alone.stderr


def test_two_checkouts_are_sides(tmp_path: Path, plan: list[str]) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    words = [one for one in plan if "mine.side" not in one and one != "--by"]
    done = dlbs(tmp_path, "run", *words, "-Pmine.side=4", "-Vexp.working_dir=[before,after]", "--by", "exp.working_dir", "--turns", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    places = {Path(one["exp.working_dir"]).name for one in results(tmp_path)}
    assert places == {"before", "after"}
    missing = dlbs(tmp_path, "run", *words, "-Pmine.side=4", "-Vexp.working_dir=[before,gone]", "--by", "exp.working_dir", "--turns", "1")  # fmt: skip
    assert missing.returncode == 2
    assert "directory gone (exp.working_dir) does not exist" in missing.stderr


@pytest.mark.parametrize("body", ["while true; do echo done; done", "head -c 1000000 /dev/zero; sleep 1000"])
def test_a_program_that_does_not_speak_the_protocol_ends_in_time(tmp_path: Path, plan: list[str], body: str) -> None:
    (tmp_path / "mine").write_text(f'#!/bin/bash\nexec >"$DLBS_TURNS/done"\necho ready\n{body}\n')
    done = dlbs(tmp_path, "run", *plan, "--turns", "1", "-Pexp.timeout=1")
    assert done.returncode == 1, done.stderr
    statuses = {values(log)["exp.status"] for log in logs(tmp_path)}
    assert statuses - {"failure"} == {"timeout"}  # the partner of the first one that ends may be ended with it


def test_without_a_place_for_turns_the_plan_stops(tmp_path: Path, plan: list[str]) -> None:
    words = shlex.join([sys.executable, "-m", "dlbs", "run", *plan, "--turns", "1"])
    few = f"mkdir t; mount -t tmpfs -o nr_inodes=4 none t; touch t/a; export TMPDIR=$PWD/t; {words}"  # not all FIFOs
    done = subprocess.run(["unshare", "-m", "sh", "-c", few], cwd=tmp_path, env=environment(), capture_output=True, text=True)  # fmt: skip
    assert done.returncode == UNAVAILABLE, done.stderr
    assert "cannot give turns: No space left on device" in done.stderr
    assert dlbs(tmp_path, "run", *plan, "--turns", "1").returncode == 0


def test_when_a_repeat_loses_a_partner_both_earlier_logs_remain(tmp_path: Path, plan: list[str]) -> None:
    assert dlbs(tmp_path, "run", *plan, "--turns", "1").returncode == 0
    before = [log.read_bytes() for log in logs(tmp_path)]
    program = tmp_path / "mine"
    program.write_text(program.read_text().replace("begin, count", "side == 6 and sys.exit(69)\n    begin, count", 1))
    done = dlbs(tmp_path, "run", *plan, "--turns", "1", "-Pexp.rerun=always")
    assert done.returncode == UNAVAILABLE, done.stderr
    assert [log.read_bytes() for log in logs(tmp_path)] == before


@pytest.mark.parametrize(
    "line", ["pair__= [1]", "pair__= {}", f"times__= {[1e140] * 12}", f"batches__= {[1e-300] * 12}"]
)
def test_any_value_of_a_log_is_no_pair_or_a_pair(tmp_path: Path, plan: list[str], line: str) -> None:
    dlbs(tmp_path, "run", *plan, "--turns", "2")
    for log in logs(tmp_path):
        with log.open("a") as stream:
            stream.write(f"__results.turns.{line}\n")
    done = dlbs(tmp_path, "run", *plan, "--turns", "2")
    assert done.returncode == 0, done.stderr


def test_turns_on_a_cluster_are_an_error(tmp_path: Path, plan: list[str]) -> None:
    done = dlbs(tmp_path, "run", *plan, "--turns", "1", "--executor", "slurm", "--no-validation")
    assert done.returncode == 2
    assert "no turns: only experiments of --executor local do" in done.stderr
    both = dlbs(tmp_path, "run", *plan, "--turns", "1", "--until-known")
    assert "--turns runs a fixed number of rounds" in both.stderr
