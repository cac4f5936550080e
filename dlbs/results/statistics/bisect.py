"""Find the first slower candidate of an ordered list: a binary search that can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlbs.errors import LogError
from dlbs.files import read_regular, write_atomically
from dlbs.jsonio import load_json

__all__ = ["Candidate", "Search", "culprits", "next_candidate"]

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
            document = load_json(read_regular(path, _LARGEST))
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
