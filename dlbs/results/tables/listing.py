"""Records as rows of a table, as `dlbs db query` shows them."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.results.grouping import hashable
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.table import Cell, Table
from dlbs.text import text

__all__ = ["history_table", "listing_table"]


def listing_table(records: Sequence[Record], columns: Sequence[str] = ()) -> Table:
    """A row for each experiment; the usual columns unless some are given."""
    shown = list(columns) or [
        "exp.start_time", "exp.id", "exp.model", "exp.phase", "exp.dtype", "exp.replica_batch",
        "exp.env.host", "exp.status", "results.throughput", "results.time", "db.tags",
    ]  # fmt: skip
    return _table(f"{len(records)} experiments", records, shown)


def history_table(records: Sequence[Record], columns: Sequence[str]) -> Table:
    """Runs of one experiment, with every fact that is not the same in all of them."""
    always = ["exp.start_time", "exp.env.host", "exp.status", "results.throughput", "results.time"]
    facts = sorted({name for record in records for name in record})
    changing = [
        name
        for name in facts
        if (name.startswith(("exp.env.", "exp.docker_image")) or name in {"exp.framework_version", "exp.device_title"})
        and name not in always
        and len({hashable(record.get(name)) for record in records}) > 1
    ]
    return _table(f"{len(records)} runs", records, [*(columns or [*always, *changing]), "db.tags"])


def _table(title: str, records: Sequence[Record], columns: Sequence[str]) -> Table:
    def cell(record: Record, name: str) -> Cell:
        value = number(record, name) if name.startswith("results.") else None
        if value is not None:
            return Cell(value)
        found = record.get(name)
        words = ", ".join(map(text, found)) if isinstance(found, list) else text(found)
        return Cell(words[:60] or "-")

    first, *others = columns
    rows = [[text(record.get(first))[:60] or "-"] for record in records]
    return Table(title, [first], rows, list(others), [[cell(record, name) for name in others] for record in records])
