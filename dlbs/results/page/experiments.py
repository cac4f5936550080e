"""The table of all experiments on the page, which sorts and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.experiment import describe, usual_names
from dlbs.results.grouping import distinguishing_names, hashable
from dlbs.results.page.failures import BAD, rerun_command
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.pivot import header
from dlbs.text import short_number, text

__all__ = ["Column", "ExperimentCell", "Row", "experiment_table", "label_names"]

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
    """An experiment: its status, the usual parameters in words, which the filter finds though no column has them, and its cells."""

    status: str
    words: str
    cells: list[ExperimentCell]


def label_names(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """The parameters that tell runs apart, the number of the repeat last."""
    names = distinguishing_names(records, declarations, without=["exp.effective_batch"])
    repeats = {hashable(record.get("exp.repeat")) for record in records}
    return [*names, "exp.repeat"] if len(repeats) > 1 else names


def experiment_table(
    records: Sequence[Record], declarations: Mapping[str, Parameter]
) -> tuple[list[Column], list[Row]]:
    """Columns and rows of the table: the parameters that differ, status, results, warnings, and how to repeat the experiment."""
    names = label_names(records, declarations)
    if not names:
        names = list(dict.fromkeys(name for record in records for name in usual_names(record)))
    figures = {
        "results.accuracy_top1": ("accuracy, %", 1.0),
        "results.throughput": (quantity("results.throughput", records).lower(), 1.0),
        "results.time": (quantity("results.time", records).lower(), 1.0),
        "results.time_p99": ("p99 of batch times, ms", 1.0),
        "results.memory_host": ("host memory, MiB", _MIB),
        "results.memory_device_reserved": ("device memory, MiB", _MIB),
        "results.mfu": ("MFU, %", 0.01),
    }
    present = {
        key: value for key, value in figures.items() if any(number(record, key) is not None for record in records)
    }
    titles = {"exp.phase": "phase", "exp.dtype": "type", "exp.repeat": "repeat", "exp.framework": "framework"}
    columns = [
        *(Column(titles.get(name, header(name)), all(number(r, name) is not None for r in records)) for name in names),
        Column("status", False),
        Column("warnings", False),
        *(Column(title, True) for title, _ in present.values()),
        Column("to repeat it", False),
    ]
    rows = []
    for record in records:
        status = status_of(record)
        doubts = doubts_of(record)
        cells = [
            ExperimentCell(text(record.get(name))[:120], number(record, name), column.is_number)
            for name, column in zip(names, columns, strict=False)
        ]
        cells.append(ExperimentCell(status, is_bad=status in BAD))
        cells.append(ExperimentCell(", ".join(doubts), is_bad=bool(doubts)))
        for key, (_, scale) in present.items():
            value = number(record, key)
            shown = "–" if value is None else short_number(value / scale)
            cells.append(ExperimentCell(shown, value, is_number=True))
        cells.append(ExperimentCell(rerun_command(record)))
        rows.append(Row(status, describe(record), cells))
    return columns, rows
