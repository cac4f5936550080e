"""The verb `db`: store results in a database, and query it."""

from __future__ import annotations

import click

from dlbs.cli.as_json import print_json
from dlbs.cli.options import CONTEXT, LazyGroup, common_options, names_option, url_option
from dlbs.cli.tables import format_option, print_tables
from dlbs.errors import LogError
from dlbs.text import counted, is_utf8

__all__ = ["db_command"]

_HERE = "dlbs.cli.db"


@click.group(
    "db",
    cls=LazyGroup,
    verbs={
        "add": (f"{_HERE}:add_command", "Add results of logs and results files."),
        "tags": ("dlbs.cli.db_history:tags_command", "List tags, and the runs that have them."),
        "list": ("dlbs.cli.db_history:list_command", "List experiments, and their numbers of runs."),
        "query": (f"{_HERE}:query_command", "Show experiments, or the history of one."),
        "export": (f"{_HERE}:export_command", "Write experiments to a results file."),
        "rm": ("dlbs.cli.db_history:rm_command", "Remove runs, or a tag."),
    },
    context_settings=CONTEXT,
)
def db_command() -> None:
    """Store results in a database, and query what was measured when, on which machine.

    \b
    Examples:
      dlbs db add logs --tag v1.2
      dlbs db query '{"exp.model": "resnet.*"}'
      dlbs db query --history 'resnet18 training 16'
      dlbs db export --output_file all.json
    """


@click.command("add", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--tag", metavar="WORD", help="Tag the experiments, for queries (db.tags).")
@url_option
@common_options
def add_command(paths: tuple[str, ...], tag: str | None, db: str) -> None:
    """Add the results of logs and results files; results that exist already are not added again.

    Experiments that are still running are skipped.

    \b
    Examples:
      dlbs db add logs
      dlbs db add before.json --tag v1.1 \\
        --db postgresql+psycopg://bench@db.example.org/results
    """
    from dlbs.cli.sources import read_source
    from dlbs.results.store.store import Store

    if tag is not None and not 0 < len(tag) <= 200:
        raise LogError("a tag must have 1 to 200 letters", where="--tag")
    if tag is not None and not is_utf8(tag):
        raise LogError(f"{tag!r} is not UTF-8", where="--tag")
    records = read_source(paths, None, None)
    with Store(db) as store:
        added = store.add(records, tag)
    words = f"{added.new} new, {added.known} already known"
    words += f", {added.unfinished} unfinished ones skipped" if added.unfinished else ""
    click.echo(words, err=True)


@click.command("query", context_settings=CONTEXT)
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--history",
    metavar="WORDS",
    help="Show all runs of one experiment and the changes between them; WORDS are values of the experiment, or its exp.id.",
)
@names_option("--columns", "Keys to show.")
@format_option
@url_option
@common_options
def query_command(queries: tuple[str, ...], history: str | None, columns: list[str], form: str, db: str) -> None:
    """Show experiments that match any of the queries; all without a query.

    \b
    Examples:
      dlbs db query '{"exp.model": "resnet.*", "db.tags": "v1.2"}'
      dlbs db query '${results.throughput} > 1000' \\
        --columns exp.model,results.throughput,exp.device_title
      dlbs db query --history 'resnet18 training batch 16'
      dlbs db query --history 0a1b2c3d4e5f6071 --format markdown
    """
    from dlbs.cli.db_history import history_of
    from dlbs.config.load import load_config
    from dlbs.results.read.query import check_keys, compile_query
    from dlbs.results.store.store import Store
    from dlbs.results.tables.listing import history_table, listing_table

    with Store(db, create=False) as store:
        tests = [compile_query(query) for query in queries]
        records = history_of(store, history) if history else store.records(tests)
    if history and tests:
        records = [record for record in records if any(fits(record) for fits in tests)]
    if not records:
        raise LogError("no such experiment", where=" ".join(queries) or db, hint="dlbs db query lists all")
    check_keys(columns, set().union(*records), "--columns")
    if form == "json":
        if columns:
            records = [{name: record[name] for name in columns if name in record} for record in records]
        print_json(records)
        return
    declarations = load_config().declarations
    table = history_table(records, columns) if history else listing_table(records, columns, declarations)
    print_tables([table], form)


@click.command("export", context_settings=CONTEXT)
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--output-file",
    "-o",
    metavar="FILE",
    help="Output file: .json, .jsonl or .csv (optionally .gz), or .parquet; standard output by default.",
)
@url_option
@common_options
def export_command(queries: tuple[str, ...], output_file: str | None, db: str) -> None:
    """Write experiments that match any of the queries to a file that dlbs report reads; all without a query.

    \b
    Examples:
      dlbs db export --output_file all.json.gz
      dlbs db export '{"db.tags": "v1.2"}' --output_file v1.2.csv
    """
    from dlbs.results.read.query import compile_query
    from dlbs.results.read.records import write_records
    from dlbs.results.store.store import Store

    with Store(db, create=False) as store:
        records = store.records([compile_query(query) for query in queries])
    write_records(output_file, records)
    click.echo(counted(len(records), "experiment") + (f" → {output_file}" if output_file else ""), err=True)
