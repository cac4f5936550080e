"""Trends: results of one experiment on one machine over time, as comparable points with detected changes."""

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
from dlbs.results.read.moments import start_order
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.changes import change_points
from dlbs.results.statistics.intervals import Interval, median_interval
from dlbs.text import text

__all__ = ["Change", "Point", "Run", "Trend", "experiments_of", "fits_words", "slim", "trends_of"]

_MACHINE = ("exp.env.host", "exp.device_title")
_USUAL = ("exp.framework", "exp.model", "exp.phase", "exp.dtype", "exp.replica_batch", "command.argv")
# Expected to change over time, so these do not separate trends.
_OVER_TIME = ("exp.repeat", "exp.id", "exp.effective_batch", "exp.framework_version", "exp.node_id", *_MACHINE)
# Keys whose numbers may be searched without a name; others, such as threads, need `name=value`.
_SPOKEN_NUMBERS = frozenset({"exp.replica_batch", "exp.repeat", "exp.num_gpus", "exp.effective_batch"})
_NAMED = {"batch": "exp.replica_batch", "repeat": "exp.repeat"}
_LONGEST_TEXT = 2000  # characters of a value kept in memory


@dataclass(frozen=True, slots=True)
class Run:
    """A run in a store: its number, and its record without long lists."""

    id: int
    record: Record


@dataclass(frozen=True, slots=True)
class Point:
    """The runs of one day with the same tags.

    Attributes:
        name: Its tags, or its day if it has none.
        day: `2026-11-21`.
        tags: Tags of its runs.
        runs: Its runs in chronological order.
        values: Values of the successful runs.
    """

    name: str
    day: str
    tags: tuple[str, ...]
    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def value(self) -> float | None:
        """Median of the runs."""
        return statistics.median(self.values) if self.values else None

    @property
    def interval(self) -> Interval | None:
        """Confidence interval of the median, or the range of a few runs."""
        return median_interval(self.values)

    @property
    def doubtful(self) -> int:
        """Number of runs with warnings about their numbers."""
        return sum(bool(doubts_of(run.record)) for run in self.runs if status_of(run.record) == "ok")

    @property
    def failed(self) -> int:
        """Number of runs that did not succeed."""
        return sum(status_of(run.record) not in {"ok", "skipped"} for run in self.runs)


@dataclass(frozen=True, slots=True)
class Change:
    """A detected change.

    Attributes:
        at: Index of the first point after it.
        ratio: Median of the points after it divided by the median before it, up to the adjacent changes.
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
        key: Its identifier in URLs.
        label: Label of the experiment.
        machine: Host and device.
        metric: Key of the quantity.
        points: Points in chronological order.
    """

    key: str
    label: str
    machine: str
    metric: str
    points: list[Point] = field(default_factory=list)

    @property
    def measured(self) -> list[int]:
        """Indices of points with a value."""
        return [at for at, point in enumerate(self.points) if point.value is not None]

    @cached_property
    def changes(self) -> list[Change]:
        """Changes that exceed the noise; computed on first access."""
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
    """Reduce a record to the values that trends need, without long lists and texts."""
    return {
        name: value
        for name, value in record.items()
        if not (isinstance(value, list) and len(value) > 20 and name.startswith("results."))
        and not (isinstance(value, str) and len(value) > _LONGEST_TEXT)
    }


def trends_of(runs: Sequence[Run], declarations: Mapping[str, Parameter], metric: str) -> list[Trend]:
    """Trends of a store, in the order in which their experiments were added.

    Args:
        runs: All runs.
        declarations: Declared parameters, with those that identify an experiment.
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
    """Map labels to all runs of an experiment, including repeats and runs on other machines."""
    found: dict[str, list[Run]] = {}
    for label, members in _grouped(runs, declarations, ()).values():
        found.setdefault(label, []).extend(members)
    return found


def _grouped(
    runs: Sequence[Run], declarations: Mapping[str, Parameter], also: Sequence[str]
) -> dict[tuple[Any, ...], tuple[str, list[Run]]]:
    """Map the identity of each experiment to its label and its runs.

    Args:
        runs: All runs.
        declarations: Declared parameters, with those that identify an experiment.
        also: Further keys of the identity.
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
    ordered = sorted(runs, key=lambda run: (start_order(run.record), run.id))
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
    """Whether all words match parameters of an experiment: `resnet18 training 16`, or `batch 16`.

    A word is a whole value, or a part of it between blanks and commas: `float16` does not match `bfloat16`. `name=value` matches only that parameter,
    and `batch 1` or `repeat 1` no other number, such as that of the devices.
    """
    named = re.sub(r"(?<![^\s,])(batch|repeat)\s+(?=\d)", lambda found: f"{_NAMED[found[1]]}=", words.lower())
    wanted = [word for word in re.split(r"[\s,]+", named) if word not in {"", "batch", "repeat"}]
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
