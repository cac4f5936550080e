"""Tables of one quantity over two sets of parameters, one table for each group of experiments that differ otherwise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubt_words, doubts_of
from dlbs.results.grouping import FIRST, describe, distinguishing_names, groups, ordered_keys, title_name
from dlbs.results.keys import unit_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.registry import registered
from dlbs.results.statistics.intervals import median_interval
from dlbs.results.tables.aggregates import AGGREGATES
from dlbs.results.tables.table import DOUBTFUL, USUAL, Cell, Table
from dlbs.text import counted, text

__all__ = ["cells_of", "custom_tables", "pivot", "quantity", "regular_tables", "shared_values", "usual_axes"]

_USUAL_VALUES = ("results.throughput", "results.time")


def regular_tables(
    records: Iterable[Record], declarations: Mapping[str, Parameter], *, explain: bool = False
) -> list[Table]:
    """Throughput and batch time, models against replica batches.

    Runs that differ in nothing but `exp.repeat` are one cell: the median. Experiments that differ otherwise get tables of their own, so that a
    cell never mixes them.

    Args:
        records: Experiments, failed ones too.
        declarations: Say which parameters identify an experiment.
        explain: Has no effect: medians need no formulas.
    """
    records = list(records)
    rows, columns = usual_axes(records)
    if records and all(record.get("command.line") for record in records):  # what was varied stands beside the command
        rows += distinguishing_names(records, declarations, given=rows, without=["exp.effective_batch"])
    tables = custom_tables(records, declarations, rows, columns, _USUAL_VALUES, without=["exp.effective_batch"])
    # Programs that have no batches log no batch time, and others no throughput; a table that says so in each cell says nothing.
    shown = []
    for throughput, time in zip(tables[::2], tables[1::2], strict=True):
        filled = [table for table in (throughput, time) if not _is_void(table)]
        shown += filled or [throughput]
    return shown


def _is_void(table: Table) -> bool:
    return all(cell.status in {"no-result", "missing"} for row in table.cells for cell in row)


def usual_axes(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """The parameters that label rows and columns unless others are asked for: models and replica batches, where experiments have them.

    Frameworks that ran the same model label rows too, so that one table compares them.
    """
    title = title_name(records)
    rows = [title] if title else []
    if title == "exp.model" and len(groups(records, [title, "exp.framework"])) > len(groups(records, [title])):
        rows.append("exp.framework")
    return rows, ["exp.replica_batch"] if _any_has(records, "exp.replica_batch") else []


def _any_has(records: Sequence[Record], name: str) -> bool:
    return any(record.get(name) not in (None, "") for record in records)


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
        declarations: Say which parameters identify an experiment.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        values: Keys of the quantities; each makes a table for each group of experiments that differ otherwise.
        aggregate: What becomes of several values in a cell; a key of `AGGREGATES`.
        without: Parameters whose values are aggregated over, instead of making tables of their own.
    """
    records = list(records)
    split = distinguishing_names(records, declarations, given=[*rows, *columns], without=without)
    tables = []
    for group in groups(records, split).values():
        for key in values:
            title = f"{quantity(key, group)}{shared_values(group[0], split, [*rows, *columns])}"
            table = pivot(title, group, rows, columns, cells_of(key, aggregate))
            runs = [cell for row in table.cells for cell in row if cell.runs > 1 and not isinstance(cell.value, str)]
            if runs:
                table.legend.append(_what_cells_are(aggregate, runs))
            table.add_legend()
            table.legend += _doubts(group, key)
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
    row_order = ordered_keys(by_row, rows)
    column_order = ordered_keys(by_column, columns)
    both = groups(records, [*rows, *columns])
    return Table(
        title,
        [_label(name) for name in rows],
        [[_shown(by_row[key][0], name) for name in rows] for key in row_order],
        [
            ", ".join(f"{_label(name)} {_shown(by_column[key][0], name) or '-'}" for name in columns) or "value"
            for key in column_order
        ],
        [[cell(both.get((*row, *column), [])) for column in column_order] for row in row_order],
    )


def _shown(record: Record, name: str) -> str:
    """A value as a label: blank where the experiment has no such parameter."""
    return (text(record[name]) or "none") if record.get(name) is not None else ""


def _label(name: str) -> str:
    return {
        "exp.model": "model",
        "exp.framework": "framework",
        "command.line": "command",
        "exp.replica_batch": "batch",
        "exp.effective_batch": "effective batch",
    }.get(name, name)


def quantity(key: str, records: Sequence[Record]) -> str:
    unit = unit_of(key)
    if key == "results.throughput":
        instances = {text(record["results.unit"]) for record in records if record.get("results.unit")}
        unit = f"{instances.pop() if len(instances) == 1 else 'instances'}/s"
    time = "Time" if any(record.get("command.line") for record in records) else "Batch time"
    name = {"results.throughput": "Throughput", "results.time": time}.get(key, key)
    return f"{name}, {unit}" if unit else name


def shared_values(record: Record, split: Sequence[str], shown: Sequence[str]) -> str:
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
    levels = [cell.confidence for cell in cells if cell.confidence is not None]
    if levels:
        words += f", with the interval that holds the true median at {100 * USUAL:.0f} %"
        words += ", or at the lower level that stands in it" if min(levels) < USUAL else ""
    return words


def _doubts(records: Sequence[Record], key: str) -> list[str]:
    """What the mark of doubtful runs means in a table of some records."""
    used = [record for record in records if status_of(record) == "ok" and number(record, key) is not None]
    kinds = [found for record in used if (found := doubts_of(record))]
    if not kinds:
        return []
    words = doubt_words(Counter(kind for found in kinds for kind in found))
    return [f"{DOUBTFUL}: {len(kinds)} of {counted(len(used), 'run')} doubtful: {words}"]


def cells_of(key: str, aggregate: str = "median") -> Callable[[list[Record]], Cell]:
    return lambda records: _cell(records, key, aggregate)


def _cell(records: list[Record], key: str, aggregate: str) -> Cell:
    if not records:
        return Cell(None, "missing")
    fine = [record for record in records if status_of(record) == "ok"]
    values = [value for record in fine if (value := number(record, key)) is not None]
    if values:
        interval = median_interval(values) if aggregate == "median" else None
        value = registered(AGGREGATES, aggregate, "aggregate")(values)
        lost = len(records) - len(values)
        if math.isnan(value):
            return Cell(None, "no-result", runs=len(values), lost=lost)
        low, high, level = (interval.low, interval.high, interval.confidence) if interval else (None, None, None)
        doubtful = sum(bool(doubts_of(record)) for record in fine if number(record, key) is not None)
        return Cell(float(value), "ok", low, high, level, len(values), lost, doubtful, "doubt" if doubtful else "")
    # Texts, such as the title of a device; a number of an experiment that failed is no result.
    values_of = [record.get(key) for record in (fine if key.startswith("results.") else fine or records)]
    words = list(dict.fromkeys(text(value) for value in values_of if value not in (None, "") and not _is_figure(value)))
    if words:
        return Cell(", ".join(words), runs=len(words), lost=len(records) - len(fine))
    bad = [status for status in map(status_of, records) if status != "ok"]
    return Cell(None, bad[0] if bad else "no-result", lost=len(records))
