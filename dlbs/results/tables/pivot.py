"""Tables of results: one quantity over two sets of parameters, one table for each setting that differs otherwise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import FIRST, describe, groups, telling_names
from dlbs.results.keys import unit_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.statistics.intervals import median_interval
from dlbs.text import short_number, text

__all__ = [
    "AGGREGATES",
    "Cell",
    "Table",
    "cells_of",
    "custom_tables",
    "ordered",
    "pivot",
    "quantity",
    "regular_tables",
    "setting_of",
]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        value: A number (a whole one is a count), a text where the values are no numbers, or None; then `status` says why.
        status: `ok`, or the status of the experiments in the cell, `missing` or `no-result`.
        low: Lower bound of the confidence interval of a median, if it has one.
        high: Upper bound.
        runs: Experiments that the value comes from.
        lost: Experiments of this cell that have no value.
    """

    value: float | int | str | None
    status: str = "ok"
    low: float | None = None
    high: float | None = None
    runs: int = 0
    lost: int = 0

    def words(self) -> str:
        """The cell as people read it: `400.0 [395.2, 402.1]`, `failure`."""
        if self.value is None:
            return MISSING if self.status == "missing" else self.status
        if isinstance(self.value, str):
            return self.value
        words = f"{self.value:,}" if isinstance(self.value, int) else short_number(self.value)
        if self.low is not None and self.high is not None:
            words += f" [{short_number(self.low)}, {short_number(self.high)}]"
        return words + ("*" if self.lost else "")


MISSING = "-"

_LEGEND = {
    "missing": "not in the plan, or no log",
    "failure": "the experiment failed",
    "timeout": "the experiment was ended by exp.timeout",
    "skipped": "the experiment was skipped",
    "cancelled": "the run was stopped",
    "unfinished": "still running, or interrupted",
    "no-result": "the experiment ended well, but logged no such value",
    "no-base": "there is no value to compare with",
}


@dataclass(slots=True)
class Table:
    """A table.

    Attributes:
        title: What is in the cells, with the unit, and for which settings.
        names: What the row labels are.
        rows: The labels of each row.
        columns: The label of each column.
        cells: A list of cells for each row.
        legend: What marks mean.
        formulas: How some of the numbers came about, with the numbers.
    """

    title: str
    names: list[str]
    rows: list[list[str]]
    columns: list[str]
    cells: list[list[Cell]]
    legend: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)

    @property
    def header(self) -> list[str]:
        """The labels of all columns, those of the row labels included."""
        return [*self.names, *self.columns]

    def texts(self) -> list[list[str]]:
        """Rows of texts: labels and cells."""
        return [
            [*labels, *(cell.words() for cell in cells)] for labels, cells in zip(self.rows, self.cells, strict=True)
        ]

    def add_legend(self) -> None:
        """Say what the marks in the cells mean."""
        cells = [cell for row in self.cells for cell in row]
        seen = {cell.status for cell in cells if cell.value is None}
        for status, meaning in _LEGEND.items():
            if status in seen:
                self.legend.append(f"{MISSING if status == 'missing' else status}: {meaning}")
        if any(cell.value is not None and cell.lost for cell in cells):
            self.legend.append("*: some runs of this cell have no value")


Aggregate = Callable[[Sequence[float]], float]

AGGREGATES: dict[str, Aggregate] = {
    "median": statistics.median,
    "mean": statistics.fmean,
    "min": min,
    "max": max,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else math.nan,
    "sum": math.fsum,
    "count": lambda values: float(len(values)),
}


def regular_tables(records: Iterable[Record], declarations: Mapping[str, Parameter]) -> list[Table]:
    """Throughput and batch time, models against replica batches.

    Runs that differ in nothing but `exp.repeat` are one cell: the median. What else differs makes tables of its own, so that a
    cell never mixes settings.

    Args:
        records: Experiments, failed ones too.
        declarations: Tell which parameters say what an experiment is.
    """
    return custom_tables(
        records, declarations, ["exp.model"], ["exp.replica_batch"], ["results.throughput", "results.time"],
        without=["exp.effective_batch"],
    )  # fmt: skip


def custom_tables(
    records: Iterable[Record],
    declarations: Mapping[str, Parameter],
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[str],
    *,
    aggregate: str = "median",
    without: Sequence[str] = (),
) -> list[Table]:
    """Tables of some quantities over the values of parameters.

    Args:
        records: Experiments, failed ones too.
        declarations: Tell which parameters say what an experiment is.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        values: Keys of the quantities; each makes a table for each setting that differs otherwise.
        aggregate: What becomes of several values in a cell; a key of `AGGREGATES`.
        without: Parameters whose values are aggregated over, instead of making tables of their own.
    """
    records = list(records)
    split = telling_names(records, declarations, given=[*rows, *columns], without=without)
    tables = []
    for group in groups(records, split).values():
        for key in values:
            title = f"{quantity(key, group)}{setting_of(group[0], split, [*rows, *columns])}"
            table = pivot(title, group, rows, columns, cells_of(key, aggregate))
            runs = [cell for row in table.cells for cell in row if cell.runs > 1 and not isinstance(cell.value, str)]
            if runs:
                table.legend.append(_what_cells_are(aggregate, runs))
            table.add_legend()
            tables.append(table)
    return tables


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def pivot(
    title: str,
    records: Sequence[Record],
    rows: Sequence[str],
    columns: Sequence[str],
    cell: Callable[[list[Record]], Cell],
) -> Table:
    by_row, by_column = groups(records, rows), groups(records, columns)
    # Batch sizes are sorted, names stand in the order of the plan.
    row_order = ordered(by_row, rows)
    column_order = ordered(by_column, columns)
    both = groups(records, [*rows, *columns])
    return Table(
        title,
        [_label(name) for name in rows],
        [[text(by_row[key][0].get(name)) or "none" for name in rows] for key in row_order],
        [
            ", ".join(f"{_label(name)} {text(by_column[key][0].get(name)) or 'none'}" for name in columns) or "value"
            for key in column_order
        ],
        [[cell(both.get((*row, *column), [])) for column in column_order] for row in row_order],
    )


def ordered(found: Mapping[tuple[Any, ...], list[Record]], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Keys in the order in which they occur, but for names with numbers only, by which they are sorted."""
    positions: list[dict[Any, Any]] = []
    for index, _ in enumerate(names):
        values = list(dict.fromkeys(key[index] for key in found))
        if all(isinstance(value, (int, float)) or value is None for value in values):
            values.sort(key=lambda value: -math.inf if value is None else value)
        positions.append({value: place for place, value in enumerate(values)})
    return sorted(found, key=lambda key: [place[part] for place, part in zip(positions, key, strict=True)])


def _label(name: str) -> str:
    return {"exp.model": "model", "exp.replica_batch": "batch", "exp.effective_batch": "effective batch"}.get(
        name, name
    )


def quantity(key: str, records: Sequence[Record]) -> str:
    unit = unit_of(key)
    if key == "results.throughput":
        instances = {text(record["results.unit"]) for record in records if record.get("results.unit")}
        unit = f"{instances.pop() if len(instances) == 1 else 'instances'}/s"
    name = {"results.throughput": "Throughput", "results.time": "Batch time"}.get(key, key)
    return f"{name}, {unit}" if unit else name


def setting_of(record: Record, split: Sequence[str], shown: Sequence[str]) -> str:
    names = [name for name in FIRST[:4] if record.get(name) and name not in shown]
    words = describe(record, dict.fromkeys([*names, *split]))
    return f" ({words})" if words else ""


def _what_cells_are(aggregate: str, cells: Sequence[Cell]) -> str:
    most = max(cell.runs for cell in cells)
    words = (
        f"cells are {aggregate}s of up to {most} runs"
        if aggregate in {"median", "mean"}
        else f"cells: {aggregate} of up to {most} runs"
    )
    confidences = {median_interval([0.0] * cell.runs).confidence for cell in cells if cell.low is not None}  # type: ignore[union-attr]
    if confidences:
        low, high = min(confidences), max(confidences)
        words += f", with the interval that holds the true median at {100 * low:.0f}"
        words += f" to {100 * high:.0f} %" if round(100 * low) != round(100 * high) else " %"
    return words


def cells_of(key: str, aggregate: str = "median") -> Callable[[list[Record]], Cell]:
    return lambda records: _cell(records, key, aggregate)


def _cell(records: list[Record], key: str, aggregate: str) -> Cell:
    if not records:
        return Cell(None, "missing")
    fine = [record for record in records if status_of(record) == "ok"]
    values = [value for record in fine if (value := number(record, key)) is not None]
    if values:
        interval = median_interval(values) if aggregate == "median" else None
        value = AGGREGATES[aggregate](values)
        lost = len(records) - len(values)
        if math.isnan(value):
            return Cell(None, "no-result", runs=len(values), lost=lost)
        low, high = (interval.low, interval.high) if interval else (None, None)
        return Cell(float(value), "ok", low, high, runs=len(values), lost=lost)
    # Texts, such as the title of a device; a number of an experiment that failed is no result.
    values_of = [record.get(key) for record in (fine if key.startswith("results.") else fine or records)]
    words = list(dict.fromkeys(text(value) for value in values_of if value not in (None, "") and not _is_figure(value)))
    if words:
        return Cell(", ".join(words), runs=len(words), lost=len(records) - len(fine))
    bad = [status for status in map(status_of, records) if status != "ok"]
    return Cell(None, bad[0] if bad else "no-result", lost=len(records))
