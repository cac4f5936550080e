"""Tables as Apache Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbs.results.read.parquet import parquet_bytes
from dlbs.results.tables.rows import cell_rows
from dlbs.results.tables.table import Table

__all__ = ["parquet"]

_NUMBERS = ("value", "low", "high", "confidence")


def parquet(tables: Sequence[Table]) -> bytes:
    """One row for each cell. `value` is a number or null; `text` is the text of the cell.

    Raises:
        LogError: pyarrow is not installed.
    """
    return parquet_bytes([_typed(row) for row in cell_rows(tables)])


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: float(row[name]) if isinstance(row[name], (int, float)) else None for name in _NUMBERS}
    return {**row, **numbers, "text": row["value"] if isinstance(row["value"], str) else None}
