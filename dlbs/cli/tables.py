"""Options and output shared by all verbs that print tables."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbs.cli.options import console
from dlbs.errors import LogError
from dlbs.files import make_parent, write_atomically, write_bytes
from dlbs.results.registry import registered
from dlbs.results.tables.formats import BINARY_FORMATS, FORMAT_OF, FORMATS, TERMINAL

if TYPE_CHECKING:
    from dlbs.results.tables.table import Table
from dlbs.text import printable

__all__ = ["format_option", "output_option", "print_tables", "write_text"]


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format` and `--json`, which means `--format json`; the function gets `form`."""

    @click.option(
        "--format",
        "form",
        type=click.Choice([TERMINAL, *FORMATS, *BINARY_FORMATS]),
        default=TERMINAL,
        show_default=True,
        help="Format of tables; by default that which the name of the output file says.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON; same as --format json.")
    @functools.wraps(function)
    def wrapped(*args: Any, form: str, as_json: bool, **kwargs: Any) -> Any:
        if as_json and form not in {TERMINAL, "json"}:
            raise click.UsageError(f"--json means --format json: remove it, or --format {form}")
        if as_json:
            form = "json"
        elif form == TERMINAL and kwargs.get("output_file"):
            form = FORMAT_OF.get(Path(kwargs["output_file"].removesuffix(".gz")).suffix.lower(), form)
        return function(*args, form=form, **kwargs)

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
    if form in BINARY_FORMATS:
        _write_binary(tables, form, output_file)
        return
    write_text(write_tables(tables, "markdown" if form == TERMINAL else form), output_file)


def _write_binary(tables: Sequence[Table], form: str, output_file: str | None) -> None:
    """Write tables to a file, or to another program.

    Raises:
        LogError: Standard output is a terminal, or a package is missing.
        ConfigError: The file cannot be written.
    """
    if output_file is None and sys.stdout.isatty():
        raise LogError("is not text", where=f"--format {form}", hint="redirect standard output to a file")
    content: bytes = registered(BINARY_FORMATS, form, "format")(tables)
    if output_file is None:
        sys.stdout.buffer.write(content)
        return
    make_parent(output_file)
    write_bytes(output_file, content, follow=True)
    click.echo(printable(f"→ {output_file}"), err=True)


def write_text(words: str, output_file: str | None) -> None:
    """Write a text to a file, or to standard output."""
    if output_file is None:
        # Files and programs get unmodified values; a terminal must get no escape sequences from them.
        click.echo(printable(words) if sys.stdout.isatty() else words, nl=False)
        return
    make_parent(output_file)
    with write_atomically(output_file) as stream:
        stream.write(words)
    click.echo(printable(f"→ {output_file}"), err=True)
