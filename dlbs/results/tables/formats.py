"""Output formats of tables, besides the terminal's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dlbs.results.registry import Registry, registered
from dlbs.results.tables.rows import cell_rows
from dlbs.results.tables.table import Table

__all__ = ["BINARY_FORMATS", "FORMATS", "FORMAT_OF", "TERMINAL", "json_document", "json_lines", "write_tables"]

TERMINAL = "terminal"  # written by `tables.terminal`, because it depends on the width of the terminal
_HERE = "dlbs.results.tables"

FORMATS: Registry = {
    "markdown": (f"{_HERE}.markdown:markdown", "Markdown"),
    "csv": (f"{_HERE}.csv:comma_separated", "CSV, one line per cell"),
    "json": (f"{_HERE}.formats:json_document", "JSON, one object per table"),
    "jsonl": (f"{_HERE}.formats:json_lines", "JSON Lines, one object per cell"),
    "html": (f"{_HERE}.html:html_tables", "HTML fragment"),
    "latex": (f"{_HERE}.latex:latex", "LaTeX with the package booktabs"),
}

# Binary formats, for files and pipes, not for terminals.
BINARY_FORMATS: Registry = {"parquet": (f"{_HERE}.parquet:parquet", "Apache Parquet, one row per cell")}

# Suffix of a file → its format.
FORMAT_OF = {
    ".md": "markdown", ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".html": "html", ".tex": "latex", ".parquet": "parquet",
}  # fmt: skip


def json_document(tables: Sequence[Table]) -> str:
    """Format tables as a JSON list with an object for each."""
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


def json_lines(tables: Sequence[Table]) -> str:
    """Format tables as JSON Lines, one object per cell."""
    return "".join(json.dumps(row) + "\n" for row in cell_rows(tables))


def write_tables(tables: Sequence[Table], form: str) -> str:
    """Format tables as one text.

    Args:
        tables: The tables.
        form: A key of `FORMATS`.

    Raises:
        LogError: The format is unknown.
    """
    function = registered(FORMATS, form, "format")
    return str(function(tables))
