"""Pages of the history, without scripts: overview of a store, one trend, comparison of two points, one run."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from dlbs.doubts import warnings_of
from dlbs.errors import LogError
from dlbs.results.history.chart import sparkline, trend_chart
from dlbs.results.history.contents import NO_TAG, Share, machines_in, tags_in
from dlbs.results.history.index import History, Index
from dlbs.results.history.logs import log_output
from dlbs.results.history.trends import Point, Trend
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.changes import FALSE_ALARMS
from dlbs.results.statistics.facts import different_facts, is_fact
from dlbs.results.tables.cells import quantity
from dlbs.text import printable, short_number, text
from dlbs.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["HistoryPages"]

_TEMPLATES = Path(__file__).parent / "templates"
_ON_A_PAGE = 50  # trends
_LONGEST = 500  # characters of a value of a run
_IMAGE = "exp.docker_image"

Asked = Mapping[str, str]  # query parameters of a URL


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
        if not index.metrics:
            return self._page(
                "overview.html",
                "History",
                trends=[],
                tags=_tag_rows(tags_in(index.runs), ""),
                machines=machines_in(index.runs),
                runs=len(index.runs),
            )
        metric = asked.get("metric") or index.metrics[0]
        words = asked.get("words", "")
        wanted = words.lower().split()
        found = [
            trend
            for trend in index.trends(metric)
            if all(word in f"{trend.label} {trend.machine}".lower() for word in wanted)
        ]
        page = min(_position(asked, "page", 0), max(0, (len(found) - 1) // _ON_A_PAGE))
        shown = found[page * _ON_A_PAGE : (page + 1) * _ON_A_PAGE]
        return self._page(
            "overview.html", "History", runs=len(index.runs), metrics=index.metrics, metric=metric, words=words, count=len(found),
            trends=[self._trend_row(trend) for trend in shown], page=page, pages=-(-len(found) // _ON_A_PAGE),
            quantity=self._quantity(index, metric), machines=machines_in(index.runs), false_alarms=f"{100 * FALSE_ALARMS:g}",
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
                "runs": [(_address("run", id=run.id), status_of(run.record)) for run in point.runs],
            }
            for at, point in enumerate(trend.points)
        ]  # fmt: skip
        rows.reverse()
        title = self._quantity(index, metric)
        return self._page(
            "trend.html", trend.label, trend=trend, metric=metric, quantity=title, rows=rows, chosen=trend.points[chosen],
            chart=trend_chart(trend, title, chosen, compare), false_alarms=f"{100 * FALSE_ALARMS:g}",
        )  # fmt: skip

    def compare(self, asked: Asked) -> str:
        """Comparison of two points of a trend, as by `dlbs compare`."""
        _, trend, metric = self._asked_trend(asked)
        places = [_position(asked, side, -1) for side in "ab"]
        if not all(at in trend.measured for at in places) or places[0] == places[1]:
            raise LogError("two points of the trend are required", hint="choose them in the chart of the trend")
        points = [trend.points[at] for at in places]
        sides = [self.history.records([run.id for run in point.runs]) for point in points]
        return self._comparison(
            f"{trend.label}: {points[0].name} and {points[1].name}", metric, sides, [point.name for point in points],
            back=_address("trend", key=trend.key, metric=metric, a=places[0]),
            swap=_address("compare", key=trend.key, metric=metric, a=places[1], b=places[0]),
            runs=[[(_address("run", id=run.id), _run_words(run.record, metric)) for run in point.runs] for point in points],
        )  # fmt: skip

    def tags(self, asked: Asked) -> str:
        """Comparison of the runs with one tag and those with another."""
        index = self.history.index()
        metric = asked.get("metric") or (index.metrics[0] if index.metrics else "")
        chosen = [asked.get("a", ""), asked.get("b", "")]
        runs = [[run for run in index.runs if name in (run.record.get("db.tags") or [NO_TAG])] for name in chosen]
        if not all(runs) or chosen[0] == chosen[1]:
            raise LogError("two tags with runs are required", hint="the first page lists the tags")
        sides = [self.history.records([run.id for run in members]) for members in runs]
        return self._comparison(
            f"Tags {chosen[0]} and {chosen[1]}", metric, sides, chosen, back=_address("", metric=metric),
            swap=_address("tags", a=chosen[1], b=chosen[0], metric=metric), runs=[],
        )  # fmt: skip

    def run(self, asked: Asked) -> str:
        """One run: all logged values, and the end of its log."""
        (record,) = self.history.records([_position(asked, "id", -1)])
        place, output = log_output(record, self.directory)
        values = [(name, _words(value)) for name, value in record.items() if not name.startswith("__")]
        return self._page(
            "run.html", f"Run of {text(record.get('exp.start_time'))[:16].replace('T', ' ') or 'an unknown time'}", record=record, values=values,
            place=place, output=output, status=status_of(record), reason=text(record.get("exp.status_msg")), warnings=warnings_of(record),
        )  # fmt: skip

    def _asked_trend(self, asked: Asked) -> tuple[Index, Trend, str]:
        index = self.history.index()
        metric = asked.get("metric") or (index.metrics[0] if index.metrics else "")
        return index, index.trend(metric, asked.get("key", "")), metric

    def _trend_row(self, trend: Trend) -> dict[str, Any]:
        last = trend.points[trend.measured[-1]]
        return {
            "label": trend.label, "machine": trend.machine, "points": len(trend.points), "spark": sparkline(trend), "value": _value_words(last),
            "last": last.name, "address": _address("trend", key=trend.key, metric=trend.metric),
            "changes": [(change.words, trend.points[change.at].name, change.is_worse) for change in trend.changes[-3:]],
        }  # fmt: skip

    def _comparison(self, title: str, metric: str, sides: list[list[Record]], names: list[str], **more: Any) -> str:
        from dlbs.config.load import load_config
        from dlbs.results.statistics.compare import compare
        from dlbs.results.statistics.rules import Rules
        from dlbs.results.tables.comparison import comparison_table, summary

        # Versions of software differ between days, and are what is compared.
        made = compare(
            sides[0],
            sides[1],
            load_config().declarations,
            Rules(metric, ignore=("exp.framework_version", "exp.node_id")),
        )
        return self._page(
            "compare.html", title, names=names, table=comparison_table(made), summary=summary(made), facts=_different_facts(sides),
            command=f"dlbs compare --metric {metric}", **more,
        )  # fmt: skip

    def _quantity(self, index: Index, metric: str) -> str:
        return quantity(metric, [run.record for run in index.runs])

    def _page(self, template: str, title: str, **variables: Any) -> str:
        style = (_TEMPLATES / "history.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        return str(
            _environment()
            .get_template(template)
            .render(title=title, version=__version__, style=style, style_hash=f"sha256-{digest}", **variables)
        )


@functools.cache
def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown
    )


def _shown(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _address(path: str, **asked: Any) -> str:
    chosen = {name: value for name, value in asked.items() if value not in ("", None)}
    return f"/{path}" + (f"?{urlencode(chosen)}" if chosen else "")


def _tag_rows(tags: list[Share], metric: str) -> list[tuple[Share, str]]:
    """Each tag with the address of its comparison with the previous tag; empty for the first tag, and for untagged runs."""
    rows, before = [], ""
    for tag in tags:
        is_tag = tag.name != NO_TAG
        rows.append((tag, _address("tags", a=before, b=tag.name, metric=metric) if is_tag and before else ""))
        before = tag.name if is_tag else before
    return rows


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
    versions = (text(run.record.get("exp.framework_version")) for run in point.runs)
    return ", ".join(dict.fromkeys(filter(None, versions)))


def _run_words(record: Record, metric: str) -> str:
    value = number(record, metric)
    words = [
        text(record.get("exp.start_time"))[:16].replace("T", " "),
        status_of(record),
        "" if value is None else short_number(value),
    ]
    return ", ".join(filter(None, [*words, "doubtful" if warnings_of(record) else ""]))


def _different_facts(sides: list[list[Record]]) -> list[tuple[str, str, str]]:
    """Facts about machine and software that differ between the sides."""
    names = sorted({name for side in sides for record in side for name in record if is_fact(name) or name == _IMAGE})
    different = different_facts(sides, names).items()
    return [(name, _listed(a), _listed(b)) for name, (a, b) in different]


def _listed(values: list[str]) -> str:
    return ", ".join(values)[:_LONGEST] or "–"


def _words(value: Any) -> str:
    words = value if isinstance(value, str) else json.dumps(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}… ({len(words):,} characters)"
