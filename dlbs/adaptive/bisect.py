"""Find the first slower candidate of an ordered list: a binary search that can be resumed."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.exits import BISECT_SKIP, UNAVAILABLE
from dlbs.config.load import load_config
from dlbs.core.errors import InfrastructureError, LogError
from dlbs.core.files import load_json, read_regular, write_atomically
from dlbs.core.text import counted
from dlbs.executors.turns import FEWEST_TURNS, TurnGiver
from dlbs.results.changes import change_words
from dlbs.results.read.records import read_runs
from dlbs.results.runs import THROUGHPUT, Record, Runs, status_of
from dlbs.results.statistics.compare import Comparison, Match, compare
from dlbs.results.statistics.ratio import (
    INCONCLUSIVE,
    REGRESSIONS,
    PairRatio,
    Rules,
    is_doubtful,
    pairs_of,
    sample_of,
    verdict_of,
)
from dlbs.results.statistics.sequential import FIRST_LOOK, repeated_pairs_interval
from dlbs.run.exact import add_worktree, git

_STATE = "bisect.json"
_LARGEST = 256 << 20  # bytes of it
_LOOK = 0.05  # seconds between looks at running commands
GOOD, BAD, SKIPPED = "good", "bad", "skipped"


@dataclass(slots=True)
class Candidate:
    """A candidate between the good and the bad end.

    Attributes:
        name: The user's name for it, such as a commit or version.
        title: How it is shown: of a commit the short hash and the subject.
        verdict: `good`, `bad`, `skipped` (not measurable, or inconclusive), or empty.
        runs: Number of its rounds, each with one run of it and of the good end.
        note: Reason of the verdict.
    """

    name: str
    title: str = ""
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
        ends: The difference of the bad end, once it is known.
        take_turns: Whether the programs that the command runs take turns.
    """

    directory: Path
    settings: dict[str, Any]
    candidates: list[Candidate] = field(default_factory=list)
    ends: Ends | None = None
    take_turns: bool = False

    @classmethod
    def open(cls, directory: Path, settings: dict[str, Any], titles: Mapping[str, str]) -> Search:
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
            known, turns = document["settings"], document["take_turns"]
            ends = None if document["ends"] is None else Ends(**document["ends"])
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
            search = cls(directory, settings, [Candidate(name, title) for name, title in titles.items()])
            search.write()
            return search
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LogError(
                f"not the state of a search: {error}", where=str(path), hint="choose another --state"
            ) from None
        different = sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name))
        if different or [one.name for one in candidates] != list(titles):
            raise LogError(
                f"contains another search ({', '.join(different) or 'other candidates'})",
                where=str(path),
                hint="repeat the same command to resume it, or choose another --state",
            )
        return cls(directory, settings, candidates, ends, turns)

    def write(self) -> None:
        """Save the state."""
        with write_atomically(self.directory / _STATE, follow=False) as stream:
            json.dump(asdict(self) | {"directory": None}, stream, indent=1)

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


def search(state: Search, measure: Callable[[int], str], *, tell: Callable[[str], None]) -> range:
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
        raise LogError(f"the good end could not be measured: {first.note}", where=first.title)
    if end.verdict != BAD:
        worse = "worse" if end.verdict == GOOD else "known to be worse"
        raise LogError(f"the bad end is not {worse} than the good one: {end.note}", where=end.title)
    while (following := next_candidate([one.verdict for one in state.candidates])) is not None:
        left = len(culprits([one.verdict for one in state.candidates]))
        tell(f"{left} candidates remaining")
        _settle(state, following, measure, tell)
    return culprits([one.verdict for one in state.candidates])


def _settle(state: Search, index: int, measure: Callable[[int], str], tell: Callable[[str], None]) -> None:
    candidate = state.candidates[index]
    candidate.verdict = measure(index)
    state.write()
    tell(f"{candidate.title}: {candidate.verdict}" + (f", {candidate.note}" if candidate.note else ""))


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
        git(repo, "rev-parse", "--verify", f"{name}^{{commit}}", where=flag).strip()
        for flag, name in (("--good", good), ("--bad", bad))
    )
    between = git(repo, "rev-list", "--reverse", "--first-parent", "--ancestry-path", f"{first}..{last}").split()
    if not between:
        what, hint = f"{bad!r} is not a descendant of {good!r}", "git log --first-parent lists the commits"
        raise LogError(what, where="--bad", hint=hint)
    return [first, *between]


def titles_of(repo: str, commits: Sequence[str]) -> dict[str, str]:
    """Commit → its short hash and subject."""
    lines = git(repo, "show", "--no-patch", "--format=%H %h %s", *commits).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def measure(state: Search, index: int, most_runs: int) -> str:
    """Measure rounds of the good candidate and this one until there is a verdict; record the reason, and the difference of the bad end.

    In a round both run once, in random order or, if the command's programs can, in turns. A candidate is bad if it is beyond the middle between
    both ends, good if it is not, each with the confidence of the whole search.
    """
    if index == 0:
        return _probe(state)
    candidate, ends = state.candidates[index], state.ends
    is_end = index == len(state.candidates) - 1
    while True:
        comparison = _comparison(state, index) if candidate.runs else None
        if comparison is not None and candidate.runs >= FIRST_LOOK:
            found = _answer(state, comparison, is_end)
            # The commits are the candidates; other packages are another possible cause.
            software = {name: comparison.changes[name] for name in _SOFTWARE & comparison.changes.keys()}
            candidate.note = "; ".join([found.note, *change_words(software)])
            if found.verdict:
                if is_end:
                    state.ends = Ends(found.label, found.ratio)
                return found.verdict
        if candidate.runs >= most_runs:
            candidate.note = candidate.note or f"no verdict after {counted(candidate.runs, 'round')}"
            return SKIPPED
        problem, failed = _round(state, index)
        if problem:
            candidate.note = problem
            return SKIPPED
        if failed:
            candidate.note = "fails"
            if is_end:
                state.ends = Ends()
            return BAD if is_end or (ends is not None and not ends.label) else SKIPPED
        if ends is not None and not ends.label:
            candidate.note = "does not fail"
            return GOOD


@dataclass(frozen=True, slots=True)
class Ends:
    """The difference of the bad end.

    Attributes:
        label: The experiment that is slower; empty if the command fails.
        ratio: Ratio of the bad end to the good one.
    """

    label: str = ""
    ratio: float = 1.0


class _Found(NamedTuple):
    verdict: str
    note: str
    label: str = ""
    ratio: float = 1.0


def _answer(state: Search, comparison: Comparison, is_end: bool) -> _Found:
    """The verdict on a candidate after another round; empty if it is open."""
    error = 1 - state.settings["confidence"]
    found: list[_Found] = []
    for match in comparison.matches:
        if state.ends is not None and match.label != state.ends.label:
            continue
        pairs = _pairs(match, comparison.metric, state.settings["trust_doubtful"])
        if not pairs:
            continue
        threshold = state.settings["threshold"]
        questions = len(comparison.matches) if is_end else max(1, len(state.candidates).bit_length())
        one = classify(pairs, comparison.metric, None if is_end else state.ends, threshold, error / questions)
        found.append(one._replace(label=match.label, note=f"{match.label}: {one.note}"))
    if not found:
        return _Found("", "no values without warnings (--trust-doubtful uses the others)")
    verdicts = [one.verdict for one in found]
    if BAD in verdicts:
        return max((one for one in found if one.verdict == BAD), key=lambda one: abs(math.log(one.ratio)))
    return found[0]._replace(verdict=GOOD if set(verdicts) == {GOOD} else "")


def classify(pairs: Sequence[PairRatio], metric: str, ends: Ends | None, threshold: float, error: float) -> _Found:
    """The verdict on a candidate from its pairs with the good end, valid after any number of rounds; empty if it is open.

    Args:
        pairs: A ratio to the good end for each round.
        metric: Key of the quantity.
        ends: The ratio of the bad end; None for the bad end itself, which is compared by the threshold.
        threshold: Largest relative difference that counts as the same.
        error: Error of all analyses of this candidate together.
    """
    ratio, interval = repeated_pairs_interval(pairs, error, 1 - error)
    if interval is None:
        return _Found("", "", ratio=ratio)
    note = f"ratio {ratio:.3f} [{interval.low:.3f}, {interval.high:.3f}] after {counted(len(pairs), 'round')}"
    if ends is None:
        verdict = verdict_of(metric, interval, threshold)
        note = f"{verdict}, {note}"
        if verdict != INCONCLUSIVE:
            return _Found(BAD if verdict in REGRESSIONS else GOOD, note, ratio=ratio)
        middle, other = 1 + math.copysign(threshold, ratio - 1), ", or a smaller --threshold"
    else:
        middle, other = math.sqrt(ends.ratio), ""
        beyond, short = (interval.high < middle, interval.low > middle)[:: 1 if ends.ratio < 1 else -1]
        if beyond or short:
            return _Found(BAD if beyond else GOOD, note, ratio=ratio)
    distance = abs(math.log(ratio / middle)) or math.inf
    needed = math.ceil(len(pairs) * (math.log(interval.high / interval.low) / 2 / distance) ** 2)
    return _Found("", f"{note}; about {needed} rounds would decide it (--most-runs{other})", ratio=ratio)


def _pairs(match: Match, metric: str, trust_doubtful: bool) -> list[PairRatio]:
    """The ratio of each round: of its turns, or of the means of its runs."""
    above, below = (match.a, match.b) if metric == THROUGHPUT else (match.b, match.a)
    sides: list[dict[int, list[Record]]] = [{}, {}]
    for side, runs in zip(sides, (above, below), strict=True):
        for record in runs:
            side.setdefault(int(record["exp.repeat"]), []).append(record)
    found = []
    for number, ours in sides[0].items():
        theirs = sides[1].get(number, [])
        if not trust_doubtful and any(map(is_doubtful, [*ours, *theirs])):
            continue
        if turned := pairs_of(ours, theirs, metric):
            found.append(turned[0])
            continue
        samples = [sample_of(side, metric, within=False) for side in (ours, theirs)]
        if all(sample is not None and min(sample.values) > 0 for sample in samples):
            one, other = (math.log(sample.mean()) for sample in samples if sample is not None)
            found.append(PairRatio(one - other))
    return found


def _comparison(state: Search, index: int) -> Comparison:
    """The rounds of a candidate: its experiments matched with those of the good one."""
    sides: list[list[Record]] = [[], []]
    for number in range(1, state.candidates[index].runs + 1):
        for side, name in zip(sides, _SIDES, strict=True):
            side += [
                {**record, "exp.repeat": number} for record in _records(state.logs(index) / f"round{number}" / name)
            ]
    settings = state.settings
    rules = Rules(metric=settings["metric"], threshold=settings["threshold"], confidence=settings["confidence"])
    return compare(Runs.of(sides[0], load_config().declarations), sides[1], rules)


def _probe(state: Search) -> str:
    """Run the command once for the good candidate, and find out whether its programs take turns."""
    logs, candidate = state.logs(0) / "probe", state.candidates[0]
    (code,), _, state.take_turns = _run(state, {logs: 0}, FEWEST_TURNS)
    _check_fault(code, logs)
    if code == BISECT_SKIP or not _has_values(logs):
        candidate.note = f"the command ended with {code} and left no results; see {logs}.output"
        return SKIPPED
    candidate.note = "its programs take turns" if state.take_turns else "whole runs alternate, without turns"
    return GOOD


_SIDES = ("good", "candidate")
_SOFTWARE = {"packages", "decisive", "images"}  # of the changes between both
_SECONDS, _TURNS = 0.15, 40  # of a turn; turns of a process


def _round(state: Search, index: int) -> tuple[str, bool]:
    """Run the command once more for the good candidate and for this one.

    Returns:
        Why the candidate must be skipped, or empty; and whether it fails.

    Raises:
        InfrastructureError: The round says nothing about the candidate, and is not counted.
    """
    candidate = state.candidates[index]
    logs = state.logs(index) / f"round{candidate.runs + 1}"
    places = dict(zip((logs / name for name in _SIDES), (0, index), strict=True))
    codes, first, _ = _run(state, places, _TURNS if state.take_turns else 0)
    if codes[1] == BISECT_SKIP:
        return "skipped by the command", False
    for code, name in zip(codes, _SIDES, strict=True):
        _check_fault(code, logs / name)
    has = [_has_values(logs / name) for name in _SIDES]
    if not has[1] and (has[0] or first == 1):
        return "", True
    if not all(has):
        lost = 1 if has[0] else 0
        return f"the command ended with {codes[lost]} and left no results; see {logs / _SIDES[lost]}.output", False
    candidate.runs += 1
    state.write()
    return "", False


def _run(state: Search, places: Mapping[Path, int], turns: int) -> tuple[list[int], int, bool]:
    """Run the command for some candidates, which take turns or, without turns, run one after the other in random order.

    Args:
        state: The search.
        places: Directory of the logs → index of the candidate.
        turns: Number of turns of each process; 0 for none.

    Returns:
        Exit codes; number of the process that ended first, the last one without turns; whether all had their turns.
    """
    giver = TurnGiver(len(places), _SECONDS, turns) if turns else None
    processes: dict[int, subprocess.Popen[bytes]] = {}
    first, sides = len(places) - 1, list(enumerate(places.items()))
    try:
        for side, (logs, index) in random.sample(sides, len(sides)):
            processes[side] = _start(state, index, logs, giver.environments[side] if giver else {})
            if giver is None:
                processes[side].wait()
        if giver is not None:
            while all(process.poll() is None for process in processes.values()):
                time.sleep(_LOOK)
            first = next(side for side in range(len(places)) if processes[side].returncode is not None)
            giver.close()  # the others need no more turns, or have no partner any more
        codes = [processes[side].wait() for side in range(len(places))]
    finally:
        for process in processes.values():  # that an interruption left
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        if giver is not None:
            giver.close()
    return codes, first, giver is not None and set(giver.states) == {"over"}


def _start(state: Search, index: int, logs: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the command for a candidate, with its output in a file beside its logs."""
    shutil.rmtree(logs, ignore_errors=True)  # left by an interrupted run
    logs.mkdir(parents=True)
    name, place = state.candidates[index].name, str(logs.resolve())
    command = [word.replace("{item}", name).replace("{logs}", place) for word in state.settings["command"]]
    environment = {**os.environ, "DLBS_BISECT_ITEM": name, "DLBS_BISECT_LOGS": place, **variables}
    repo = state.settings["repo"]
    directory = None if repo is None else _checkout(state, name, "checkout" if index else "good")
    try:
        with logs.with_suffix(".output").open("wb") as stream:
            return subprocess.Popen(
                command, cwd=directory, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise LogError(f"cannot be started: {error.strerror}", where=command[0]) from None


def _check_fault(code: int, logs: Path) -> None:
    if code == UNAVAILABLE or any(record.get("exp.infrastructure") for record in _records(logs)):
        message = "a fault of the machine, a service or a directory is no verdict"
        raise InfrastructureError(message, where=f"{logs}.output", hint="fix it, and run the same command again")


def _has_values(logs: Path) -> bool:
    return any(status_of(record) == "ok" for record in _records(logs))


def _records(logs: Path) -> Sequence[Record]:
    try:
        return read_runs([str(logs)])
    except LogError:
        return []


def _checkout(state: Search, commit: str, name: str) -> Path:
    """Put a checkout of the search at a commit, without files left by the build of another one."""
    directory = (state.directory / name).resolve()
    if not (directory / ".git").exists():
        add_worktree(state.settings["repo"], directory, commit)
    elif git(directory, "rev-parse", "HEAD").strip() != commit:
        git(directory, "checkout", "--quiet", "--force", "--detach", commit)
        git(directory, "clean", "--quiet", "-ffdx")
    return directory
