"""Records as rows of a table, as `dlbs db query` shows them."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.results.grouping import hashable
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.table import Cell, Table
from dlbs.text import text

__all__ = ["history_table", "listing_table"]

_LONGEST = 60  # characters of a text


def listing_table(records: Sequence[Record], columns: Sequence[str] = ()) -> Table:
    """A row for each experiment; the usual columns unless some are given."""
    shown = list(columns) or [
        "exp.start_time", "exp.id", "exp.model", "command.line", "exp.phase", "exp.dtype", "exp.replica_batch",
        "exp.env.host", "exp.status", "results.throughput", "results.time", "db.tags",
    ]  # fmt: skip
    if not columns:
        shown = [name for name in shown if any(record.get(name) not in (None, "", []) for record in records)] or [
            "db.added"
        ]
    count = f"{len(records)} experiment{'s' if len(records) != 1 else ''}"
    return _table(count, records, shown)


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
    return _table(
        f"{len(records)} run{'s' if len(records) != 1 else ''}",
        records,
        [*(columns or [*always, *changing]), "db.tags"],
    )


def _table(title: str, records: Sequence[Record], names: Sequence[str]) -> Table:
    columns = [_cells(records, name) for name in names]
    rows = [[cell.words()] for cell in columns[0]]
    cells = [list(row) for row in zip(*columns[1:], strict=True)] or [[] for _ in records]
    return Table(title, [names[0]], rows, list(names[1:]), cells)


def _cells(records: Sequence[Record], name: str) -> list[Cell]:
    """The values of a key; long texts are shortened where that leaves different ones different."""
    whole = [_words(record.get(name)) for record in records]
    short = [words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…" for words in whole]
    shown = short if len(set(short)) == len(set(whole)) else whole
    numbers = [number(record, name) if name.startswith("results.") else None for record in records]
    return [Cell(words or "-") if value is None else Cell(value) for words, value in zip(shown, numbers, strict=True)]


def _words(value: object) -> str:
    return ", ".join(map(text, value)) if isinstance(value, list) else text(value)
