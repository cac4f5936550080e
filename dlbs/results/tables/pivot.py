"""Pivot tables of a quantity over two sets of parameters, one table for each group of experiments that differ otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import common_label, distinguishing_names, groups, label_of, ordered_keys
from dlbs.results.read.onelog import Record
from dlbs.results.tables.cells import (
    cells_of,
    doubt_lines,
    formulas_of,
    interval_lines,
    quantity,
    reason_lines,
    statistic,
)
from dlbs.results.tables.table import Cell, Table
from dlbs.results.underload import HIGHEST_RATE, search_lines
from dlbs.text import text

__all__ = ["add_notes", "custom_tables", "group_title", "header", "pivot", "shown_value", "with_statistic"]


def custom_tables(
    records: Iterable[Record],
    declarations: Mapping[str, Parameter],
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[str],
    *,
    aggregate: str = "median",
    without: Sequence[str] = (),
    explain: bool = False,
) -> list[Table]:
    """Make tables of quantities over the values of parameters.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        values: Keys of the quantities; each makes a table for each group of experiments that differ otherwise.
        aggregate: Aggregate of several values in a cell; a key of `AGGREGATES`.
        without: Parameters whose values are aggregated over instead of making separate tables.
        explain: Add the formula of each cell.
    """
    records = list(records)
    shown = [*rows, *columns]
    split = distinguishing_names(records, declarations, given=shown, without=without)
    tables = []
    for group in groups(records, split).values():
        for at, key in enumerate(values):
            title = f"{quantity(key, group)}{group_title(group[0], split)}"
            formula = formulas_of(key, aggregate) if explain else None
            table = pivot(title, group, rows, columns, cells_of(key, aggregate), formula=formula)
            table.title = with_statistic(title, aggregate, table)
            # The reasons of failures are below the first table of a group.
            add_notes(table, group, shown, [key], reasons=at == 0)
            tables.append(table)
    return tables


def with_statistic(title: str, aggregate: str, table: Table) -> str:
    """Append the statistic of the table's numbers to a title."""
    words = statistic(aggregate, [cell for row in table.cells for cell in row])
    return f"{title}; {words}" if words else title


def add_notes(
    table: Table, records: Sequence[Record], shown: Sequence[str], keys: Sequence[str], *, reasons: bool = True
) -> None:
    """Add notes to a table that explain its cells and list the common parameters of its experiments.

    Args:
        table: The table.
        records: Its experiments.
        shown: Parameters that label its rows and columns.
        keys: Quantities in its cells.
        reasons: Add the reasons of unsuccessful experiments.
    """
    cells = [cell for row in table.cells for cell in row]
    table.legend += interval_lines(cells, keys)
    if HIGHEST_RATE in keys:
        table.legend += search_lines(records)
    table.add_legend()
    table.legend += doubt_lines(records, keys)
    if reasons:
        table.legend += reason_lines(records, shown)
    if common := common_label(records, without=shown):
        table.legend.append(f"all runs: {common}")


def group_title(record: Record, split: Sequence[str]) -> str:
    """Parameters that distinguish a group of experiments, for the title of its table: ` (inference, float16)`."""
    return f" ({label_of(record, split)})" if split else ""


def pivot(
    title: str,
    records: Sequence[Record],
    rows: Sequence[str],
    columns: Sequence[str],
    cell: Callable[[list[Record]], Cell],
    *,
    sort_rows: bool = False,
    formula: Callable[[list[Record]], str] | None = None,
) -> Table:
    """Make one table. Rows and columns are in the order of the records, which is the plan's; numbers in columns are sorted.

    Args:
        title: Its title.
        records: The experiments.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        cell: Function from the experiments of a cell to the cell.
        sort_rows: Sort numbers in the labels of rows too.
        formula: Function from the experiments of a cell to its formula, if formulas are shown.
    """
    by_row, by_column = groups(records, rows), groups(records, columns)
    row_order = ordered_keys(by_row, rows) if sort_rows else list(by_row)
    column_order = ordered_keys(by_column, columns)
    both = groups(records, [*rows, *columns])
    table = Table(
        title,
        [header(name) for name in rows],
        [[shown_value(by_row[key][0], name) for name in rows] for key in row_order],
        [
            ", ".join(f"{header(name)} {shown_value(by_column[key][0], name) or '-'}" for name in columns) or "value"
            for key in column_order
        ],
        [[cell(both.get((*row, *column), [])) for column in column_order] for row in row_order],
        is_divisible=True,
    )
    if formula is not None:
        for row, labels in zip(row_order, table.rows, strict=True):
            for column, label in zip(column_order, table.columns, strict=True):
                if words := formula(both.get((*row, *column), [])):
                    table.formulas.append(f"{', '.join([*labels, *([label] if columns else [])])}: {words}")
    return table


def shown_value(record: Record, name: str) -> str:
    """Label of a value; empty if the experiment lacks the parameter."""
    return (text(record[name]) or "none") if record.get(name) is not None else ""


def header(name: str) -> str:
    """Header of the column of a parameter."""
    return {
        "exp.model": "model",
        "exp.framework": "framework",
        "command.line": "command",
        "exp.replica_batch": "batch",
        "exp.effective_batch": "effective batch",
    }.get(name, name)
