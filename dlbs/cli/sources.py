"""Sources of records for all verbs that show results: results files, logs, or a store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dlbs.errors import LogError
from dlbs.results.read.findings import Reading
from dlbs.text import printable

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record

__all__ = ["read_source", "source_options"]


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--db URL` and `--filter-query QUERY`."""

    @click.option("--db", metavar="URL", help="Read from this store; arguments are queries instead of paths.")
    @click.option("--filter-query", metavar="QUERY", help="Keep only experiments that match, as in dlbs parse.")
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


def read_source(
    paths: Sequence[str], db: str | None, filter_query: str | None, reading: Reading | None = None
) -> list[Record]:
    """Read records from files or from a store.

    Problems of logs are reported on standard error; the rest of the logs is read.

    Args:
        paths: Results files, log files, directories, patterns; with `db`, queries, of which any must match; none selects all.
        db: The store's URL, or the path of an SQLite file.
        filter_query: Keeps only experiments that match.
        reading: Collects problems of logs.

    Raises:
        LogError: A source is missing, unreadable or malformed, or no experiment is left.
    """
    from dlbs.machine.devices import usable_cpus
    from dlbs.results.read.records import load_records

    if db is not None:
        from dlbs.results.read.query import compile_query
        from dlbs.results.store.store import Store

        with Store(db, create=False) as store:
            records = store.records([compile_query(query) for query in paths])
    elif not paths:
        raise LogError("no logs or results given", hint="name a results file, logs or directories, or --db URL")
    else:
        reading = reading if reading is not None else Reading()
        records = load_records(paths, reading, jobs=len(usable_cpus()))
        for line in reading.messages():
            click.echo(printable(f"note: {line}"), err=True)
    if filter_query:
        from dlbs.results.read.query import check_keys, compile_query

        query = compile_query(filter_query)
        check_keys(query.names, set().union(*records))
        records = list(filter(query, records))
    if not records:
        where = " ".join(paths) or str(db)
        raise LogError("no experiments to report", where=where, hint="dlbs parse prints the contents of logs")
    return records
