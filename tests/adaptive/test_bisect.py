"""Searching for what made it slower, with real commands and real commits."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dlbs.adaptive.bisect import BAD, GOOD, SKIPPED, Ends, Search, classify, culprits, next_candidate
from dlbs.core.errors import LogError
from dlbs.results.statistics.ratio import PairRatio
from dlbs.results.store.store import Store
from tests.conftest import ROOT, RunDlbs

# Leaves a log whose batches take 10 ms up to a candidate and 12 ms from then on, and counts how often it was called.
MEASURE = """
import os, pathlib, random, sys
item, logs = sys.argv[1], pathlib.Path(sys.argv[2])
with open(os.environ["CALLS"], "a") as calls:
    calls.write(item + "\\n")
number = int(pathlib.Path("number").read_text() if pathlib.Path("number").exists() else item)
if str(number) in os.environ.get("SKIP", "").split():
    sys.exit(125)
source = random.Random(len(open(os.environ["CALLS"]).read()))
spread = float(os.environ.get("SPREAD", "0.02"))
times = [(12 if number >= int(os.environ["FROM"]) else 10) * source.gauss(1, spread) for _ in range(40)]
mean = sum(times) / len(times)
(logs / "a.log").write_text(f'__exp.model__= "m"\\n__results.time_data__= {times}\\n__results.time__= {mean}\\n__results.throughput__= {1000 / mean}\\n')
"""


@pytest.fixture
def measure(tmp_path: Path) -> Path:
    (tmp_path / "measure.py").write_text(MEASURE)
    (tmp_path / "versions.txt").write_text("# from good to bad\n" + "\n".join(map(str, range(20))) + "\n")
    return tmp_path


def calls(path: Path) -> list[str]:
    return (path / "calls").read_text().split()


def bisect(dlbs: RunDlbs, path: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Isolated and without site packages: Python starts in a fraction of the time.
    command = [sys.executable, "-IS", str(path / "measure.py"), "{item}", "{logs}"]
    return dlbs("bisect", *flags, "--", *command, CALLS=str(path / "calls"), **{"FROM": "13", **environment})


LIST = ("--list", "versions.txt", "--good", "0", "--bad", "19")

QUICK = (*LIST, "--trust-doubtful")


@pytest.mark.integration
def test_the_first_bad_one_is_found_with_few_measurements(dlbs: RunDlbs, measure: Path) -> None:
    done = bisect(dlbs, measure, *QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("13 is the first bad candidate: m: ratio 0.8")
    assert len(set(calls(measure))) <= 2 + 5


@pytest.mark.integration
def test_the_same_command_goes_on_where_it_was_interrupted(dlbs: RunDlbs, measure: Path) -> None:
    bisect(dlbs, measure, *QUICK, SKIP=" ".join(map(str, range(1, 19))))  # every one between the ends refuses
    interrupted = measure / "bisect" / "bisect.json"
    text = interrupted.read_text()
    interrupted.write_text(text.replace('"verdict": "skipped"', '"verdict": ""'))
    before = len(calls(measure))
    done = bisect(dlbs, measure, *QUICK)
    assert done.stdout.startswith("13 is the first")
    assert "19" not in calls(measure)[before:]
    before = len(calls(measure))
    assert bisect(dlbs, measure, *QUICK).stdout == done.stdout
    assert len(calls(measure)) == before


@pytest.mark.integration
def test_what_cannot_be_measured_is_skipped_and_said(dlbs: RunDlbs, measure: Path) -> None:
    done = bisect(dlbs, measure, *QUICK, SKIP="9 10 12 13")
    assert "one of these is the first bad candidate" in done.stdout
    assert "12, 13, 14" in done.stdout


@pytest.mark.integration
def test_each_candidate_is_measured_in_rounds_with_the_good_one(dlbs: RunDlbs, measure: Path) -> None:
    done = bisect(dlbs, measure, *QUICK)
    counts = Counter(calls(measure))
    assert counts["19"] >= 5
    assert counts["0"] == 1 + sum(count for item, count in counts.items() if item != "0")
    assert "0: good, whole runs alternate, without turns" in done.stderr


@pytest.mark.integration
def test_what_stays_open_is_skipped_with_the_rounds_that_would_decide_it(dlbs: RunDlbs, measure: Path) -> None:
    done = bisect(dlbs, measure, *QUICK, "--most-runs", "5", SPREAD="0.9", THEN_SPREAD="1")
    assert done.returncode in {0, 2}, done.stderr
    assert "after 5 rounds; about " in done.stderr
    assert "rounds would decide it (--most-runs" in done.stderr
    assert bisect(dlbs, measure, *QUICK, "--most-runs", "2").stderr.startswith(
        "error: --most-runs 2: a verdict requires 5 rounds"
    )
    assert "--confidence" in bisect(dlbs, measure, *QUICK, "--confidence", "2").stderr


@pytest.mark.parametrize(("slower", "most"), [(0.05, 20), (0.05, 150), (0.10, 40), (0.30, 20), (1.0, 20)])
def test_planted_slowdowns_are_found_or_leave_an_honest_range(slower: float, most: int) -> None:
    """Histories of 64 candidates, pairs with the standard deviation of real ones: the answer contains the culprit in 95 % of them."""
    source = random.Random(f"{slower}")
    exact = contained = 0
    for _ in range(histories := 60):
        culprit = source.randrange(1, 64)
        verdicts = [GOOD, *[""] * 62, BAD]
        while (index := next_candidate(verdicts)) is not None:
            truth = -math.log1p(slower) if index >= culprit else 0.0
            verdicts[index] = simulated(source, truth, Ends("m", 1 / (1 + slower)), most)
        found = culprits(verdicts)
        contained += culprit in found
        exact += list(found) == [culprit]
    assert contained >= 0.95 * histories
    assert exact >= (0.9 if slower >= 0.1 or most > 20 else 0.0) * histories


def test_the_same_code_is_rarely_called_bad_or_faster() -> None:
    source = random.Random(1)
    ends = [simulated(source, 0.0, None) for _ in range(600)]
    assert sum(one != SKIPPED for one in ends) <= 0.06 * 600


def simulated(source: random.Random, truth: float, ends: Ends | None, most: int = 20) -> str:
    """The verdict on a candidate whose logarithm of the ratio is `truth`; 0.035 is the measured standard deviation of pairs."""
    pairs: list[PairRatio] = []
    for _ in range(most):
        pairs.append(PairRatio(source.gauss(truth, 0.035)))
        error = 0.05 / (1 if ends is None else 7)
        if verdict := classify(pairs, "results.throughput", ends, 0.0, error).verdict:
            return verdict
    return SKIPPED


TAKES_TURNS = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "python")!r})
from benchmark_core.turns import Turns
pause = 0.004 if int(sys.argv[1]) < 2 else 0.006
turns = Turns.from_environment()
for number, _ in enumerate(turns):
    time.sleep(0.001)
    if number:
        turns.add(1, pause)  # so that no load of this machine changes the verdict
with open(sys.argv[2] + "/a.log", "w") as log:
    print('__exp.model__= "m"', f"__results.time__= {{1000 * pause}}", *turns.lines(), sep="\\n", file=log)
"""


@pytest.mark.integration
def test_programs_that_can_take_turns_do(dlbs: RunDlbs, measure: Path) -> None:
    (measure / "turner.py").write_text(TAKES_TURNS)
    command = [sys.executable, str(measure / "turner.py"), "{item}", "{logs}"]
    done = dlbs("bisect", "--list", "versions.txt", "--good", "0", "--bad", "3", "--", *command)
    assert done.returncode == 0, done.stderr
    assert "0: good, its programs take turns" in done.stderr
    assert done.stdout.startswith("2 is the first bad candidate: m: ratio 1.")


@pytest.mark.integration
def test_another_search_in_the_same_place_is_refused(dlbs: RunDlbs, measure: Path) -> None:
    bisect(dlbs, measure, *QUICK)
    done = bisect(dlbs, measure, *QUICK, "--threshold", "9%")
    assert done.returncode == 2
    assert "bisect.json: contains another search (threshold)" in done.stderr


@pytest.mark.integration
def test_ends_that_do_not_differ_are_an_error(dlbs: RunDlbs, measure: Path) -> None:
    done = bisect(dlbs, measure, *QUICK, FROM="99")
    assert done.returncode == 2
    assert "the bad end is not worse than the good one" in done.stderr


def git(path: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", "-C", str(path), *arguments], env={**os.environ, **identity}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.integration
def test_commits_are_measured_in_a_checkout_of_their_own(dlbs: RunDlbs, measure: Path) -> None:
    repo = measure / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet")
    commits = []
    for number in range(10):
        (repo / "number").write_text(str(number))
        git(repo, "add", ".")
        git(repo, "commit", "--quiet", "-m", f"change {number}")
        commits.append(git(repo, "rev-parse", "HEAD"))
    (repo / "number").write_text("not committed")
    done = bisect(
        dlbs,
        measure,
        "--repo",
        "repo",
        "--good",
        commits[0],
        "--bad",
        "HEAD",
        "--trust-doubtful",
        FROM="6",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{commits[6][:7]} change 6 is the first bad candidate")
    assert "change 6" in done.stdout
    assert (repo / "number").read_text() == "not committed"
    assert git(repo, "worktree", "list").count("\n") == 0
    with Store(str(measure / "results.db")) as store:  # the nightly runs measured two of the commits
        store.add(
            {
                "exp.id": f"{day}", "exp.model": "nightly", "exp.status": "ok", "exp.start_time": f"2026-01-{day:02}T10:00:00+0000",
                "exp.code.commit": commits[2 if day < 9 else 8], "exp.code.dirty": False, "results.time": (10 if day < 9 else 12) + 0.01 * (day % 3),
            }
            for day in range(1, 17)
        )  # fmt: skip
    flags = ("--repo", "repo", "--state", "again", "--history", "nightly", "--trust-doubtful")
    done = bisect(dlbs, measure, *flags, FROM="6")
    assert f"--good {commits[2][:7]} --bad {commits[8][:7]}" in done.stderr
    assert done.stdout.startswith(f"{commits[6][:7]} change 6 is the first bad candidate")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--good", "0", "--bad", "1", "--list", "nope.txt"], "nope.txt: cannot be read"),
        (["--good", "x", "--bad", "1", "--list", "versions.txt"], "--good: 'x' occurs 0 times"),
        (["--good", "3", "--bad", "1", "--list", "versions.txt"], "--bad: '1' is not after '3'"),
        (["--good", "a", "--bad", "b", "--repo", "."], "--good: git failed"),
        (["--good", "0", "--bad", "19", "--list", "versions.txt", "--threshold", "x"], "--threshold"),
        (
            ["--good", "0", "--bad", "19", "--list", "versions.txt", "--most-runs", "2"],
            "--most-runs 2: a verdict requires 5 rounds",
        ),
    ],
)
def test_bad_input(dlbs: RunDlbs, measure: Path, flags: list[str], said: str) -> None:
    done = bisect(dlbs, measure, *flags)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", [2, 3, 10, 33])
def test_every_place_of_the_first_bad_one_is_found(count: int) -> None:
    for first in range(1, count):
        verdicts = ["good", *[""] * (count - 2), "bad"]
        steps = 0
        while (index := next_candidate(verdicts)) is not None:
            verdicts[index] = "bad" if index >= first else "good"
            steps += 1
        assert list(culprits(verdicts)) == [first]
        assert steps <= (count - 2).bit_length()


@pytest.mark.parametrize("target", ["/dev/zero", "elsewhere.json"])
def test_a_state_that_is_a_link_is_not_read(tmp_path: Path, target: str) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (tmp_path / "bisect.json").symlink_to(target)
    with pytest.raises(LogError, match="is a symbolic link"):
        Search.open(tmp_path, {}, {"1": "1", "2": "2"})


@pytest.mark.integration
@pytest.mark.parametrize(
    "says", ["sys.exit(69)", "(logs / 'a.log').write_text('__exp.infrastructure__= true\\n'); sys.exit(1)"]
)
def test_a_fault_of_the_machine_is_no_verdict(dlbs: RunDlbs, measure: Path, says: str) -> None:
    program = measure / "measure.py"
    program.write_text(
        f"import os, pathlib, sys\nlogs = pathlib.Path(sys.argv[2])\nif sys.argv[1] == '9': {says}\n{MEASURE}"
    )
    done = bisect(dlbs, measure, *QUICK)
    assert done.returncode == 69, done.stderr
    assert "0009/round1/candidate.output: a fault of the machine, a service or a directory is no verdict" in done.stderr
    program.write_text(MEASURE)
    before = len(calls(measure))
    assert bisect(dlbs, measure, *QUICK).stdout.startswith("13 is the first bad candidate")
    assert "19" not in calls(measure)[before:]


@pytest.mark.integration
def test_a_state_that_a_power_cut_emptied_is_made_again(dlbs: RunDlbs, measure: Path) -> None:
    bisect(dlbs, measure, *QUICK)
    state = measure / "bisect" / "bisect.json"
    for content in (b"", bytes(state.stat().st_size)):
        state.write_bytes(content)
        assert bisect(dlbs, measure, *QUICK).stdout.startswith("13 is the first bad candidate")
