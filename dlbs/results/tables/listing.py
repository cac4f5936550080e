"""List records as rows of a table, as `dlbs db query` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.results.grouping import distinguishing_names, groups, hashable
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.tables.cells import doubt_lines, quantity, reason_lines
from dlbs.results.tables.pivot import header
from dlbs.results.tables.table import Cell, Table
from dlbs.text import counted, text

__all__ = ["history_table", "listing_table"]

_DOUBTED = frozenset({"results.throughput", "results.time"})  # quantities that warnings of a run concern
_LONGEST = 60  # characters of a text


def listing_table(
    records: Sequence[Record], columns: Sequence[str] = (), declarations: Mapping[str, Parameter] | None = None
) -> Table:
    """Make a table with a row for each experiment.

    Args:
        records: The experiments.
        columns: Keys to show; by default start time, distinguishing parameters, machine and results.
        declarations: Declared parameters, with those that identify an experiment.
    """
    names = distinguishing_names(records, declarations or {}, without=["exp.effective_batch", "exp.id"])
    if len({hashable(record.get("exp.repeat")) for record in records}) > 1:
        names.append("exp.repeat")
    # Distinguishing parameters are the labels; runs of one experiment differ in their start time.
    labels = names or ["exp.model", "exp.phase", "exp.dtype", "exp.replica_batch"]
    if len(groups(records, labels)) < len(records):
        labels = ["exp.start_time", *labels]
    usual = [
        *labels, "results.accuracy_top1", "results.throughput", "results.time", "exp.status", "exp.start_time", "exp.env.host",
        "db.tags", "exp.id",
    ]  # fmt: skip
    present = [name for name in dict.fromkeys(usual) if any(one.get(name) not in (None, "", []) for one in records)]
    title = counted(len(records), "experiment")
    if columns or not present:
        table = _table(title, records, list(columns) or ["db.added"])
    else:
        table = _table(title, records, present, labels=max(1, len([name for name in labels if name in present])))
    if _DOUBTED & set(columns or present):
        table.legend += doubt_lines(records, sorted(_DOUBTED))
    table.legend += reason_lines(records, names)
    return table


def history_table(records: Sequence[Record], columns: Sequence[str]) -> Table:
    """Make a table of runs of one experiment, with all facts that differ between them."""
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
        counted(len(records), "run"),
        records,
        [*(columns or [*always, *changing]), "db.tags"],
    )


def _table(title: str, records: Sequence[Record], names: Sequence[str], *, labels: int = 1) -> Table:
    columns = [_cells(records, name) for name in names]
    rows = [[cell.words() for cell in row] for row in zip(*columns[:labels], strict=True)]
    cells = [list(row) for row in zip(*columns[labels:], strict=True)] or [[] for _ in records]
    titles = [quantity(name, records) if name.startswith("results.") else header(name) for name in names]
    return Table(title, titles[:labels], rows, titles[labels:], cells, is_divisible=labels > 1)


def _cells(records: Sequence[Record], name: str) -> list[Cell]:
    """Cells of the values of a key; long texts are shortened where different ones stay different."""
    whole = [_words(name, record.get(name)) for record in records]
    short = [words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…" for words in whole]
    shown = short if len(set(short)) == len(set(whole)) else whole
    numbers = [number(record, name) if name.startswith("results.") else None for record in records]
    doubtful = [name in _DOUBTED and bool(doubts_of(record)) for record in records]
    return [
        Cell(words or "-") if value is None else Cell(value, doubtful=doubt, tone="doubt" if doubt else "")
        for words, value, doubt in zip(shown, numbers, doubtful, strict=True)
    ]


def _words(name: str, value: object) -> str:
    if name == "exp.start_time":
        return text(value)[:19].replace("T", " ")
    return ", ".join(map(text, value)) if isinstance(value, list) else text(value)
