"""Format tables as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dlbs.results.tables.rows import cell_rows, row_names
from dlbs.results.tables.table import Table
from dlbs.text import formula_escaped

__all__ = ["comma_separated"]


def comma_separated(tables: Sequence[Table]) -> str:
    """Write one line per cell, so that all tables fit into one file and no cell needs parsing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = row_names(tables)
    writer.writerow(names)
    for row in cell_rows(tables):
        values = [row.get(name, "") for name in names]
        writer.writerow([formula_escaped(value) if isinstance(value, str) else value for value in values])
    return out.getvalue()
