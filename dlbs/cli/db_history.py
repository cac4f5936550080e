"""The verbs `db tags`, `db list` and `db rm`: what a store holds, and removing some of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.options import CONTEXT, common_options, url_option
from dlbs.cli.tables import format_option, print_tables
from dlbs.errors import LogError
from dlbs.text import counted, printable, text

if TYPE_CHECKING:
    from dlbs.results.history.trends import Run
    from dlbs.results.read.onelog import Record
    from dlbs.results.store.store import Store
    from dlbs.results.tables.table import Table

__all__ = ["list_command", "one_experiment", "rm_command", "tags_command"]

_MOST_SHOWN = 8  # experiments that words may mean


def _runs(db: str) -> list[Run]:
    from dlbs.results.history.trends import Run, slim
    from dlbs.results.store.store import Store

    with Store(db, create=False) as store:
        return [Run(number, slim(record)) for number, record in store.rows()]


@click.command("tags", context_settings=CONTEXT)
@format_option
@url_option
@common_options
def tags_command(form: str, db: str) -> None:
    """List the tags of a store: how many runs each has, on which machines, and from when to when they ran.

    \b
    Examples:
      dlbs db tags
      dlbs db tags --db postgresql+psycopg://bench@db.example.org/results --json
    """
    from dlbs.results.history.contents import tags_in
    from dlbs.results.tables.table import Cell, Table

    shares = tags_in(_runs(db))
    if form == "json":
        print_json(
            [
                {
                    "tag": share.name, "runs": share.runs, "failed": share.failed, "experiments": len(share.experiments),
                    "machines": list(share.others), "first": share.first, "last": share.last,
                }
                for share in shares
            ]
        )  # fmt: skip
        return
    cells = [
        [
            Cell(str(share.runs)), Cell(str(share.failed)), Cell(str(len(share.experiments))), Cell(share.first or "-"), Cell(share.last or "-"),
            Cell("; ".join(share.others)),
        ]
        for share in shares
    ]  # fmt: skip
    columns = ["runs", "failed", "experiments", "first", "last", "machines"]
    print_tables(
        [Table(counted(len(shares), "tag"), ["tag"], [[share.name] for share in shares], columns, cells)], form
    )


@click.command("list", context_settings=CONTEXT)
@click.argument("words", metavar="[WORD]...", nargs=-1)
@format_option
@url_option
@common_options
def list_command(words: tuple[str, ...], form: str, db: str) -> None:
    """List the experiments of a store, a line for each: how often each ran, when last, and its exp.id. WORDs are as for db query --history.

    \b
    Examples:
      dlbs db list
      dlbs db list resnet18 training
    """
    from dlbs.results.history.trends import fits_words

    runs = [run for run in _runs(db) if fits_words(run.record, " ".join(words))]
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(text(run.record.get("exp.id")), []).append(run)
    if words and not found:
        raise LogError("no experiment has all these words", where=" ".join(words), hint="dlbs db list shows all")
    if form == "json":
        print_json(
            [
                {"experiment": label, "runs": len(members), "last": last, "tags": tags, "exp.id": one}
                for one, members, label, last, tags in _described(found)
            ]
        )
        return
    print_tables([_listing(found)], form)


def _described(found: dict[str, list[Run]]) -> list[tuple[str, list[Run], str, str, list[str]]]:
    """For each experiment its ID, its runs, its label, when it ran last, and its tags."""
    from dlbs.config.load import load_config
    from dlbs.results.export.labels import naming_parameters
    from dlbs.results.history.contents import tags_in

    names = naming_parameters([members[0].record for members in found.values()], load_config().declarations)
    names = [name for name in names if name != "exp.id"]
    made = []
    for one, members in found.items():
        shares = tags_in(members)
        last = max(share.last for share in shares)
        tags = [share.name for share in shares if share.name != "(no tag)"]
        made.append((one, members, _label(members[0].record, names), last, tags))
    return made


def _label(record: Record, names: list[str]) -> str:
    from dlbs.experiment import describe

    return describe(record, names, whole=True)


def _listing(found: dict[str, list[Run]]) -> Table:
    from dlbs.results.tables.table import Cell, Table

    described = _described(found)
    cells = [
        [Cell(str(len(members))), Cell(last or "-"), Cell(", ".join(tags) or "-"), Cell(one or "-")]
        for one, members, _, last, tags in described
    ]
    rows = [[label] for _, _, label, _, _ in described]
    return Table(counted(len(found), "experiment"), ["experiment"], rows, ["runs", "last", "tags", "exp.id"], cells)


def one_experiment(store: Store, words: str) -> str:
    """The `exp.id` of the one experiment that is meant: by its ID, or by words that no other experiment has all of.

    Raises:
        LogError: No experiment has these words, or several have; they are named.
    """
    from dlbs.results.history.trends import Run, fits_words, slim

    found: dict[str, list[Run]] = {}
    for number, record in store.rows():
        one = text(record.get("exp.id"))
        if one == words:
            return words
        if one and fits_words(record, words):
            found.setdefault(one, []).append(Run(number, slim(record)))
    if not found:
        raise LogError("no such experiment", where=words, hint="dlbs db list shows all, with their exp.id")
    if len(found) > 1:
        shown = "".join(f"\n  {label}: {one}" for one, _, label, _, _ in _described(found)[:_MOST_SHOWN])
        more = f"\n  and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise LogError(
            f"{len(found)} experiments have these words; add some, or give exp.id:{shown}{more}", where=words
        )
    return next(iter(found))


@click.command("rm", context_settings=CONTEXT)
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--tag", metavar="WORD", help="Remove the runs that have this tag; with queries, those that fit one, too."
)
@click.option("--only-tag", is_flag=True, help="With --tag: keep the runs, and remove the tag from them.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@url_option
@common_options
def rm_command(
    queries: tuple[str, ...], tag: str | None, only_tag: bool, dry_run: bool, yes: bool, as_json: bool, db: str
) -> None:
    """Remove runs from a store, for good: those that fit any of the queries, or have a tag. Logs stay where they are.

    \b
    Examples:
      dlbs db rm --tag wrong --dry-run
      dlbs db rm --tag wrong --only-tag
      dlbs db rm '{"exp.status": "failure"}' --yes
    """
    from dlbs.results.read.query import check_keys, compile_query
    from dlbs.results.store.store import Store

    if not queries and tag is None:
        raise click.UsageError("which runs? Give a QUERY or --tag WORD; '${db.added} > \"\"' is all of them")
    if only_tag and tag is None:
        raise click.UsageError("--only-tag needs --tag WORD")
    tests = [compile_query(query) for query in queries]
    known: dict[str, None] = {}
    with Store(db, create=False) as store:
        ids = []
        for number, record in store.rows():
            known.update(dict.fromkeys(record))
            if (tag is None or tag in record["db.tags"]) and (not tests or any(fits(record) for fits in tests)):
                ids.append(number)
        for test in tests:
            check_keys(test.names, known, "query")
        if not ids:
            raise LogError(
                "no such runs", where=tag or " ".join(queries), hint="dlbs db tags and db list show what there is"
            )
        what = f"the tag {tag!r} from {counted(len(ids), 'run')}" if only_tag else counted(len(ids), "run")
        if not (dry_run or yes):
            if not sys.stdin.isatty():
                raise LogError(f"would remove {what}", where="db rm", hint="--yes removes without asking")
            click.confirm(printable(f"Remove {what} from the store?"), abort=True, err=True)
        removed = 0 if dry_run else store.remove(ids, tag if only_tag else None)
    if as_json:
        print_json({"found": len(ids), "removed": removed, "only_tag": tag if only_tag else None})
        return
    click.echo(printable(f"{'would remove' if dry_run else 'removed'} {what}"), err=True)
