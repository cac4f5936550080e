"""Trends: what one experiment came to on one machine over time, in points that are comparable, with marked changes."""

from __future__ import annotations

import hashlib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.experiment import describe, usual_names
from dlbs.logs import finite
from dlbs.results.grouping import distinguishing_names, hashable
from dlbs.results.keys import better_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.changes import change_points
from dlbs.results.statistics.intervals import Interval, median_interval
from dlbs.text import text

__all__ = ["Change", "Point", "Run", "Trend", "experiments_of", "fits_words", "slim", "trends_of"]

_MACHINE = ("exp.env.host", "exp.device_title")
_USUAL = ("exp.framework", "exp.model", "exp.phase", "exp.dtype", "exp.replica_batch", "command.argv")
# What the history is about, and so does not divide it: versions change from point to point.
_OVER_TIME = ("exp.repeat", "exp.id", "exp.effective_batch", "exp.framework_version", "exp.node_id", *_MACHINE)
# Numbers that a word may be: others, such as those of threads, need their name.
_SPOKEN_NUMBERS = frozenset({"exp.replica_batch", "exp.repeat", "exp.num_gpus", "exp.effective_batch"})
_LONGEST_TEXT = 2000  # characters of a value that is kept in memory


@dataclass(frozen=True, slots=True)
class Run:
    """A run in a store: its number there, and its record without long lists."""

    id: int
    record: Record


@dataclass(frozen=True, slots=True)
class Point:
    """The runs of one day with the same tags.

    Attributes:
        name: Its tags, or its day if it has none.
        day: `2026-11-21`.
        tags: Of its runs.
        runs: In the order of time.
        values: Of the runs that ended well.
    """

    name: str
    day: str
    tags: tuple[str, ...]
    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def value(self) -> float | None:
        """The median of the runs."""
        return statistics.median(self.values) if self.values else None

    @property
    def interval(self) -> Interval | None:
        """That of the median, or the range of a few runs."""
        return median_interval(self.values)

    @property
    def doubtful(self) -> int:
        """How many runs have warnings about their numbers."""
        return sum(bool(doubts_of(run.record)) for run in self.runs if status_of(run.record) == "ok")

    @property
    def failed(self) -> int:
        """How many runs did not end well."""
        return sum(status_of(run.record) not in {"ok", "skipped"} for run in self.runs)


@dataclass(frozen=True, slots=True)
class Change:
    """A marked change.

    Attributes:
        at: The position of the first point after it.
        ratio: The median of the points after it divided by that of those before it, up to the next changes.
        is_worse: Whether that is a regression.
    """

    at: int
    ratio: float
    is_worse: bool

    @property
    def words(self) -> str:
        """`−7.7 %`."""
        return f"{100 * (self.ratio - 1):+.1f} %".replace("-", "−")


@dataclass
class Trend:
    """One experiment on one machine.

    Attributes:
        key: Identifies it in addresses.
        label: The experiment in words.
        machine: Host and device.
        metric: Key of the quantity.
        points: In the order of time.
    """

    key: str
    label: str
    machine: str
    metric: str
    points: list[Point] = field(default_factory=list)

    @property
    def measured(self) -> list[int]:
        """The positions of points that have a value."""
        return [at for at, point in enumerate(self.points) if point.value is not None]

    @cached_property
    def changes(self) -> list[Change]:
        """Where the value changes by more than its noise; computed when it is first asked for."""
        measured = self.measured
        values = [float(self.points[at].value or 0.0) for at in measured]
        found = change_points(values)
        bounds = [0, *found, len(values)]
        changes = []
        for before, at, after in zip(bounds, found, bounds[2:], strict=False):
            first, second = statistics.median(values[before:at]), statistics.median(values[at:after])
            ratio = second / first if first else float("inf")
            changes.append(Change(measured[at], ratio, (ratio - 1) * better_of(self.metric) < 0))
        return changes


def slim(record: Record) -> Record:
    """A record without long lists and texts: what trends need of it."""
    return {
        name: value
        for name, value in record.items()
        if not (isinstance(value, list) and len(value) > 20 and name.startswith("results."))
        and not (isinstance(value, str) and len(value) > _LONGEST_TEXT)
    }


def trends_of(runs: Sequence[Run], declarations: Mapping[str, Parameter], metric: str) -> list[Trend]:
    """The trends of a store, in the order in which their experiments were added.

    Args:
        runs: All runs.
        declarations: Say which parameters identify an experiment.
        metric: Key of the quantity.
    """
    return [
        Trend(
            hashlib.sha256(repr(key).encode("utf-8", "replace")).hexdigest()[:16],
            label,
            ", ".join(filter(None, (text(members[0].record.get(name)) for name in _MACHINE))) or "unknown machine",
            metric,
            _points(members, metric),
        )
        for key, (label, members) in _grouped(runs, declarations, _MACHINE).items()
    ]


def experiments_of(runs: Sequence[Run], declarations: Mapping[str, Parameter]) -> dict[str, list[Run]]:
    """Label → all runs of an experiment, its repeats and its runs on other machines included."""
    found: dict[str, list[Run]] = {}
    for label, members in _grouped(runs, declarations, ()).values():
        found.setdefault(label, []).extend(members)
    return found


def _grouped(
    runs: Sequence[Run], declarations: Mapping[str, Parameter], also: Sequence[str]
) -> dict[tuple[Any, ...], tuple[str, list[Run]]]:
    """What identifies an experiment → its label and its runs.

    Args:
        runs: All runs.
        declarations: Say which parameters identify an experiment.
        also: Further keys that divide.
    """
    records = [run.record for run in runs]
    names = distinguishing_names(records, declarations, without=_OVER_TIME)
    identity = list(dict.fromkeys([*also, *names, *_USUAL]))
    found: dict[tuple[Any, ...], tuple[str, list[Run]]] = {}
    for run in runs:
        key = tuple(hashable(run.record.get(name)) for name in identity)
        if key not in found:
            shown = list(dict.fromkeys([*usual_names(run.record), *names]))
            found[key] = describe(run.record, shown, whole=True), []
        found[key][1].append(run)
    return found


def _points(runs: Iterable[Run], metric: str) -> list[Point]:
    ordered = sorted(runs, key=lambda run: (_started(run.record), run.id))
    groups: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
    for run in ordered:
        tags = run.record.get("db.tags")
        groups.setdefault((_started(run.record)[:10], tuple(tags if isinstance(tags, list) else ())), []).append(run)
    return [
        Point(
            ", ".join(tags) or day or "at an unknown time",
            day,
            tags,
            tuple(members),
            tuple(
                value
                for run in members
                if status_of(run.record) == "ok" and (value := number(run.record, metric)) is not None
            ),
        )
        for (day, tags), members in groups.items()
    ]


def _started(record: Record) -> str:
    return text(record.get("exp.start_time") or record.get("db.added"))


def fits_words(record: Record, words: str) -> bool:
    """Whether all words stand among the parameters of an experiment: `resnet18 training 16`, or `batch 16`.

    A word is a whole value, or a part of it between blanks and commas: `float16` does not fit `bfloat16`. `name=value` fits that parameter alone.
    """
    wanted = [word for word in re.split(r"[\s,]+", words.lower()) if word not in {"", "batch", "repeat"}]
    return all(_has_word(record, word) for word in wanted)


def _has_word(record: Record, word: str) -> bool:
    name, equals, value = word.partition("=")
    for key, found in record.items():
        if key.startswith("results.") or not isinstance(found, (str, bool, int, float, list)):
            continue
        shown = text(found).lower()
        if equals:
            if value == shown and name in {key, key.rpartition(".")[2]}:
                return True
            continue
        is_word = word == shown or (isinstance(found, str) and word in re.split(r"[\s,]+", shown))
        if is_word and (finite(found) is None or key in _SPOKEN_NUMBERS):
            return True
    return False
