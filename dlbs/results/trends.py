"""Trends: results of one experiment on one machine over time, as comparable points with detected changes."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from dlbs.core.errors import LogError
from dlbs.core.experiment import describe, usual_names
from dlbs.core.text import counted, text
from dlbs.results.changes import VERSION, version_words
from dlbs.results.grouping import distinguishing_names
from dlbs.results.keys import better_of, quantity
from dlbs.results.read.query import words_of
from dlbs.results.runs import Record, Runs, order_of, start_order, usual_metric
from dlbs.results.statistics.ratio import Interval, median_interval
from dlbs.results.statistics.series import FEWEST_POINTS, Level, levels_of

if TYPE_CHECKING:
    from dlbs.results.store.store import Store

_ENDED_WELL = frozenset({"ok", "skipped"})
_TIMES = ("exp.start_time", "db.added")
_MACHINE = ("exp.env.host", "exp.device_title")
_USUAL = ("exp.framework", "exp.model", "exp.phase", "exp.dtype", "exp.replica_batch", "command.line")
# Expected to change over time, so these do not separate trends.
_OVER_TIME = ("exp.repeat", "exp.id", "exp.effective_batch", "exp.framework_version", "exp.node_id", *_MACHINE)
_MOST_LISTED = 8  # matching experiments in an error


@dataclass(frozen=True, slots=True)
class Point:
    """The runs of one day with the same tags and version of the code.

    Attributes:
        name: Its tags, or its day and the version if it has none.
        day: `2026-11-21`.
        tags: Tags of its runs.
        version: Version of the code; empty if unknown.
        runs: Its runs in chronological order.
        values: Values of the successful runs.
    """

    name: str
    day: str
    tags: tuple[str, ...]
    version: str
    runs: Runs
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
        return sum(map(bool, self.runs.ok.doubts))

    @property
    def failed(self) -> int:
        """Number of runs that did not succeed."""
        return sum(status not in _ENDED_WELL for status in self.runs.statuses)


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
    points: list[Point]

    @property
    def measured(self) -> list[int]:
        """Indices of points with a value."""
        return [at for at, point in enumerate(self.points) if point.value is not None]

    def between(self, change: Change) -> tuple[str, str]:
        """The versions of the code before and after a change, the last and the first one; empty if unknown or equal."""
        before = [at for at in self.measured if at < change.at][-1]
        versions = self.points[before].version, self.points[change.at].version
        return versions if all(versions) and versions[0] != versions[1] else ("", "")

    @cached_property
    def levels(self) -> list[Level]:
        """Parts of the measured points between changes that exceed the noise; computed on first access."""
        return levels_of([float(self.points[at].value or 0.0) for at in self.measured])

    @cached_property
    def changes(self) -> list[Change]:
        """Changes that exceed the noise."""
        changes = []
        for before, after in pairwise(self.levels):
            ratio = after.median / before.median if before.median else math.inf
            is_worse = (ratio - 1) * better_of(self.metric) < 0
            changes.append(Change(self.measured[after.first], ratio, is_worse))
        return changes


def trends_of(runs: Runs, metric: str) -> list[Trend]:
    """Trends of a quantity in the runs of a store, in the order in which their experiments were added."""
    return [
        Trend(
            hashlib.sha256(repr(key).encode("utf-8", "replace")).hexdigest()[:16],
            label,
            _machine(members[0]),
            metric,
            _points(members, metric),
        )
        for key, (label, members) in _grouped(runs, _MACHINE).items()
    ]


def _grouped(runs: Runs, also: Sequence[str]) -> dict[tuple[Any, ...], tuple[str, Runs]]:
    """Map the identity of each experiment to its label and its runs.

    Args:
        runs: All runs.
        also: Further keys of the identity.
    """
    names = distinguishing_names(runs, without=_OVER_TIME)
    identity = list(dict.fromkeys([*also, *names, *_USUAL]))
    return {
        key: (describe(members[0], list(dict.fromkeys([*usual_names(members[0]), *names])), whole=True), members)
        for key, members in runs.group(identity).items()
    }


def _points(runs: Runs, metric: str) -> list[Point]:
    ordered = runs.sorted_by(runs.each(_TIMES, start_order))
    days = ordered.each(_TIMES, lambda run: text(run.get("exp.start_time") or run.get("db.added"))[:10])
    groups: dict[tuple[str, tuple[str, ...], str], list[int]] = {}
    versions = ordered.each(VERSION, version_words)
    for row, day, of, version in zip(ordered.rows, days, ordered.each(("db.tags",), _tags), versions, strict=True):
        groups.setdefault((day, tuple(of), version), []).append(row)
    points = []
    for (day, tags, version), rows in groups.items():
        members = ordered.take(rows)
        values = tuple(value for value in members.ok.numbers(metric) if value is not None)
        name = ", ".join(tags) or " ".join(filter(None, (day or "at an unknown time", version)))
        points.append(Point(name, day, tags, version, members, values))
    return points


NO_TAG = "(no tag)"


class Share(NamedTuple):
    """Runs of a store with one tag or on one machine.

    Attributes:
        name: The tag or machine.
        runs: Number of runs.
        failed: Number of runs that did not succeed.
        experiments: Number of distinct experiments.
        others: Machines of a tag, or tags of a machine.
        first, last: Start times of the first and the last run, `2026-11-21 10:00`; empty if unknown.
    """

    name: str
    runs: int
    failed: int
    experiments: int
    others: list[str]
    first: str
    last: str


def tags_in(runs: Runs) -> list[Share]:
    """Tags of a store with their runs, in chronological order; untagged runs are under `NO_TAG`."""
    return _shares(runs, lambda run: _tags(run) or [NO_TAG], lambda run: [_machine(run)])


def machines_in(runs: Runs) -> list[Share]:
    """Machines of a store with their runs, in chronological order."""
    return _shares(runs, lambda run: [_machine(run)], _tags)


def _shares(runs: Runs, names: Callable[[Record], list[str]], others: Callable[[Record], list[str]]) -> list[Share]:
    keys = ("db.tags", *_MACHINE)
    found: dict[str, list[int]] = {}
    for row, of in zip(runs.rows, runs.each(keys, names), strict=True):
        for name in of:
            found.setdefault(name, []).append(row)
    shares = []
    for name, rows in found.items():
        members = runs.take(rows)
        failed = sum(status not in _ENDED_WELL for status in members.statuses)
        experiments = len(set(map(text, members.distinct("exp.id"))))
        beside = dict.fromkeys(other for of in members.each(keys, others) for other in of)
        (began, first), (ended, last) = _span(members)
        shares.append((began, ended, Share(name, len(members), failed, experiments, list(beside), first, last)))
    return [share for *_, share in sorted(shares, key=itemgetter(0, 1))]


def _span(runs: Runs) -> tuple[tuple[float, str], tuple[float, str]]:
    """When the first and the last run began, as sort keys and as text."""
    starts = filter(None, map(text, runs.distinct("exp.start_time")))
    times = [(order_of(start), start[:16].replace("T", " ")) for start in starts] or [(-math.inf, "")]
    return min(times, key=itemgetter(0)), max(reversed(times), key=itemgetter(0))


def _tags(run: Record) -> list[str]:
    tags = run.get("db.tags")
    return [text(tag) for tag in tags] if isinstance(tags, list) else []


def _machine(run: Record) -> str:
    return ", ".join(filter(None, (text(run.get(name)) for name in _MACHINE))) or "unknown machine"


class StoredExperiment(NamedTuple):
    """An experiment of a store: label, runs, time of the last run, tags, and `exp.id`, one for each repeat."""

    label: str
    members: Runs
    last: str
    tags: list[str]
    ids: list[str]

    @property
    def runs(self) -> int:
        return len(self.members)

    @property
    def id_words(self) -> str:
        return self.ids[0] or "-" if len(self.ids) == 1 else counted(len(self.ids), "repeat")


def stored_experiments(runs: Runs) -> list[StoredExperiment]:
    """The experiments that runs belong to, with their repeats and runs on other machines."""
    made = []
    for label, members in _by_label(runs).items():
        tags = [share.name for share in tags_in(members) if share.name != NO_TAG]
        ids = list(dict.fromkeys(map(text, members.distinct("exp.id"))))
        made.append(StoredExperiment(label, members, _span(members)[1][1], tags, ids))
    return made


def _by_label(runs: Runs) -> dict[str, Runs]:
    found: dict[str, list[int]] = {}
    for label, members in _grouped(runs, ()).values():
        found.setdefault(label, []).extend(members.rows)
    return {label: runs.take(rows) for label, rows in found.items()}


def history_of(store: Store, words: str) -> Runs:
    """All runs of one experiment in chronological order, found by its `exp.id` or by words that only it has.

    Raises:
        LogError: No experiment, or several, match; the message lists them.
    """
    if found := store.runs(exp_id=words):
        return found
    ids = store.search(words_of(words))
    if not ids:
        raise LogError("no such experiment", where=words, hint="dlbs db list shows all")
    experiments = _by_label(store.runs(ids=ids))
    if len(experiments) > 1:
        shown = "".join(f"\n  {label}" for label in [*experiments][:_MOST_LISTED])
        more = f"\n  and {len(experiments) - _MOST_LISTED} more" if len(experiments) > _MOST_LISTED else ""
        raise LogError(f"{len(experiments)} experiments match; add words of one of:{shown}{more}", where=words)
    (members,) = experiments.values()
    return members.sorted_by(list(map(order_of, members.values("exp.start_time"))))


def change_lines(runs: Runs) -> list[str]:
    """The changes of a quantity in the history of an experiment: where each lies, between which versions of the code; or that there are none."""
    lines, metric = [], usual_metric(runs)
    title = quantity(metric, runs).partition(",")[0]
    trends = trends_of(runs, metric)
    for trend in trends:
        what = f"{title} on {trend.machine}" if len(trends) > 1 else title
        for change in trend.changes:
            before, after = trend.between(change)
            worse = " (worse)" if change.is_worse else ""
            line = f"{what}: {change.words}{worse} at {trend.points[change.at].name}"
            lines.append(f"{line}: last before it {before}, first after it {after}" if before else line)
        if not trend.changes:
            points = [trend.points[at] for at in trend.measured]
            doubtful = sum(point.doubtful > 0 for point in points)
            lines.append(
                f"{what}: no change exceeds the noise of {counted(len(points), 'point')}"
                + (f", {doubtful} with doubtful runs" if doubtful else "")
                + (f"; {FEWEST_POINTS} are needed to detect one" if len(points) < FEWEST_POINTS else "")
            )
    return lines


def regression_of(store: Store, words: str, metric: str | None) -> tuple[str, str]:
    """The commits around the latest regression of an experiment: the last fine one, and the first one that is slower.

    Args:
        store: The store with its history.
        words: As for `history_of`.
        metric: Key of the quantity; None for the usual one.

    Raises:
        LogError: The experiment is unknown, or there is no regression between two known commits.
    """
    runs = history_of(store, words)
    found = [
        (trend.points[change.at].day, *trend.between(change))
        for trend in trends_of(runs, metric or usual_metric(runs))
        for change in trend.changes
        if change.is_worse and all(trend.between(change))
    ]
    if not found:
        raise LogError("no regression between two known commits", where=words, hint="give --good and --bad")
    _, good, bad = max(found)
    return good.removesuffix("-dirty"), bad.removesuffix("-dirty")
