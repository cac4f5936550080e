"""Tables as texts: for a terminal, Markdown, CSV, JSON, HTML and LaTeX. Nothing here knows what is in them."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from dlbs.results.tables.pivot import Table
from dlbs.text import printable

__all__ = ["FORMATS", "rich_table", "write_tables"]


def rich_table(table: Table, *, wrap: bool = False) -> Any:
    """The table for a terminal; where it is narrow, cells may be wrapped."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=Text(printable(table.title)), title_justify="left", title_style="bold")
    for number, name in enumerate(table.header):
        shown.add_column(
            Text(printable(name)), justify="left" if number < len(table.names) else "right", no_wrap=not wrap
        )
    for row in table.texts():
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return shown


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        # A stranger's name must not end its cell, its row, or begin a link or a tag.
        rows = [[_markdown_escaped(cell) for cell in row] for row in [table.header, *table.texts()]]
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
        lines = [f"**{_markdown_escaped(table.title)}**", ""]
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
        notes = [f"- {_markdown_escaped(line)}" for line in (*table.legend, *table.formulas)]
        parts.append("\n".join([*lines, *([""] if notes else []), *notes]))
    return "\n\n".join(parts) + "\n"


def _markdown_escaped(words: str) -> str:
    for letter in "\\`*_[]|":
        words = words.replace(letter, f"\\{letter}")
    return html.escape(printable(words), quote=False).replace("\n", " ")


def _csv(tables: Sequence[Table]) -> str:
    """One line for each cell, so that all tables fit into one file and nothing has to be taken apart again."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    writer.writerow(["table", *names, "column", "value", "low", "high", "runs", "lost", "status"])
    for table in tables:
        for labels, cells in zip(table.rows, table.cells, strict=True):
            own = dict(zip(table.names, labels, strict=True))
            for column, cell in zip(table.columns, cells, strict=True):
                figures = [cell.value, cell.low, cell.high, cell.runs, cell.lost, cell.status]
                row = [table.title, *(own.get(name, "") for name in names), column, *figures]
                writer.writerow([_no_formula(value) for value in row])
    return out.getvalue()


def _no_formula(value: Any) -> Any:
    """Texts that a spreadsheet would take for a formula get an apostrophe, as spreadsheets themselves write them."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _json(tables: Sequence[Table]) -> str:
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


def _html(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(printable(cell))}</td>" for cell in row) + "</tr>"
            for row in table.texts()
        )
        notes = "".join(f"<li>{html.escape(printable(line))}</li>" for line in (*table.legend, *table.formulas))
        parts.append(
            f"<table>\n<caption>{html.escape(printable(table.title))}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n" + (f"<ul>{notes}</ul>\n" if notes else "")
        )
    return "\n".join(parts)


_LATEX = {
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
    ">": r"\textgreater{}",
}


def _latex_escaped(words: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in printable(words).replace("\n", " "))


def _latex(tables: Sequence[Table]) -> str:
    """Tables for the package booktabs."""
    parts = []
    for table in tables:
        rows = [" & ".join(map(_latex_escaped, row)) + r" \\" for row in [table.header, *table.texts()]]
        notes = [rf"\footnotesize {_latex_escaped(line)}\\" for line in (*table.legend, *table.formulas)]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_latex_escaped(table.title)}}}",
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


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "html": _html,
    "latex": _latex,
}


def write_tables(tables: Sequence[Table], form: str) -> str:
    """Tables as one text.

    Args:
        tables: The tables.
        form: A key of `FORMATS`.
    """
    return FORMATS[form](tables)
