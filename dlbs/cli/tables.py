"""Options and output shared by all verbs that print tables."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dlbs.cli.options import console
from dlbs.files import write_atomically
from dlbs.results.tables.formats import FORMATS, TERMINAL

if TYPE_CHECKING:
    from dlbs.results.tables.table import Table
from dlbs.text import printable

__all__ = ["format_option", "output_option", "print_tables", "write_text"]


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format` and `--json`, which means `--format json`; the function gets `form`."""

    @click.option(
        "--format",
        "form",
        type=click.Choice([TERMINAL, *FORMATS]),
        default=TERMINAL,
        show_default=True,
        help="Format of tables.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON; same as --format json.")
    @functools.wraps(function)
    def wrapped(*args: Any, form: str, as_json: bool, **kwargs: Any) -> Any:
        if as_json and form not in {TERMINAL, "json"}:
            raise click.UsageError(f"--json means --format json: remove it, or --format {form}")
        return function(*args, form="json" if as_json else form, **kwargs)

    return wrapped


output_option = click.option(
    "--output-file", "-o", metavar="FILE", help="Write to this file instead of standard output."
)


def print_tables(tables: Sequence[Table], form: str, output_file: str | None = None) -> None:
    """Write tables to a file or to standard output. In files, which have no width, `terminal` means Markdown."""
    from dlbs.results.tables.formats import write_tables
    from dlbs.results.tables.terminal import print_table

    if form == TERMINAL and output_file is None:
        out = console()
        for table in tables:
            print_table(table, out)
        return
    write_text(write_tables(tables, "markdown" if form == TERMINAL else form), output_file)


def write_text(words: str, output_file: str | None) -> None:
    """Write a text to a file, or to standard output."""
    if output_file is None:
        # Files and programs get unmodified values; a terminal must get no escape sequences from them.
        click.echo(printable(words) if sys.stdout.isatty() else words, nl=False)
        return
    with write_atomically(output_file) as stream:
        stream.write(words)
    click.echo(printable(f"→ {output_file}"), err=True)
