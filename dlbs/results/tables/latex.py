"""Format tables as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.results.tables.table import Table
from dlbs.text import printable

__all__ = ["latex"]

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


def _escaped(words: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in printable(words).replace("\n", " "))


def latex(tables: Sequence[Table]) -> str:
    """Format tables for the package booktabs."""
    parts = []
    for table in tables:
        rows = [" & ".join(map(_escaped, row)) + r" \\" for row in [table.header, *table.texts()]]
        notes = [rf"\footnotesize {_escaped(line)}\\" for line in table.notes]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_escaped(table.title)}}}",
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
