"""The formats in which tables are written, besides the terminal's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dlbs.results.registry import Registry, registered
from dlbs.results.tables.rows import cell_rows
from dlbs.results.tables.table import Table

__all__ = ["BINARY_FORMATS", "FORMATS", "FORMAT_OF", "TERMINAL", "json_document", "json_lines", "write_tables"]

TERMINAL = "terminal"  # drawn by `tables.terminal`, because it depends on the width of the terminal
_HERE = "dlbs.results.tables"

FORMATS: Registry = {
    "markdown": (f"{_HERE}.markdown:markdown", "Markdown"),
    "csv": (f"{_HERE}.csv:comma_separated", "CSV, one line a cell"),
    "json": (f"{_HERE}.formats:json_document", "JSON, one object a table"),
    "jsonl": (f"{_HERE}.formats:json_lines", "JSON Lines, one object a cell"),
    "html": (f"{_HERE}.html:html_tables", "HTML without a page around it"),
    "latex": (f"{_HERE}.latex:latex", "LaTeX with the package booktabs"),
}

# Those that are no text: for files and other programs, not for terminals.
BINARY_FORMATS: Registry = {"parquet": (f"{_HERE}.parquet:parquet", "Apache Parquet, one row a cell")}

# What the name of a file says.
FORMAT_OF = {
    ".md": "markdown", ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".html": "html", ".tex": "latex", ".parquet": "parquet",
}  # fmt: skip


def json_document(tables: Sequence[Table]) -> str:
    """A list with an object for each table."""
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


def json_lines(tables: Sequence[Table]) -> str:
    """One line for each cell."""
    return "".join(json.dumps(row) + "\n" for row in cell_rows(tables))


def write_tables(tables: Sequence[Table], form: str) -> str:
    """Tables as one text.

    Args:
        tables: The tables.
        form: A key of `FORMATS`.

    Raises:
        LogError: There is no such format.
    """
    function = registered(FORMATS, form, "format")
    return str(function(tables))
