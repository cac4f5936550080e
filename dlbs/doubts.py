"""Doubtful runs: the warnings that runs logged about their own numbers, with the meaning and the remedy of each kind."""

from __future__ import annotations

import functools
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "KINDS",
    "MONITOR_WARNINGS",
    "RERUN",
    "Doubts",
    "Kind",
    "describe_doubts",
    "doubt_words",
    "doubts_of",
    "kind_of",
    "short_doubts",
    "warnings_of",
]

MONITOR_WARNINGS = "results.use.warnings"
_LONGEST = 60  # characters of a kind
_FIGURE = re.compile(r"[+-]?\b\d[\d,.]* %|[+-]\d[\d,.]* %|\b\d[\d,]* of \d[\d,]*")
RERUN = "dlbs run ... -Pexp.rerun=doubtful"


class Kind(NamedTuple):
    """A kind of warning.

    Attributes:
        meaning: The cause of the warning.
        worst: The same with `{}` for the figure of the worst run; empty if such warnings have no figure.
        remedy: The fix.
    """

    meaning: str
    worst: str
    remedy: str


KINDS: dict[str, Kind] = {
    "CPU contention": Kind(
        "other programs used the CPUs",
        "other programs used up to {} of the CPUs",
        f"rerun on an idle machine ({RERUN})",
    ),
    "GPU contention": Kind(
        "other programs used the GPU",
        "other programs used up to {} of a GPU",
        f"end them (see nvidia-smi) and rerun ({RERUN})",
    ),
    "GPU throttling": Kind(
        "heat or the power supply lowered the clock of the GPU",
        "heat or the power supply lowered the clock of a GPU up to {} of the time",
        f"improve the cooling and rerun ({RERUN})",
    ),
    "drift": Kind(
        "times changed between the first and the last third of the run",
        "times changed by up to {} between the first and the last third of the run",
        "warm up longer (exp.num_warmup_batches), fix clocks and cooling",
    ),
    "unsteady warm-up": Kind(
        "times were still changing when the warm-up reached its limit",
        "",
        f"rerun on an idle machine with fixed clocks ({RERUN})",
    ),
    "slow first run": Kind(
        "the first timed run took much longer than the others",
        "",
        "warm up (exp.num_warmup_batches), or clear caches before each run (command.prepare)",
    ),
    "outliers": Kind(
        "some runs took much longer than the others",
        "in the worst experiment {} runs took much longer than the others",
        f"rerun on an idle machine ({RERUN})",
    ),
    "failures": Kind(
        "failed runs were counted",
        "in the worst experiment {} runs failed and were counted",
        "fix the command, or remove command.ignore_failure",
    ),
    "invalid result": Kind(
        "a run violates the rules of MLPerf's load generator",
        "",
        "see results.serving.reason: run longer (serving.min_duration), or lower serving.target_qps",
    ),
    "rejected queries": Kind(
        "the queue was full; rejected queries count as too late",
        "in the worst experiment {} queries were rejected",
        "lower serving.target_qps, or raise serving.queue_limit",
    ),
    "late load generator": Kind(
        "queries were issued later than they were due", "", "reserve a CPU for the load generator (pytorch.num_threads)"
    ),
    "imprecise limit": Kind(
        "the confidence interval of the highest rate is wider than requested",
        "",
        "raise serving.find_processes and serving.find_trials, or serving.min_duration",
    ),
    "one process": Kind(
        "the interval of the highest rate ignores how processes differ", "", "raise serving.find_processes"
    ),
    "server not restarted": Kind(
        "the interval of the highest rate does not cover restarts of the server",
        "",
        "restart the server and search again",
    ),
    "limit not reached": Kind(
        "every tested rate met the bounds", "", "tighten the bounds, or use the offline throughput as the limit"
    ),
    "slow data type": Kind(
        "the CPU has no instructions for the data type", "", "use float32 (exp.dtype), or another CPU"
    ),
    "oversubscription": Kind("more threads than CPUs", "", "set pytorch.num_threads to at most the number of CPUs"),
    "accuracy differs from the weights' entry": Kind(
        "the accuracy differs from the published accuracy of the weights",
        "",
        "check the images, the precision and the weights",
    ),
    "memory not measured": Kind(
        "the pass that measures memory failed; times are not affected", "", "disable it (pytorch.passes)"
    ),
    "operations not counted": Kind(
        "the pass that counts operations failed; times are not affected", "", "disable it (pytorch.passes)"
    ),
    "profile not written": Kind(
        "the pass that writes a profile failed; times are not affected", "", "disable it (pytorch.profile)"
    ),
    "effective batch changed": Kind(
        "training was continued with a different number of replicas", "", "continue with the same number of replicas"
    ),
}


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """The warnings that a run, or its monitor, logged about its own numbers; empty if there are none."""
    lists = (record.get(key) for key in ("results.warnings", MONITOR_WARNINGS))
    return [line for found in lists if isinstance(found, list) for line in found if isinstance(line, str)]


def kind_of(warning: str) -> str:
    """The kind of a warning, without its figures and its remedy: `CPU contention`."""
    return _shortened(warning.partition(":")[0])


@functools.lru_cache(maxsize=256)  # there are few kinds, and many runs
def _shortened(kind: str) -> str:
    return textwrap.shorten(kind, _LONGEST, placeholder="…")


def doubts_of(record: Mapping[str, Any]) -> list[str]:
    """The distinct kinds of the warnings of a run."""
    return list(dict.fromkeys(map(kind_of, warnings_of(record))))


def short_doubts(record: Mapping[str, Any]) -> list[str]:
    """The distinct kinds of the warnings of a run with their figures: `CPU contention 86 %`."""
    return list(dict.fromkeys(f"{kind_of(line)} {_figure(line)}".rstrip() for line in warnings_of(record)))


def doubt_words(counts: Mapping[str, int]) -> str:
    """Kinds of warnings with their numbers of runs, the most frequent first: `CPU contention 8, drift 3`."""
    return ", ".join(f"{kind} {count}" for kind, count in Counter(counts).most_common())


def _figure(warning: str) -> str:
    """The share or count in a warning: `86 %`, `2 of 30`; empty if it has none."""
    kind = KINDS.get(kind_of(warning))
    found = _FIGURE.search(warning.partition(":")[2]) if kind is not None and kind.worst else None
    return found[0] if found else ""


def _size(warning: str) -> float:
    """The severity of a warning among those of its kind."""
    first, _, of = _figure(warning).replace(",", "").removesuffix(" %").partition(" of ")
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
        self.kinds.update(dict.fromkeys(map(kind_of, warnings), 1))
        for line in warnings:
            kind = kind_of(line)
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
        figure = _figure(worst)
        return f"{name}: {kind.worst.format(figure) if figure else kind.meaning}; {kind.remedy}"


def describe_doubts(name: str) -> list[str]:
    """Help on the kinds of warnings that a word names: `contention`; on all for `doubtful`. Empty if it names none."""
    word = name.lower()
    about_all = word in {"doubt", "doubts", "doubtful", "warning", "warnings"}
    found = {kind: text for kind, text in KINDS.items() if about_all or word in {kind.lower(), *kind.lower().split()}}
    if not found:
        return []
    lines = ["A result is doubtful if its run logged warnings about its own numbers (results.warnings)."] * about_all
    for kind, text in found.items():
        lines += [kind, f"  {text.meaning}", f"  {text.remedy}"]
    return [*lines, f"Repeat doubtful runs: {RERUN}"] if about_all else lines
