"""Output formats of tables, besides the terminal's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dlbs.results.registry import Registry, registered
from dlbs.results.tables.table import Table

__all__ = ["FORMATS", "TERMINAL", "json_document", "write_tables"]

TERMINAL = "terminal"  # written by `tables.terminal`, because it depends on the width of the terminal
_HERE = "dlbs.results.tables"

FORMATS: Registry = {
    "markdown": (f"{_HERE}.markdown:markdown", "Markdown"),
    "csv": (f"{_HERE}.csv:comma_separated", "CSV, one line per cell"),
    "json": (f"{_HERE}.formats:json_document", "JSON, one object per table"),
    "html": (f"{_HERE}.html:html_tables", "HTML fragment"),
    "latex": (f"{_HERE}.latex:latex", "LaTeX with the package booktabs"),
}


def json_document(tables: Sequence[Table]) -> str:
    """Format tables as a JSON list with an object for each."""
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


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
