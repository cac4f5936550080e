"""Common parts of verbs about results: sources of results, formats, and printed tables."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.text import printable
from dlbs.cli.streams import console, note
from dlbs.core.errors import LogError, registered
from dlbs.core.files import make_parent, write_atomically, write_bytes
from dlbs.results.read.onelog import Reading
from dlbs.results.tables.formats import BINARY_FORMATS, FORMAT_OF, FORMATS, TERMINAL

if TYPE_CHECKING:
    from dlbs.config.declarations import Parameter
    from dlbs.results.runs import Runs
    from dlbs.results.tables.table import Table


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
            suffix = Path(kwargs["output_file"].removesuffix(".gz")).suffix.lower()
            if suffix in {".xlsx", ".xls", ".ods"}:
                raise click.UsageError(f"--output-file: {suffix} is no format of tables (write .csv)")
            form = FORMAT_OF.get(suffix, form)
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
    note(f"→ {output_file}")


def write_text(words: str, output_file: str | None) -> None:
    """Write a text to a file, or to standard output."""
    if output_file is None:
        # Files and programs get unmodified values; a terminal must get no escape sequences from them.
        click.echo(printable(words) if sys.stdout.isatty() else words, nl=False)
        return
    make_parent(output_file)
    with write_atomically(output_file) as stream:
        stream.write(words)
    note(f"→ {output_file}")


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--db URL` and `--filter-query QUERY`."""

    query = click.option("--filter-query", metavar="QUERY", help="Keep only experiments that match, as in dlbs parse.")
    store = click.option("--db", metavar="URL", help="Read from this store; arguments are queries instead of paths.")
    return store(query(function))


def read_source(paths: Sequence[str], db: str | None, filter_query: str | None, reading: Reading | None = None) -> Runs:
    """Read runs from files or from a store.

    Problems of logs are reported on standard error; the rest of the logs is read.

    Args:
        paths: Results files, log files, directories, patterns; with `db`, queries, of which any must match; none selects all.
        db: The store's URL, or the path of an SQLite file.
        filter_query: Keeps only experiments that match.
        reading: Collects problems of logs.

    Raises:
        LogError: A source is missing, unreadable or malformed, or no experiment is left.
    """
    from dlbs.results.runs import Runs

    if db is not None:
        from dlbs.results.read.query import compile_query
        from dlbs.results.store.store import Store

        with Store(db, create=False) as store:
            blocks = [store.runs([compile_query(query) for query in paths])]
    elif not paths:
        raise LogError("no logs or results given", hint="name a results file, logs or directories, or --db URL")
    else:
        blocks = read_files(paths, reading)
    if filter_query:
        from dlbs.results.read.query import check_keys, compile_query

        query = compile_query(filter_query)
        check_keys(query.names, {name for block in blocks for name in block.table.names if name != "db.id"})
        blocks = list(map(query.of, blocks))  # one by one: of a file without matching runs, no other columns are read
    records = Runs.of(Runs.together(blocks), declarations())
    if not records:
        where = " ".join(paths) or str(db)
        raise LogError("no experiments to report", where=where, hint="dlbs parse prints the contents of logs")
    return records


def read_files(paths: Sequence[str], reading: Reading | None = None, *, in_groups: bool = False) -> list[Runs]:
    """Read runs of results files and logs as `read_blocks` does; problems of logs are reported on standard error."""
    from dlbs.machine.resources import usable_cpus
    from dlbs.results.read.records import read_blocks

    reading = reading if reading is not None else Reading()
    blocks = read_blocks(paths, reading, jobs=len(usable_cpus()), in_groups=in_groups)
    for line in reading.messages():
        note(f"note: {line}")
    return blocks


def declarations() -> Mapping[str, Parameter]:
    """The declared parameters of the shipped configuration."""
    from dlbs.config.load import load_config

    return load_config().declarations
