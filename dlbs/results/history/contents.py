"""Contents of a store: tags, machines, experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dlbs.results.history.trends import Run
from dlbs.results.read.moments import order_of
from dlbs.results.read.records import status_of
from dlbs.text import text

__all__ = ["NO_TAG", "Share", "machines_in", "tags_in"]

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
