"""Format tables as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from dlbs.results.tables.table import Table
from dlbs.text import printable

__all__ = ["html_tables"]


def html_tables(tables: Sequence[Table]) -> str:
    """Format each table as a `<table>` with its notes as a list, without a page."""
    parts = []
    for table in tables:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(printable(cell))}</td>" for cell in row) + "</tr>"
            for row in table.texts()
        )
        notes = "".join(f"<li>{html.escape(printable(line))}</li>" for line in table.notes)
        parts.append(
            f"<table>\n<caption>{html.escape(printable(table.title))}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n" + (f"<ul>{notes}</ul>\n" if notes else "")
        )
    return "\n".join(parts)
