"""Find the first of an ordered list of candidates that is slower: a binary search whose measurements survive an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlbs.errors import LogError
from dlbs.files import write_atomically
from dlbs.jsonio import load_json

__all__ = ["Candidate", "Search", "culprits", "next_candidate"]

_STATE = "bisect.json"
GOOD, BAD, SKIPPED = "good", "bad", "skipped"


@dataclass(slots=True)
class Candidate:
    """One of the things between good and bad.

    Attributes:
        name: What the user calls it: a commit, a version.
        verdict: `good`, `bad`, `skipped` (it could not be measured, or could not be told), or empty.
        runs: How often it was measured.
        note: Why the verdict.
    """

    name: str
    verdict: str = ""
    runs: int = 0
    note: str = ""


@dataclass(slots=True)
class Search:
    """A search and where it is kept.

    Attributes:
        directory: Where measurements and state lie.
        settings: What must be the same when the search goes on: the command, the metric, the threshold.
        candidates: From the good end to the bad one, both included.
    """

    directory: Path
    settings: dict[str, Any]
    candidates: list[Candidate] = field(default_factory=list)

    @classmethod
    def open(cls, directory: Path, settings: dict[str, Any], names: Sequence[str]) -> Search:
        """Begin a search, or go on with the one in the directory.

        Raises:
            LogError: The directory holds another search.
        """
        path = directory / _STATE
        try:
            document = load_json(path.read_text(encoding="utf-8"))
            candidates = [Candidate(**one) for one in document["candidates"]]
            known = document["settings"]
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
            search = cls(directory, settings, [Candidate(name) for name in names])
            search.write()
            return search
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LogError(
                f"is not the state of a search: {error}", where=str(path), hint="give another --state"
            ) from None
        different = sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name))
        if different or [one.name for one in candidates] != list(names):
            raise LogError(
                f"holds another search ({', '.join(different) or 'other candidates'})",
                where=str(path),
                hint="repeat the same command to go on with it, or give another --state",
            )
        return cls(directory, settings, candidates)

    def write(self) -> None:
        """Keep what is known."""
        with write_atomically(self.directory / _STATE, follow=False) as stream:
            json.dump(
                {"settings": self.settings, "candidates": [asdict(one) for one in self.candidates]}, stream, indent=1
            )

    def logs(self, index: int) -> Path:
        """Where the logs of a candidate lie: a directory for each run."""
        return self.directory / f"{index:04}"


def next_candidate(verdicts: Sequence[str]) -> int | None:
    """The candidate to measure next: the middle of those that may still be the first bad one, or the nearest to it that was not skipped.

    Args:
        verdicts: From the good end to the bad one; both ends are known.

    Returns:
        Its index; None if nothing is left to measure.
    """
    low, high = _bounds(verdicts)
    middle = (low + high) // 2
    left = [index for index in range(low + 1, high) if verdicts[index] == ""]
    return min(left, key=lambda index: (abs(index - middle), index), default=None)


def culprits(verdicts: Sequence[str]) -> range:
    """Indices of those that may be the first bad one: one, or several if some between could not be told."""
    low, high = _bounds(verdicts)
    return range(low + 1, high + 1)


def _bounds(verdicts: Sequence[str]) -> tuple[int, int]:
    """The last good one before the first bad one, and that."""
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
        state: The search; it is written after each verdict.
        measure: Measures a candidate and returns its verdict; it notes why in the candidate.
        tell: Takes a line for the user.

    Returns:
        Indices of those that may be the first bad one.

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
        tell(f"{left} candidates left")
        _settle(state, following, measure, tell)
    return culprits([one.verdict for one in state.candidates])


def _settle(state: Search, index: int, measure: Callable[[int], str], tell: Callable[[str], None]) -> None:
    candidate = state.candidates[index]
    candidate.verdict = measure(index)
    state.write()
    tell(f"{candidate.name}: {candidate.verdict}" + (f", {candidate.note}" if candidate.note else ""))
