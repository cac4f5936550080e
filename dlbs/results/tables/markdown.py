"""Format tables as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence

from dlbs.results.tables.table import Table
from dlbs.text import printable

__all__ = ["markdown"]


def markdown(tables: Sequence[Table]) -> str:
    """Format tables with aligned columns, each under its title; notes are lists."""
    parts = []
    for table in tables:
        # A name from a log must not end its cell or row, nor start a link or tag.
        rows = [[_escaped(cell) for cell in row] for row in [table.header, *table.texts()]]
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
        lines = [f"**{_escaped(table.title)}**", ""]
        for index, row in enumerate(rows):
            cells = [
                cell.ljust(width) if column < len(table.names) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(f"| {' | '.join(cells)} |")
            if index == 0:
                marks = [
                    "-" * width if column < len(table.names) else "-" * (width - 1) + ":"
                    for column, width in enumerate(widths)
                ]
                lines.append(f"| {' | '.join(marks)} |")
        notes = [f"- {_escaped(line)}" for line in table.notes]
        parts.append("\n".join([*lines, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n"


def _escaped(words: str) -> str:
    for letter in "\\`*_[]|":
        words = words.replace(letter, f"\\{letter}")
    return html.escape(printable(words), quote=False).replace("\n", " ")
