"""Pages about the history in a store: overview, trends with their charts, comparisons of tags, and single runs with their logs."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from benchmark_core.doubts import warnings_of
from benchmark_core.text import printable, short_number
from dlbs.core.errors import LogError
from dlbs.core.files import read_regular
from dlbs.core.text import text
from dlbs.results.keys import quantity
from dlbs.results.page.assets import HISTORY_SCRIPTS, document, five_digits
from dlbs.results.read.logs import read_file
from dlbs.results.runs import Record, Runs, digest_of, number, status_of, usual_metric
from dlbs.results.statistics.series import FALSE_ALARMS
from dlbs.results.store.store import Store
from dlbs.results.trends import NO_TAG, Point, Share, Trend, machines_in, tags_in, trends_of

Asked = Mapping[str, str]  # query parameters of a URL


def _spark(trend: Trend) -> dict[str, Any]:
    """Data of the small chart of a trend: values with the places of their points, and its changes."""
    return {
        "xs": trend.measured,
        "ys": [five_digits(trend.points[at].value or 0.0) for at in trend.measured],
        "changes": [[change.at, change.is_worse] for change in trend.changes],
    }


def _chart(trend: Trend, title: str, chosen: int, address: Callable[[int], str]) -> dict[str, Any]:
    """Data of the chart of a trend.

    Args:
        trend: The trend, with at least one value.
        title: Label of its vertical axis, with the unit.
        chosen: Index of the baseline point.
        address: Function from the index of a point to its link.
    """
    measured = trend.measured
    points = [trend.points[at] for at in measured]
    values = [float(point.value or 0) for point in points]
    bounds = [
        (one.interval.low, one.interval.high) if one.interval else (value, value)
        for one, value in zip(points, values, strict=True)
    ]
    return {
        "title": title,
        "names": [point.name if point.day in point.name else f"{point.name}, {point.day}" for point in trend.points],
        "xs": measured,
        "ys": values,
        "bounds": bounds,
        "chosen": chosen,
        "doubtful": [point.doubtful for point in points],
        "runs": [len(point.values) for point in points],
        "links": ["" if at == chosen else address(at) for at in measured],
        "levels": [[measured[level.first], measured[level.end - 1], level.median] for level in trend.levels],
        "changes": [[change.at, change.words, change.is_worse] for change in trend.changes],
    }


@dataclass
class Index:
    """Contents of a store when it was read.

    Attributes:
        runs: All runs.
        metrics: Keys of the quantities that runs have, the default one first.
    """

    runs: Runs
    metrics: list[str]
    _trends: dict[str, list[Trend]] = field(default_factory=dict)

    def metric(self, asked: Asked) -> str:
        """The quantity that a page is asked for, or the default one; empty if no run has any."""
        return asked.get("metric") or next(iter(self.metrics), "")

    def trends(self, metric: str) -> list[Trend]:
        """Trends of a quantity, those with the latest regressions first.

        Raises:
            LogError: No run has it.
        """
        if metric not in self.metrics:
            raise LogError(f"no run has {metric!r}", hint="choose a quantity on the first page")
        if metric not in self._trends:
            made = [trend for trend in trends_of(self.runs, metric) if trend.measured]
            self._trends[metric] = sorted(made, key=_order)
        return self._trends[metric]

    def trend(self, metric: str, key: str) -> Trend:
        """Get one trend.

        Raises:
            LogError: No trend has this key.
        """
        for trend in self.trends(metric):
            if trend.key == key:
                return trend
        raise LogError("no such trend", hint="the store may have changed; the first page lists all trends")


def _order(trend: Trend) -> tuple[int, str, str]:
    """Sort key: regressions, latest first; then other changes; then the rest by name."""
    if not trend.changes:
        return 2, trend.label, trend.machine
    last = trend.changes[-1]
    days = trend.points[last.at].day
    return (0 if last.is_worse else 1), "".join(chr(0x10FFFF - ord(letter)) for letter in days), trend.label


class History:
    """Read-only access to a store that is queried repeatedly.

    Args:
        url: URL of the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._version: int | None = None
        self._index = Index(Runs.of([]), [])

    def _store(self) -> Store:
        from dlbs.config.load import load_config

        return Store(self.url, read_only=True, declarations=load_config().declarations)

    def index(self) -> Index:
        """Current contents of the store.

        Raises:
            LogError: The store cannot be read.
        """
        with self._lock, self._store() as store:
            version = store.version()
            if version != self._version:
                runs = store.runs()
                self._index = Index(runs, _metrics(runs))
                self._version = version
            return self._index

    def runs(self, ids: Sequence[int]) -> Runs:
        """These runs alone, in the order of their numbers in the store.

        Raises:
            LogError: The store cannot be read, or a run no longer exists.
        """
        with self._store() as store:
            found = store.runs(ids=ids)
        places = {one: row for row, one in enumerate(found.values("db.id"))}
        if len(places) < len(set(ids)):
            raise LogError("no such run", hint="it may have been removed from the store")
        return found.take([places[one] for one in ids])


def _metrics(runs: Runs) -> list[str]:
    keys = sorted(
        key for key in runs.names if key.startswith("results.") and any(one is not None for one in runs.numbers(key))
    )
    usual = usual_metric(runs)
    return [key for key in dict.fromkeys([usual, "results.throughput", "results.time", *keys]) if key in keys]


_LARGEST = 256 << 20  # bytes of the largest log that is read
_MOST = 64 << 10  # bytes of output that are shown


def log_output(record: Record, directory: Path) -> tuple[str, str]:
    """Path of the log of a run, and the end of its ordinary output or the reason why it is not shown.

    The log paths in a store are not trusted: nothing outside the directory is read, no link is followed, and a file with other content than the
    added log is not shown.

    Args:
        record: The complete record of the run.
        directory: Directory of logs.
    """
    named = text(record.get("exp.log_file"))
    if not named:
        return "", "The store has no path of the log."
    parts = [part for part in PurePosixPath(named).parts if part not in {"/", "..", "."}]
    root = Path(os.path.realpath(directory))
    wanted = digest_of(record)
    is_other = False
    for count in range(1, len(parts) + 1):
        path = root.joinpath(*parts[-count:])
        if Path(os.path.realpath(path)) != path or not path.name.removesuffix(".gz").endswith(".log"):
            continue
        try:
            records, _ = read_file(str(path))
            if len(records) == 1 and digest_of(records[0]) == wanted:
                return str(path), _output(path)
        except (LogError, OSError):
            continue
        is_other |= bool(records)
    if is_other:
        return named, f"The log of this name in {directory} is of another run: it was replaced."
    return named, f"The log is not in {directory}; specify the directory of logs: dlbs serve --db URL DIR"


def _output(path: Path) -> str:
    if path.suffix == ".gz":
        return f"The log is compressed; to read it: zcat {path}"
    lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
    output = "\n".join(line for line in lines if not line.startswith("__"))
    return output[-_MOST:] or "The experiment printed nothing."


_ON_A_PAGE = 50  # trends
_LONGEST = 500  # characters of a value of a run


class HistoryPages:
    """Pages of a store. Each takes the query parameters of its URL, and raises a LogError for invalid ones.

    Args:
        url: URL of the store.
        directory: Directory of logs that may be shown.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.history, self.directory = History(url), directory

    def overview(self, asked: Asked) -> str:
        """Overview of the store: machines, tags, trends."""
        index = self.history.index()
        metric = index.metric(asked)
        words = asked.get("words", "")
        wanted = words.lower().split()
        found = [
            trend
            for trend in (index.trends(metric) if index.metrics else ())
            if all(word in f"{trend.label} {trend.machine}".lower() for word in wanted)
        ]
        page = min(_position(asked, "page", 0), max(0, (len(found) - 1) // _ON_A_PAGE))
        shown = found[page * _ON_A_PAGE : (page + 1) * _ON_A_PAGE]
        return self._page(
            "overview.html", "History", runs=len(index.runs), metric=metric,
            metrics=[(one, quantity(one, index.runs)) for one in index.metrics], words=words, count=len(found),
            trends=[self._trend_row(trend) for trend in shown], page=page, pages=-(-len(found) // _ON_A_PAGE),
            quantity=quantity(metric, index.runs), machines=machines_in(index.runs), false_alarms=f"{100 * FALSE_ALARMS:g}",
            tags=_tag_rows(tags_in(index.runs), metric),
            changed=sum(bool(trend.changes) for trend in found), earlier=_address("", metric=metric, words=words, page=page - 1),
            later=_address("", metric=metric, words=words, page=page + 1),
        )  # fmt: skip

    def trend(self, asked: Asked) -> str:
        """One trend: its chart, its points, its changes."""
        index, trend, metric = self._asked_trend(asked)
        chosen = _position(asked, "a", _usual_base(trend))
        if chosen not in trend.measured:
            raise LogError(f"{printable(asked.get('a', ''))!r} is not a point of this trend with a value")

        def compare(at: int) -> str:
            return _address("compare", key=trend.key, metric=metric, a=chosen, b=at)

        rows = [
            {
                "point": point, "value": _value_words(point), "facts": _facts_of(point), "is_chosen": at == chosen,
                "compare": compare(at) if point.value is not None and at != chosen else "",
                "choose": _address("trend", key=trend.key, metric=metric, a=at) if point.value is not None and at != chosen else "",
                "change": next((change for change in trend.changes if change.at == at), None),
                "runs": [(_address("run", id=one), status) for one, status in zip(point.runs.values("db.id"), point.runs.statuses, strict=True)],
            }
            for at, point in enumerate(trend.points)
        ]  # fmt: skip
        rows.reverse()
        title = quantity(metric, index.runs)
        return self._page(
            "trend.html", trend.label, trend=trend, metric=metric, quantity=title, rows=rows, chosen=trend.points[chosen],
            data=_chart(trend, title, chosen, compare), false_alarms=f"{100 * FALSE_ALARMS:g}",
        )  # fmt: skip

    def compare(self, asked: Asked) -> str:
        """Comparison of two points of a trend, as by `dlbs compare`."""
        _, trend, metric = self._asked_trend(asked)
        places = [_position(asked, side, -1) for side in "ab"]
        if not all(at in trend.measured for at in places) or places[0] == places[1]:
            raise LogError("two points of the trend are required", hint="choose them in the chart of the trend")
        points = [trend.points[at] for at in places]
        sides = [self.history.runs(point.runs.values("db.id")) for point in points]
        return self._comparison(
            f"{trend.label}: {points[0].name} and {points[1].name}", metric, sides, [point.name for point in points],
            back=_address("trend", key=trend.key, metric=metric, a=places[0]),
            swap=_address("compare", key=trend.key, metric=metric, a=places[1], b=places[0]),
            runs=[[(_address("run", id=run["db.id"]), _run_words(run, metric)) for run in point.runs] for point in points],
        )  # fmt: skip

    def tags(self, asked: Asked) -> str:
        """Comparison of the runs with one tag and those with another."""
        index = self.history.index()
        metric = index.metric(asked)
        chosen = [asked.get("a", ""), asked.get("b", "")]
        tags = index.runs.values("db.tags")
        runs = [index.runs.where([name in (of or [NO_TAG]) for of in tags]) for name in chosen]
        if not all(runs) or chosen[0] == chosen[1]:
            raise LogError("two tags with runs are required", hint="the first page lists the tags")
        sides = [self.history.runs(members.values("db.id")) for members in runs]
        return self._comparison(
            f"Tags {chosen[0]} and {chosen[1]}", metric, sides, chosen, back=_address("", metric=metric),
            swap=_address("tags", a=chosen[1], b=chosen[0], metric=metric), runs=[],
        )  # fmt: skip

    def run(self, asked: Asked) -> str:
        """One run: all logged values, and the end of its log."""
        (record,) = self.history.runs([_position(asked, "id", -1)])
        place, output = log_output(record, self.directory)
        values = [(name, _words(value)) for name, value in record.items() if not name.startswith("__")]
        return self._page(
            "run.html", f"Run of {text(record.get('exp.start_time'))[:16].replace('T', ' ') or 'an unknown time'}", record=record, values=values,
            place=place, output=output, status=status_of(record), reason=text(record.get("exp.status_msg")), warnings=warnings_of(record),
        )  # fmt: skip

    def _asked_trend(self, asked: Asked) -> tuple[Index, Trend, str]:
        index = self.history.index()
        metric = index.metric(asked)
        return index, index.trend(metric, asked.get("key", "")), metric

    def _trend_row(self, trend: Trend) -> dict[str, Any]:
        last = trend.points[trend.measured[-1]]
        return {
            "label": trend.label, "machine": trend.machine, "points": len(trend.points), "spark": json.dumps(_spark(trend)), "value": _value_words(last),
            "last": last.name, "address": _address("trend", key=trend.key, metric=trend.metric),
            "changes": [
                (change.words, " after ".join(filter(None, reversed(trend.between(change)))) or trend.points[change.at].name, change.is_worse)
                for change in trend.changes[-3:]
            ],
        }  # fmt: skip

    def _comparison(self, title: str, metric: str, sides: list[Runs], names: list[str], **links: Any) -> str:
        from dlbs.results.page.comparison import comparison_html
        from dlbs.results.statistics.compare import compare
        from dlbs.results.statistics.ratio import Rules
        from dlbs.results.tables.comparison import comparison_table

        # Versions of software differ between days, and are what is compared.
        rules = Rules(metric=metric, ignore=("exp.framework_version", "exp.node_id"))
        made = compare(sides[0], sides[1], rules, sources=names)
        return comparison_html(made, comparison_table(made), title=title, links=links)

    def _page(self, template: str, title: str, **variables: Any) -> str:
        return document(f"history/{template}", HISTORY_SCRIPTS, variables, title=title, has_forms=True)


def _address(path: str, **asked: Any) -> str:
    chosen = {name: value for name, value in asked.items() if value not in ("", None)}
    return f"/{path}" + (f"?{urlencode(chosen)}" if chosen else "")


def _tag_rows(tags: list[Share], metric: str) -> list[tuple[Share, str]]:
    """Each tag, newest first, with the address of its comparison with the previous tag; empty for the first tag, and for untagged runs."""
    rows, before = [], ""
    for tag in tags:
        is_tag = tag.name != NO_TAG
        rows.append((tag, _address("tags", a=before, b=tag.name, metric=metric) if is_tag and before else ""))
        before = tag.name if is_tag else before
    return rows[::-1]


def _position(asked: Asked, name: str, default: int) -> int:
    """Parse an integer query parameter.

    Raises:
        LogError: It is not an integer.
    """
    words = asked.get(name, "")
    if not words:
        return default
    if not words.isascii() or not words.isdecimal() or len(words) > 12:
        raise LogError(f"{words[:40]!r} is not an integer", where=name)
    return int(words)


def _usual_base(trend: Trend) -> int:
    """Index of the default baseline point: the last one before the latest change, or else the first."""
    measured = trend.measured
    return measured[measured.index(trend.changes[-1].at) - 1] if trend.changes else measured[0]


def _value_words(point: Point) -> str:
    if point.value is None:
        return "–"
    interval = point.interval
    bounds = f" ({short_number(interval.low)} to {short_number(interval.high)})" if interval is not None else ""
    return f"{short_number(point.value)}{bounds}"


def _facts_of(point: Point) -> str:
    versions = map(text, point.runs.distinct("exp.framework_version"))
    return ", ".join(dict.fromkeys(filter(None, (*versions, point.version))))


def _run_words(record: Record, metric: str) -> str:
    value = number(record, metric)
    words = [
        text(record.get("exp.start_time"))[:16].replace("T", " "),
        status_of(record),
        "" if value is None else short_number(value),
    ]
    return ", ".join(filter(None, [*words, "doubtful" if warnings_of(record) else ""]))


def _words(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}… ({len(words):,} characters)"
