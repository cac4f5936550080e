"""Print tables to a terminal: fitted to its width, in colour where that is allowed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark_core.text import printable
from dlbs.core.text import indented
from dlbs.results.tables.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable


_LEAST_FOLDED = 8  # characters of a column that is folded
_NAMESPACE = re.compile(r"(?<![\w.])\w+\.(?=\w+=)")  # `runtime.` of `runtime.malloc=keep`
_COLOURS = {"good": "green", "bad": "red", "doubt": "yellow"}


def print_table(table: Table, console: Console) -> None:
    """Print a table and the notes below it.

    No text is cut off. If the table is too wide, in this order: constant columns become a note, unless they are in `Table.answers`; parameters lose
    their namespaces; divisible tables are divided; cells are folded.
    """
    from rich.text import Text

    shown = fitted(table, console.width)
    # Rich would wrap the title to the width of a narrow table.
    console.print(Text(indented(printable(shown.title), console.width, "", "  "), style="bold"))
    for part in divided(shown, console.width):
        console.print(_drawn(part, unfolded(part, console.width), console.width))
    for line in shown.notes:
        console.print(indented(printable(line), console.width))
    console.print()


def fitted(table: Table, width: int) -> Table:
    """If the table is wider than `width` characters, replace constant columns by notes."""
    shown = table
    for name in reversed([name for name in table.header if name not in table.answers]):
        if _width(shown) <= width:
            break
        shown = _without_constant(shown, name)
    for narrower in (_without_namespaces, _with_short_headers):
        if _width(shown) > width:
            shown = narrower(shown)
    return shown


def unfolded(table: Table, width: int) -> Collection[str]:
    """Columns whose cells are not folded: all if they fit, else the answers, or at least the last one."""
    if _width(table) <= width:
        return table.header
    needed = 3 * len(table.header) + 1
    for name, column in zip(table.header, _widths(table), strict=True):
        needed += column if name in table.answers else min(column, _LEAST_FOLDED)
    return table.answers if needed <= width else table.answers[-1:]


def divided(table: Table, width: int) -> list[Table]:
    """Divide a divisible table into tables that fit the width; other tables are unchanged."""
    if not table.is_divisible or _width(table) <= width:
        return [table]
    parts = []
    at = 0
    while at < len(table.columns):
        end = at + 1
        while end < len(table.columns) and _width(_columns(table, at, end + 1)) <= width:
            end += 1
        parts.append(_columns(table, at, end))
        at = end
    return parts


def _columns(table: Table, begin: int, end: int) -> Table:
    labels = len(table.names)
    return _chosen(table, [*range(labels), *range(labels + begin, labels + end)])


def _chosen(table: Table, places: Sequence[int]) -> Table:
    """The table with these columns of its header alone, in order."""
    labels = [at for at in places if at < len(table.names)]
    values = [at - len(table.names) for at in places if at >= len(table.names)]
    return replace(
        table,
        names=[table.names[at] for at in labels],
        rows=[[row[at] for at in labels] for row in table.rows],
        columns=[table.columns[at] for at in values],
        cells=[[row[at] for at in values] for row in table.cells],
    )


def _without_namespaces(table: Table) -> Table:
    """Shorten `runtime.malloc` to `malloc` in the header, if no other column has that name, and in labels, if they stay distinct."""
    short = [name.rpartition(".")[2] if name.count(".") == 1 else name for name in table.names]
    others = Counter([*short, *table.columns])
    names = [word if others[word] == 1 else name for word, name in zip(short, table.names, strict=True)]
    rows = [[_NAMESPACE.sub("", label) for label in labels] for labels in table.rows]
    if len(set(map(tuple, rows))) < len(set(map(tuple, table.rows))):
        rows = table.rows
    return replace(table, names=names, rows=rows)


def _with_short_headers(table: Table) -> Table:
    """Break headers at commas, with the unit below the name."""
    return replace(table, columns=[name.replace(", ", ",\n") for name in table.columns])


def _without_constant(table: Table, name: str) -> Table:
    at = table.header.index(name)
    values = {row[at] for row in table.texts()}
    if len(table.rows) < 2 or len(values) > 1 or len(table.header) == 1:
        return table
    others = [place for place in range(len(table.header)) if place != at]
    return replace(_chosen(table, others), legend=[*table.legend, f"all rows: {name} {values.pop()}"])


def _width(table: Table) -> int:
    """Width of the table in characters, including borders."""
    widths = _widths(table)
    return sum(widths) + 3 * len(widths) + 1


def _widths(table: Table) -> list[int]:
    """Width of each column in characters, without borders."""
    from rich.cells import cell_len

    rows = [table.header, *table.texts()]
    return [
        max(cell_len(line) for row in rows for line in printable(row[column]).split("\n"))
        for column in range(len(table.header))
    ]


def _longest_word(table: Table, column: int) -> int:
    from rich.cells import cell_len

    texts = [table.header[column], *(row[column] for row in table.texts())]
    return max(cell_len(word) for text in texts for word in printable(text).split() or [""])


def _drawn(table: Table, whole: Collection[str], width: int) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable()
    fits = False  # without a break inside a word
    for unbroken in (whole, ()):  # rather break a number from its interval than a word
        words = [
            column if name in unbroken else _longest_word(table, at)
            for at, (name, column) in enumerate(zip(table.header, _widths(table), strict=True))
        ]
        if sum(words) + 3 * len(words) + 1 <= width:
            fits, whole = True, unbroken
            break
    for number, name in enumerate(table.header):
        drawn.add_column(
            Text(printable(name)),
            justify="left" if number < len(table.names) else "right",
            no_wrap=name in whole,
            min_width=words[number] if fits else None,
            overflow="fold",
        )
    for labels, cells in zip(table.rows, table.cells, strict=True):
        drawn.add_row(
            *(Text(printable(label)) for label in labels),
            *(Text(printable(cell.words(table.level)), style=_COLOURS.get(cell.tone, "")) for cell in cells),
        )
    return drawn
