"""In-memory index of a store for its history, read again after additions and removals."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from dlbs.errors import LogError
from dlbs.results.history.trends import Run, Trend, slim, trends_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.store.store import Store

__all__ = ["History", "Index"]


@dataclass
class Index:
    """Contents of a store when it was read.

    Attributes:
        runs: All runs, without long lists.
        metrics: Keys of the quantities that runs have, the default one first.
    """

    runs: list[Run]
    metrics: list[str]
    _trends: dict[str, list[Trend]] = field(default_factory=dict)

    def trends(self, metric: str) -> list[Trend]:
        """Trends of a quantity, those with the latest regressions first.

        Raises:
            LogError: No run has it.
        """
        from dlbs.config.load import load_config

        if metric not in self.metrics:
            raise LogError(f"no run has {metric!r}", hint="choose a quantity on the first page")
        if metric not in self._trends:
            made = [trend for trend in trends_of(self.runs, load_config().declarations, metric) if trend.measured]
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
        self._index = Index([], [])

    def index(self) -> Index:
        """Current contents of the store.

        Raises:
            LogError: The store cannot be read.
        """
        with self._lock, Store(self.url, read_only=True) as store:
            version = store.version()
            if version != self._version:
                runs = [Run(one, slim(record)) for one, record in store.rows()]
                self._index = Index(runs, _metrics(runs))
                self._version = version
            return self._index

    def records(self, ids: Sequence[int]) -> list[Record]:
        """Complete records, in the order of their numbers in the store.

        Raises:
            LogError: The store cannot be read, or a run no longer exists.
        """
        with Store(self.url, read_only=True) as store:
            found = dict(store.rows(ids=ids))
        if len(found) < len(set(ids)):
            raise LogError("no such run", hint="it may have been removed from the store")
        return [found[one] for one in ids]


def _metrics(runs: Sequence[Run]) -> list[str]:
    keys = sorted(
        {
            key
            for run in runs
            for key in run.record
            if key.startswith("results.") and number(run.record, key) is not None
        }
    )
    usual = usual_metric([run.record for run in runs])
    return [key for key in dict.fromkeys([usual, "results.throughput", "results.time", *keys]) if key in keys]
