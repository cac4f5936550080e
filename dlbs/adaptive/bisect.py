"""Find the first slower candidate of an ordered list: a binary search that can be resumed."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark_core.exits import BISECT_SKIP, UNAVAILABLE
from dlbs.config.load import load_config
from dlbs.errors import InfrastructureError, LogError
from dlbs.files import load_json, read_regular, write_atomically
from dlbs.results.read.records import read_runs
from dlbs.results.runs import Record
from dlbs.results.statistics.compare import compare
from dlbs.results.statistics.ratio import FEWEST_RUNS, INCONCLUSIVE, Rules

_STATE = "bisect.json"
_LARGEST = 256 << 20  # bytes of it
GOOD, BAD, SKIPPED = "good", "bad", "skipped"


@dataclass(slots=True)
class Candidate:
    """A candidate between the good and the bad end.

    Attributes:
        name: The user's name for it, such as a commit or version.
        verdict: `good`, `bad`, `skipped` (not measurable, or inconclusive), or empty.
        runs: Number of its measurements.
        note: Reason of the verdict.
    """

    name: str
    verdict: str = ""
    runs: int = 0
    note: str = ""


@dataclass(slots=True)
class Search:
    """A search with its saved state.

    Attributes:
        directory: Directory of measurements and state.
        settings: Settings that must be the same when the search resumes: command, metric, threshold.
        candidates: From the good end to the bad one, inclusive.
    """

    directory: Path
    settings: dict[str, Any]
    candidates: list[Candidate] = field(default_factory=list)

    @classmethod
    def open(cls, directory: Path, settings: dict[str, Any], names: Sequence[str]) -> Search:
        """Start a search, or resume the one in the directory.

        Raises:
            LogError: The directory contains another search.
        """
        path = directory / _STATE
        try:
            content = read_regular(path, _LARGEST).strip(b"\0")
            if not content:
                raise FileNotFoundError  # as a power cut leaves it
            document = load_json(content)
            candidates = [Candidate(**one) for one in document["candidates"]]
            known = document["settings"]
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
            search = cls(directory, settings, [Candidate(name) for name in names])
            search.write()
            return search
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LogError(
                f"not the state of a search: {error}", where=str(path), hint="choose another --state"
            ) from None
        different = sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name))
        if different or [one.name for one in candidates] != list(names):
            raise LogError(
                f"contains another search ({', '.join(different) or 'other candidates'})",
                where=str(path),
                hint="repeat the same command to resume it, or choose another --state",
            )
        return cls(directory, settings, candidates)

    def write(self) -> None:
        """Save the state."""
        with write_atomically(self.directory / _STATE, follow=False) as stream:
            json.dump(
                {"settings": self.settings, "candidates": [asdict(one) for one in self.candidates]}, stream, indent=1
            )

    def logs(self, index: int) -> Path:
        """Directory of the logs of a candidate, with a subdirectory for each run."""
        return self.directory / f"{index:04}"


def next_candidate(verdicts: Sequence[str]) -> int | None:
    """Choose the next candidate: the middle of those that may be the first bad one, or the nearest to it that was not skipped.

    Args:
        verdicts: From the good end to the bad one; both ends have verdicts.

    Returns:
        Its index; None if nothing is left to measure.
    """
    low, high = _bounds(verdicts)
    middle = (low + high) // 2
    left = [index for index in range(low + 1, high) if verdicts[index] == ""]
    return min(left, key=lambda index: (abs(index - middle), index), default=None)


def culprits(verdicts: Sequence[str]) -> range:
    """Indices of the candidates that may be the first bad one: several if some were skipped."""
    low, high = _bounds(verdicts)
    return range(low + 1, high + 1)


def _bounds(verdicts: Sequence[str]) -> tuple[int, int]:
    """Indices of the last good candidate before the first bad one, and of the first bad one."""
    high = next((index for index, verdict in enumerate(verdicts) if verdict == BAD), len(verdicts) - 1)
    low = max((index for index in range(high) if verdicts[index] == GOOD), default=0)
    return low, high


def search(
    state: Search,
    measure: Callable[[int], str],
    *,
    tell: Callable[[str], None],
) -> range:
    """Measure candidates until the first bad one is found.

    Args:
        state: The search; saved after each verdict.
        measure: Measures a candidate, sets its note, and returns its verdict.
        tell: Prints a line for the user.

    Returns:
        Indices of the candidates that may be the first bad one.

    Raises:
        LogError: The bad end is not worse than the good one.
    """
    last = len(state.candidates) - 1
    for index in (0, last):
        if not state.candidates[index].verdict:
            _settle(state, index, measure, tell)
    first, end = state.candidates[0], state.candidates[last]
    if first.verdict != GOOD:
        raise LogError(f"the good end could not be measured: {first.note}", where=first.name)
    if end.verdict != BAD:
        raise LogError(f"the bad end is not worse than the good one: {end.note}", where=end.name)
    while (following := next_candidate([one.verdict for one in state.candidates])) is not None:
        left = len(culprits([one.verdict for one in state.candidates]))
        tell(f"{left} candidates remaining")
        _settle(state, following, measure, tell)
    return culprits([one.verdict for one in state.candidates])


def _settle(state: Search, index: int, measure: Callable[[int], str], tell: Callable[[str], None]) -> None:
    candidate = state.candidates[index]
    candidate.verdict = measure(index)
    state.write()
    tell(f"{candidate.name}: {candidate.verdict}" + (f", {candidate.note}" if candidate.note else ""))


def lines_between(path: str, good: str, bad: str) -> list[str]:
    """The lines of a file from the good to the bad candidate, without comments.

    Raises:
        LogError: The file cannot be read, or a candidate is not once in it, or they are not in this order.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    names = [line for line in lines if line and not line.startswith("#")]
    for flag, name in (("--good", good), ("--bad", bad)):
        if names.count(name) != 1:
            raise LogError(f"{name!r} occurs {names.count(name)} times in the list", where=flag, hint=f"see {path}")
    if names.index(good) >= names.index(bad):
        raise LogError(f"{bad!r} is not after {good!r}", where="--bad", hint=f"order {path} from good to bad")
    return names[names.index(good) : names.index(bad) + 1]


def commits_between(repo: str, good: str, bad: str) -> list[str]:
    """The commits of a Git repository from the good to the bad candidate, first parents only.

    Raises:
        LogError: A candidate is no commit, or the bad one is no descendant of the good one.
    """
    first, last = (
        git(repo, "rev-parse", "--verify", f"{name}^{{commit}}", flag=flag).strip()
        for flag, name in (("--good", good), ("--bad", bad))
    )
    between = git(repo, "rev-list", "--reverse", "--first-parent", "--ancestry-path", f"{first}..{last}").split()
    if not between:
        raise LogError(
            f"{bad!r} is not a descendant of {good!r}",
            where="--bad",
            hint="git log --first-parent lists the commits",
        )
    return [first, *between]


def git(repo: str, *arguments: str, flag: str = "--repo") -> str:
    """The output of a Git command.

    Raises:
        LogError: It cannot be started or fails; `flag` is where.
    """
    try:
        done = subprocess.run(["git", "-C", repo, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise LogError(f"git cannot be started: {error.strerror}", where=flag) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise LogError(f"git failed: {lines[-1] if lines else done.returncode}", where=flag)
    return done.stdout


def measure(state: Search, index: int, most_runs: int) -> str:
    """Measure a candidate until its comparison with the good one has a verdict, and record the reason."""
    candidate = state.candidates[index]
    trust = state.settings["trust_single_runs"]
    for wanted in range(1 if trust else FEWEST_RUNS, most_runs + 1):
        # The good candidate is measured as often, otherwise the interval could not become narrower.
        for one in dict.fromkeys((0, index)):
            while state.candidates[one].runs < wanted:
                problem = _run(state, one)
                if problem:
                    candidate.note = problem
                    return SKIPPED
        if index == 0:
            return GOOD
        sides = _records(state, 0), _records(state, index)
        comparison = compare(
            *sides,
            load_config().declarations,
            Rules(
                metric=state.settings["metric"],
                threshold=state.settings["threshold"],
                confidence=state.settings["confidence"],
                simultaneous=True,
                trust_single_runs=trust,
                trust_doubtful=state.settings["trust_doubtful"],
            ),
        )
        worst = comparison.regressions or comparison.matches
        ratio = f", ratio {worst[0].estimate.ratio:.3f}" if worst[0].estimate else ""
        candidate.note = (
            f"{worst[0].verdict}: {worst[0].label}{ratio}, {candidate.runs} run{'s' if candidate.runs > 1 else ''}"
        )
        if comparison.regressions:
            return BAD
        if not any(match.verdict in {INCONCLUSIVE, "failed"} for match in comparison.matches):
            return GOOD
    candidate.note = f"inconclusive after {candidate.runs} runs"
    return SKIPPED


def _run(state: Search, index: int) -> str:
    """Run the command for a candidate once more; return the error, or an empty string.

    Raises:
        InfrastructureError: It says nothing about the candidate; the run is not counted.
    """
    candidate = state.candidates[index]
    logs = state.logs(index) / f"run{candidate.runs + 1}"
    shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted run
    logs.mkdir(parents=True)
    places = {"{item}": candidate.name, "{logs}": str(logs.resolve())}
    command = [
        functools.reduce(lambda word, pair: word.replace(*pair), places.items(), word)
        for word in state.settings["command"]
    ]
    environment = {**os.environ, "DLBS_BISECT_ITEM": candidate.name, "DLBS_BISECT_LOGS": str(logs.resolve())}
    directory = _checkout(state, candidate.name) if state.settings["repo"] is not None else None
    output = logs.with_suffix(".output")
    with output.open("wb") as stream:
        try:
            code = subprocess.run(
                command, cwd=directory, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        except OSError as error:
            raise LogError(f"cannot be started: {error.strerror}", where=command[0]) from None
    if code == BISECT_SKIP:
        return "skipped by the command"
    candidate.runs += 1
    records = _records(state, index)
    if code == UNAVAILABLE or any(record.get("exp.infrastructure") for record in records):
        what = "a fault of the machine, a service or a directory is no verdict"
        raise InfrastructureError(what, where=str(output), hint="fix it, and run the same command again")
    if not records:
        candidate.runs -= 1
        return f"the command ended with {code} and left no log; see {output}"
    state.write()
    return ""


def _records(state: Search, index: int) -> Sequence[Record]:
    runs = [state.logs(index) / f"run{run + 1}" for run in range(state.candidates[index].runs)]
    try:
        return read_runs([str(run) for run in runs], cached=False)
    except LogError:
        return []


def _checkout(state: Search, commit: str) -> Path:
    """Put the search's own checkout at a commit, without files left by the build of another one."""
    repo, directory = state.settings["repo"], (state.directory / "checkout").resolve()
    if (directory / ".git").exists():
        git(str(directory), "checkout", "--quiet", "--force", "--detach", commit)
        git(str(directory), "clean", "--quiet", "-ffdx")
    else:
        git(repo, "worktree", "prune")
        git(repo, "worktree", "add", "--quiet", "--force", "--detach", str(directory), commit)
    return directory
