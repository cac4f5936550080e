"""Output formats of tables, besides the terminal's."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmark_core.text import printable
from dlbs.core.errors import Registry, registered
from dlbs.core.text import csv_line
from dlbs.results.read.parquet import parquet_bytes
from dlbs.results.tables.table import Table

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


def comma_separated(tables: Sequence[Table]) -> str:
    """Write one line per cell, so that all tables fit into one file and no cell needs parsing."""
    names = row_names(tables)
    rows = ([row.get(name, "") for name in names] for row in cell_rows(tables))
    return "".join(map(csv_line, (names, *rows)))


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


_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    "⚠": r"\textsuperscript{!}",
    ">": r"\textgreater{}",
}


def _escaped_latex(words: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in printable(words).replace("\n", " "))


def latex(tables: Sequence[Table]) -> str:
    """Format tables for the package booktabs."""
    parts = []
    for table in tables:
        rows = [" & ".join(map(_escaped_latex, row)) + r" \\" for row in [table.header, *table.texts()]]
        notes = [rf"\footnotesize {_escaped_latex(line)}\\" for line in table.notes]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_escaped_latex(table.title)}}}",
                    rf"\begin{{tabular}}{{{'l' * len(table.names)}{'r' * len(table.columns)}}}",
                    r"\toprule",
                    rows[0],
                    r"\midrule",
                    *rows[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    *([r"\par", *notes] if notes else []),
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def markdown(tables: Sequence[Table]) -> str:
    """Format tables with aligned columns, each under its title; notes are lists."""
    parts = []
    for table in tables:
        # A name from a log must not end its cell or row, nor start a link or tag.
        rows = [[_escaped_markdown(cell) for cell in row] for row in [table.header, *table.texts()]]
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
        lines = [f"**{_escaped_markdown(table.title)}**", ""]
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
        notes = [f"- {_escaped_markdown(line)}" for line in table.notes]
        parts.append("\n".join([*lines, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n"


def _escaped_markdown(words: str) -> str:
    for letter in "\\`*_[]|":
        words = words.replace(letter, f"\\{letter}")
    return html.escape(printable(words), quote=False).replace("\n", " ")


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


TERMINAL = "terminal"  # written by `tables.terminal`, because it depends on the width of the terminal

FORMATS: Registry = {
    "markdown": ("dlbs.results.tables.formats:markdown", "Markdown"),
    "csv": ("dlbs.results.tables.formats:comma_separated", "CSV, one line per cell"),
    "json": ("dlbs.results.tables.formats:json_document", "JSON, one object per table"),
    "jsonl": ("dlbs.results.tables.formats:json_lines", "JSON Lines, one object per cell"),
    "html": ("dlbs.results.tables.formats:html_tables", "HTML fragment"),
    "latex": ("dlbs.results.tables.formats:latex", "LaTeX with the package booktabs"),
}

# Binary formats, for files and pipes, not for terminals.
BINARY_FORMATS: Registry = {"parquet": ("dlbs.results.tables.formats:parquet", "Apache Parquet, one row per cell")}

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
