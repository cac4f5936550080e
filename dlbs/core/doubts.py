"""Doubtful runs: the warnings that runs logged about their own numbers, with the meaning and the remedy of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark_core.doubts import KINDS, DoubtKind, doubt_kind, figure_of, warnings_of

RERUN = "dlbs run ... -Pexp.rerun=doubtful"


def short_doubts(record: Mapping[str, Any]) -> list[str]:
    """The distinct kinds of the warnings of a run with their figures: `CPU contention 86 %`."""
    return list(dict.fromkeys(f"{doubt_kind(line)} {figure_of(line)}".rstrip() for line in warnings_of(record)))


def doubt_words(counts: Mapping[str, int]) -> str:
    """Kinds of warnings with their numbers of runs, the most frequent first: `CPU contention 8, drift 3`."""
    return ", ".join(f"{kind} {count}" for kind, count in Counter(counts).most_common())


def _size(warning: str) -> float:
    """The severity of a warning among those of its kind."""
    first, _, of = figure_of(warning).replace(",", "").removesuffix(" %").partition(" of ")
    try:
        return abs(float(first)) / (float(of or 1) or 1.0)
    except ValueError:  # no figure, or a malformed one: `1.2.3 %`
        return 0.0


@dataclass(slots=True)
class Doubts:
    """The warnings of several runs.

    Attributes:
        runs: Successful runs.
        doubtful: Successful runs with warnings.
        kinds: Kind of warning → number of runs that have it.
    """

    runs: int = 0
    doubtful: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    _worst: dict[str, str] = field(default_factory=dict)

    def add(self, warnings: Sequence[str]) -> None:
        """Count a successful run."""
        self.runs += 1
        self.doubtful += bool(warnings)
        self.kinds.update(dict.fromkeys(map(doubt_kind, warnings), 1))
        for line in warnings:
            kind = doubt_kind(line)
            if kind not in self._worst or _size(line) > _size(self._worst[kind]):
                self._worst[kind] = line

    def lines(self) -> list[str]:
        """The number of doubtful runs, then the meaning and the remedy of each kind; empty if no run is doubtful."""
        if not self.doubtful:
            return []
        several = len(self.kinds) > 1
        words = doubt_words(self.kinds) if several else next(iter(self.kinds))
        noun = "result is" if self.runs == 1 else "results are"
        first = f"{self.doubtful} of {self.runs} {noun} doubtful ({words})"
        return [first, *(self._line(kind) for kind, _ in self.kinds.most_common())]

    def _line(self, name: str) -> str:
        kind, worst = KINDS.get(name), self._worst[name]
        if kind is None:  # a kind that a program defines: its warning is the complete text
            return worst
        figure = figure_of(worst)
        return f"{name}: {kind.worst.format(figure) if figure else kind.meaning}; {_remedy(kind)}"


def _remedy(kind: DoubtKind) -> str:
    return f"{kind.remedy} ({RERUN})" if "rerun" in kind.remedy else kind.remedy


def describe_doubts(name: str) -> list[str]:
    """Help on the kinds of warnings that a word names: `contention`; on all for `doubtful`. Empty if it names none."""
    word = name.lower()
    about_all = word in {"doubt", "doubts", "doubtful", "warning", "warnings"}
    found = {kind: text for kind, text in KINDS.items() if about_all or word in {kind.lower(), *kind.lower().split()}}
    if not found:
        return []
    lines = ["A result is doubtful if its run logged warnings about its own numbers (results.warnings)."] * about_all
    for kind, text in found.items():
        lines += [kind, f"  {text.meaning}", f"  {_remedy(text)}"]
    return [*lines, f"Repeat doubtful runs: {RERUN}"] if about_all else lines
