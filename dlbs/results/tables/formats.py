"""The formats in which tables are written, besides the terminal's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dlbs.results.registry import Registry, registered
from dlbs.results.tables.table import Table

__all__ = ["FORMATS", "TERMINAL", "json_document", "write_tables"]

TERMINAL = "terminal"  # drawn by `tables.terminal`, because it depends on the width of the terminal
_HERE = "dlbs.results.tables"

FORMATS: Registry = {
    "markdown": (f"{_HERE}.markdown:markdown", "Markdown"),
    "csv": (f"{_HERE}.csv:comma_separated", "CSV, one line a cell"),
    "json": (f"{_HERE}.formats:json_document", "JSON, one object a table"),
    "html": (f"{_HERE}.html:html_tables", "HTML without a page around it"),
    "latex": (f"{_HERE}.latex:latex", "LaTeX with the package booktabs"),
}


def json_document(tables: Sequence[Table]) -> str:
    """A list with an object for each table."""
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


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
