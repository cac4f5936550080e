"""The table of all experiments on the page, which sorts and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlbs.config.declarations import Parameter
from dlbs.doubts import warnings_of
from dlbs.results.grouping import distinguishing_names, usual_names
from dlbs.results.page.failures import BAD, rerun_command
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.text import short_number, text

__all__ = ["Column", "ExperimentCell", "Row", "experiment_table"]

_MOST_COLUMNS = 6  # of parameters that distinguish experiments
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class ExperimentCell:
    words: str
    value: float | None = None
    is_number: bool = False
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    status: str
    cells: list[ExperimentCell]


def experiment_table(
    records: Sequence[Record], declarations: Mapping[str, Parameter]
) -> tuple[list[Column], list[Row]]:
    """Columns and rows of the table: parameters, status, results, warnings, and how to repeat the experiment."""
    always = list(dict.fromkeys(name for record in records for name in usual_names(record)))
    names = [
        *always,
        *distinguishing_names(records, declarations, given=always, without=["exp.effective_batch"])[:_MOST_COLUMNS],
    ]
    if any(number(record, "exp.repeat") not in (None, 1.0) for record in records):
        names.append("exp.repeat")
    figures = {
        "results.throughput": ("throughput", 1.0),
        "results.time": ("time, ms" if any(r.get("command.line") for r in records) else "batch time, ms", 1.0),
        "results.time_p99": ("p99, ms", 1.0),
        "results.memory_host": ("host memory, MiB", _MIB),
        "results.memory_device_reserved": ("device memory, MiB", _MIB),
        "results.mfu": ("MFU, %", 0.01),
    }
    present = {
        key: value for key, value in figures.items() if any(number(record, key) is not None for record in records)
    }
    titles = {
        "exp.model": "model",
        "command.line": "command",
        "exp.framework": "framework",
        "exp.phase": "phase",
        "exp.dtype": "type",
        "exp.replica_batch": "batch",
    }
    columns = [
        *(Column(titles.get(name, name), all(number(r, name) is not None for r in records)) for name in names),
        Column("status", False),
        *(Column(title, True) for title, _ in present.values()),
        Column("warnings", True),
        Column("to repeat it", False),
    ]
    rows = []
    for record in records:
        status = status_of(record)
        doubts = len(warnings_of(record))
        cells = [
            ExperimentCell(text(record.get(name))[:120], number(record, name), column.is_number)
            for name, column in zip(names, columns, strict=False)
        ]
        cells.append(ExperimentCell(status, is_bad=status in BAD))
        for key, (_, scale) in present.items():
            value = number(record, key)
            shown = "–" if value is None else short_number(value / scale)
            cells.append(ExperimentCell(shown, value, is_number=True))
        cells.append(ExperimentCell(str(doubts), float(doubts), is_number=True, is_bad=doubts > 0))
        cells.append(ExperimentCell(rerun_command(record)))
        rows.append(Row(status, cells))
    return columns, rows
