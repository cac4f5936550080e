"""Format tables as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dlbs.results.tables.table import Table
from dlbs.text import formula_escaped

__all__ = ["comma_separated"]


def comma_separated(tables: Sequence[Table]) -> str:
    """Write one line per cell, so that all tables fit into one file and no cell needs parsing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    writer.writerow(
        ["table", *names, "column", "value", "low", "high", "confidence", "runs", "lost", "doubtful", "status"]
    )
    for table in tables:
        for labels, cells in zip(table.rows, table.cells, strict=True):
            own = dict(zip(table.names, labels, strict=True))
            for column, cell in zip(table.columns, cells, strict=True):
                figures = [
                    cell.value,
                    cell.low,
                    cell.high,
                    cell.confidence,
                    cell.runs,
                    cell.lost,
                    cell.doubtful,
                    cell.status,
                ]
                row = [table.title, *(own.get(name, "") for name in names), column, *figures]
                writer.writerow([formula_escaped(value) if isinstance(value, str) else value for value in row])
    return out.getvalue()
