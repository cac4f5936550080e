"""Trends: results of one experiment on one machine over time, as comparable points with detected changes."""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark_core.doubts import doubts_of
from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.experiment import describe, usual_names
from dlbs.results.columns import hashable
from dlbs.results.grouping import distinguishing_names
from dlbs.results.keys import better_of
from dlbs.results.runs import Record, number, order_of, start_order, status_of
from dlbs.results.statistics.changes import change_points
from dlbs.results.statistics.intervals import Interval, median_interval
from dlbs.text import counted, finite, text

if TYPE_CHECKING:
    from dlbs.results.store.store import Store

_MACHINE = ("exp.env.host", "exp.device_title")
_USUAL = ("exp.framework", "exp.model", "exp.phase", "exp.dtype", "exp.replica_batch", "command.argv")
# Expected to change over time, so these do not separate trends.
_OVER_TIME = ("exp.repeat", "exp.id", "exp.effective_batch", "exp.framework_version", "exp.node_id", *_MACHINE)
# Keys whose numbers may be searched without a name; others, such as threads, need `name=value`.
_SPOKEN_NUMBERS = frozenset({"exp.replica_batch", "exp.repeat", "exp.num_gpus", "exp.effective_batch"})
_NAMED = {"batch": "exp.replica_batch", "repeat": "exp.repeat"}
_MOST_LISTED = 8  # matching experiments in an error
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


NO_TAG = "(no tag)"


@dataclass
class Share:
    """Runs of a store with one tag or on one machine.

    Attributes:
        name: The tag or machine.
        runs: Number of runs.
        failed: Number of runs that did not succeed.
        experiments: `exp.id` of their distinct experiments.
        others: Machines of a tag, or tags of a machine.
        first, last: Start times of the first and the last run, `2026-11-21 10:00`; empty if unknown.
        began, ended: Sort keys of these times.
    """

    name: str
    runs: int = 0
    failed: int = 0
    experiments: set[str] = field(default_factory=set)
    others: dict[str, None] = field(default_factory=dict)
    first: str = ""
    last: str = ""
    began: float = -math.inf
    ended: float = -math.inf

    def add(self, run: Run, others: Iterable[str]) -> None:
        """Count a run."""
        self.runs += 1
        self.failed += status_of(run.record) not in {"ok", "skipped"}
        self.experiments.add(text(run.record.get("exp.id")))
        self.others.update(dict.fromkeys(others))
        time = text(run.record.get("exp.start_time"))
        if time:
            order, words = order_of(time), time[:16].replace("T", " ")
            if not self.first or order < self.began:
                self.first, self.began = words, order
            if not self.last or order >= self.ended:
                self.last, self.ended = words, order


def tags_in(runs: Sequence[Run]) -> list[Share]:
    """Tags of a store with their runs, in chronological order; untagged runs are under `NO_TAG`."""
    return _shares(runs, lambda run: _tags(run) or [NO_TAG], lambda run: [_machine(run)])


def machines_in(runs: Sequence[Run]) -> list[Share]:
    """Machines of a store with their runs, in chronological order."""
    return _shares(runs, lambda run: [_machine(run)], _tags)


def _shares(runs: Sequence[Run], names: Callable[[Run], list[str]], others: Callable[[Run], list[str]]) -> list[Share]:
    found: dict[str, Share] = {}
    for run in runs:
        for name in names(run):
            found.setdefault(name, Share(name)).add(run, others(run))
    return sorted(found.values(), key=lambda share: (share.began, share.ended))


def _tags(run: Run) -> list[str]:
    tags = run.record.get("db.tags")
    return [text(tag) for tag in tags] if isinstance(tags, list) else []


def _machine(run: Run) -> str:
    host, device = (text(run.record.get(name)) for name in ("exp.env.host", "exp.device_title"))
    return ", ".join(filter(None, [host, device])) or "unknown machine"


class StoredExperiment(NamedTuple):
    """An experiment of a store: label, runs, time of the last run, tags, and `exp.id`, one for each repeat."""

    label: str
    members: list[Run]
    last: str
    tags: list[str]
    ids: list[str]

    @property
    def runs(self) -> int:
        return len(self.members)

    @property
    def id_words(self) -> str:
        return self.ids[0] or "-" if len(self.ids) == 1 else counted(len(self.ids), "repeat")


def stored_experiments(runs: Sequence[Run], declarations: Mapping[str, Parameter]) -> list[StoredExperiment]:
    """The experiments that runs belong to."""
    made = []
    for label, members in experiments_of(runs, declarations).items():
        shares = tags_in(members)
        tags = [share.name for share in shares if share.name != NO_TAG]
        ids = list(dict.fromkeys(text(run.record.get("exp.id")) for run in members))
        last = max(shares, key=lambda share: share.ended).last
        made.append(StoredExperiment(label, members, last, tags, ids))
    return made


def history_of(store: Store, words: str, declarations: Mapping[str, Parameter]) -> list[Record]:
    """All runs of one experiment in chronological order, found by its `exp.id` or by words that only it has.

    Raises:
        LogError: No experiment, or several, match; the message lists them.
    """
    if found := store.records(exp_id=words):
        return found
    runs = [Run(number, slim(record)) for number, record in store.rows() if fits_words(record, words)]
    experiments = stored_experiments(runs, declarations)
    if not experiments:
        raise LogError("no such experiment", where=words, hint="dlbs db list shows all")
    if len(experiments) > 1:
        shown = "".join(f"\n  {one.label}" for one in experiments[:_MOST_LISTED])
        more = f"\n  and {len(experiments) - _MOST_LISTED} more" if len(experiments) > _MOST_LISTED else ""
        raise LogError(f"{len(experiments)} experiments match; add words of one of:{shown}{more}", where=words)
    rows = store.rows(ids=[run.id for run in experiments[0].members])
    return sorted((record for _, record in rows), key=lambda record: order_of(record.get("exp.start_time")))
