"""Tables taken apart: one flat row for each cell, so that all tables fit into one file of any format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbs.results.tables.table import Table

__all__ = ["cell_rows", "row_names"]

_FIGURES = ("value", "low", "high", "confidence", "runs", "lost", "doubtful", "status")


def row_names(tables: Sequence[Table]) -> list[str]:
    """The names of the values in each row: the title of the table, labels, column, and what is known of the cell."""
    return ["table", *dict.fromkeys(name for table in tables for name in table.names), "column", *_FIGURES]


def cell_rows(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """A row for each cell, by name; a table lacks the labels of others."""
    return [
        {
            "table": table.title,
            **dict(zip(table.names, labels, strict=True)),
            "column": column,
            **{name: getattr(cell, name) for name in _FIGURES},
        }
        for table in tables
        for labels, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
    ]
