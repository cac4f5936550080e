"""The verb `db`: store results in a database, query it, list its contents, and remove parts of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.text import printable
from dlbs.cli.options import CONTEXT, Group, json_option, names_option, print_json, verb
from dlbs.cli.streams import note
from dlbs.cli.tables import declarations, format_option, print_tables, read_files
from dlbs.core.errors import LogError
from dlbs.core.text import counted, is_utf8

if TYPE_CHECKING:
    from dlbs.results.runs import Runs


url_option = click.option(
    "--db",
    metavar="URL",
    envvar="DLBS_DB",
    default="results.db",
    show_default=True,
    help="SQLite file or SQLAlchemy URL; also set by DLBS_DB.",
)


@click.group(
    "db",
    cls=Group,
    context_settings=CONTEXT,
)
def db_command() -> None:
    """Store results in a database, and query what was measured when, on which machine.

    \b
    Examples:
      dlbs db add logs --tag v1.2
      dlbs db query '{"exp.model": "resnet.*"}'
      dlbs db query --history 'resnet18 training 16'
      dlbs db export --output-file all.json
    """


@verb("add", group=db_command, short_help="Add results of logs and results files.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--tag", metavar="WORD", help="Tag the experiments, for queries (db.tags).")
@url_option
def add_command(paths: tuple[str, ...], tag: str | None, db: str) -> None:
    """Add the results of logs and results files; results that exist already are not added again.

    Experiments that are still running are skipped.

    \b
    Examples:
      dlbs db add logs
      dlbs db add before.json --tag v1.1 \\
        --db postgresql+psycopg://bench@db.example.org/results
    """
    from dlbs.results.store.store import Store

    if tag is not None and not 0 < len(tag) <= 200:
        raise LogError("a tag must have 1 to 200 letters", where="--tag")
    if tag is not None and not is_utf8(tag):
        raise LogError(f"{tag!r} is not UTF-8", where="--tag")
    blocks = read_files(paths, in_groups=True)
    if not any(map(len, blocks)):
        raise LogError("no experiments to add", where=" ".join(paths), hint="dlbs parse prints the contents of logs")
    with Store(db) as store:
        # None is kept: a column of a Parquet file that was read stays in its block.
        added = store.add_blocks((blocks.pop(0) for _ in range(len(blocks))), tag)
    words = f"{added.new} new, {added.known} already known"
    words += f", {added.unfinished} unfinished, skipped" if added.unfinished else ""
    note(words)


@verb("tags", group=db_command, short_help="List tags, and the runs that have them.")
@format_option
@url_option
def tags_command(form: str, db: str) -> None:
    """List the tags of a store, each with its number of runs, their machines, and the times of the first and last run.

    \b
    Examples:
      dlbs db tags
      dlbs db tags --db postgresql+psycopg://bench@db.example.org/results --json
    """
    from dlbs.results.trends import tags_in

    shares = tags_in(_runs(db))
    rows = [
        {
            "tag": share.name, "runs": share.runs, "failed": share.failed, "experiments": share.experiments, "first": share.first,
            "last": share.last, "machines": share.others,
        }
        for share in shares
    ]  # fmt: skip
    _print_rows(counted(len(rows), "tag"), rows, form)


def _print_rows(title: str, rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print rows as JSON, or as a table whose rows are labelled by their first value; lists are joined."""
    from dlbs.results.tables.table import Cell, Table

    if form == "json":
        print_json(rows)
        return
    names = list(rows[0]) if rows else [""]
    words = [[", ".join(one) if isinstance(one, list) else str(one) for one in row.values()] for row in rows]
    cells = [[Cell(one or "-") for one in row[1:]] for row in words]
    print_tables([Table(title, names[:1], [row[:1] for row in words], names[1:], cells)], form)


@verb("list", group=db_command, short_help="List experiments, and their numbers of runs.")
@click.argument("words", metavar="[WORD]...", nargs=-1)
@format_option
@url_option
def list_command(words: tuple[str, ...], form: str, db: str) -> None:
    """List the experiments of a store, one per line: number of runs, time of the last run, and exp.id.

    WORDs are as for dlbs db query --history.

    \b
    Examples:
      dlbs db list
      dlbs db list resnet18 training
    """
    from dlbs.results.read.query import words_of
    from dlbs.results.store.store import Store
    from dlbs.results.trends import stored_experiments

    with Store(db, create=False, declarations=declarations()) as store:
        runs = store.runs(ids=store.search(words_of(" ".join(words))) if words else None)
    found = stored_experiments(runs)
    if words and not found:
        raise LogError("no experiment has all these words", where=" ".join(words), hint="dlbs db list shows all")
    rows = [
        {
            "experiment": one.label, "runs": one.runs, "last": one.last, "tags": one.tags,
            "exp.id": one.ids if form == "json" else one.id_words,
        }
        for one in found
    ]  # fmt: skip
    _print_rows(counted(len(rows), "experiment"), rows, form)


@verb("query", group=db_command, short_help="Show experiments, or the history of one.")
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--history",
    metavar="WORDS",
    help="Show all runs of one experiment and the changes between them; WORDS are values of the experiment, or its exp.id.",
)
@names_option("--columns", "Keys to show.")
@format_option
@url_option
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
    from dlbs.results.read.query import check_keys, compile_query
    from dlbs.results.store.store import Store
    from dlbs.results.tables.lists import history_table, listing_table
    from dlbs.results.trends import change_lines, history_of

    with Store(db, create=False, declarations=declarations()) as store:
        tests = [compile_query(query) for query in queries]
        records = history_of(store, history) if history else store.runs(tests)
    if history and tests:
        records = records.where([any(fits(record) for fits in tests) for record in records])
    if not records:
        raise LogError("no such experiment", where=" ".join(queries) or db, hint="dlbs db query lists all")
    check_keys(columns, records.names, "--columns")
    if form == "json":
        print_json([{name: one[name] for name in columns or one if name in one} for one in records])
        return
    table = history_table(records, columns) if history else listing_table(records, columns)
    print_tables([table], form)
    for line in change_lines(records) if history else ():
        note(line)


@verb("export", group=db_command, short_help="Write experiments to a results file.")
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--output-file",
    "-o",
    metavar="FILE",
    help="Output file: .json, .jsonl or .csv (optionally .gz), or .parquet; standard output by default.",
)
@url_option
def export_command(queries: tuple[str, ...], output_file: str | None, db: str) -> None:
    """Write experiments that match any of the queries to a file that dlbs report reads; all without a query.

    \b
    Examples:
      dlbs db export --output-file all.json.gz
      dlbs db export '{"db.tags": "v1.2"}' --output-file v1.2.csv
    """
    from dlbs.results.read.query import compile_query
    from dlbs.results.read.records import write_records
    from dlbs.results.store.store import Store

    with Store(db, create=False) as store:
        records = store.runs([compile_query(query) for query in queries])
    write_records(output_file, records)
    note(counted(len(records), "experiment") + (f" → {output_file}" if output_file else ""))


def _runs(db: str) -> Runs:
    from dlbs.results.store.store import Store

    with Store(db, create=False) as store:
        return store.runs()


@verb("rm", group=db_command, short_help="Remove runs, or a tag.", requires={"only_tag": "tag"})
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--tag", metavar="WORD", help="Remove runs that have this tag; with queries, only those that also match one."
)
@click.option("--only-tag", is_flag=True, help="With --tag: remove only the tag, and keep the runs.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@json_option
@url_option
def rm_command(
    queries: tuple[str, ...], tag: str | None, only_tag: bool, dry_run: bool, yes: bool, as_json: bool, db: str
) -> None:
    """Remove runs from a store permanently: those that match any of the queries, and have the tag if --tag is given.

    Logs are not removed.

    \b
    Examples:
      dlbs db rm --tag wrong --dry-run
      dlbs db rm --tag wrong --only-tag
      dlbs db rm '{"exp.status": "failure"}' --yes
    """
    from dlbs.results.read.query import compile_query
    from dlbs.results.store.store import Store

    if not queries and tag is None:
        raise click.UsageError("no runs selected: give a QUERY or --tag WORD; '${db.added} > \"\"' selects all")
    with Store(db, create=False) as store:
        runs = store.runs([compile_query(query) for query in queries])
        ids = runs.where([tag is None or tag in tags for tags in runs.values("db.tags")]).values("db.id")
        if not ids:
            raise LogError(
                "no such runs", where=tag or " ".join(queries), hint="dlbs db tags and dlbs db list show the contents"
            )
        what = f"the tag {tag!r} from {counted(len(ids), 'run')}" if only_tag else counted(len(ids), "run")
        if not (dry_run or yes):
            if not sys.stdin.isatty():
                raise LogError(f"would remove {what}", where="db rm", hint="--yes removes without confirmation")
            click.confirm(printable(f"Remove {what} from the store?"), abort=True, err=True)
        removed = 0 if dry_run else store.remove(ids, tag if only_tag else None)
    if as_json:
        print_json({"found": len(ids), "removed": removed, "only_tag": tag if only_tag else None})
        return
    note(f"{'would remove' if dry_run else 'removed'} {what}")
