"""The verbs `db tags`, `db list` and `db rm`: list the contents of a store, and remove parts of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

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

__all__ = ["history_of", "list_command", "rm_command", "tags_command"]

_MOST_SHOWN = 8  # matching experiments


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
    """List the tags of a store, each with its number of runs, their machines, and the times of the first and last run.

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
    """List the experiments of a store, one per line: number of runs, time of the last run, and exp.id.

    WORDs are as for dlbs db query --history.

    \b
    Examples:
      dlbs db list
      dlbs db list resnet18 training
    """
    from dlbs.results.history.trends import fits_words
    from dlbs.results.tables.table import Cell, Table

    found = _experiments([run for run in _runs(db) if fits_words(run.record, " ".join(words))])
    if words and not found:
        raise LogError("no experiment has all these words", where=" ".join(words), hint="dlbs db list shows all")
    if form == "json":
        print_json(
            [
                {"experiment": one.label, "runs": one.runs, "last": one.last, "tags": one.tags, "exp.id": one.ids}
                for one in found
            ]
        )
        return
    cells = [
        [Cell(str(one.runs)), Cell(one.last or "-"), Cell(", ".join(one.tags) or "-"), Cell(one.id_words)]
        for one in found
    ]
    columns = ["runs", "last", "tags", "exp.id"]
    title = counted(len(found), "experiment")
    print_tables([Table(title, ["experiment"], [[one.label] for one in found], columns, cells)], form)


class _Experiment(NamedTuple):
    """An experiment of a store: label, runs, time of the last run, tags, and `exp.id`, one for each repeat."""

    label: str
    members: list[Run]
    last: str
    tags: list[str]
    ids: list[str]

    @property
    def runs(self) -> int:
        return len(self.members)

    @property
    def id_words(self) -> str:
        return self.ids[0] or "-" if len(self.ids) == 1 else counted(len(self.ids), "repeat")


def _experiments(runs: list[Run]) -> list[_Experiment]:
    from dlbs.config.load import load_config
    from dlbs.results.history.contents import NO_TAG, tags_in
    from dlbs.results.history.trends import experiments_of

    made = []
    for label, members in experiments_of(runs, load_config().declarations).items():
        shares = tags_in(members)
        tags = [share.name for share in shares if share.name != NO_TAG]
        ids = list(dict.fromkeys(text(run.record.get("exp.id")) for run in members))
        last = max(shares, key=lambda share: share.ended).last
        made.append(_Experiment(label, members, last, tags, ids))
    return made


def history_of(store: Store, words: str) -> list[Record]:
    """All runs of one experiment in chronological order, found by its `exp.id` or by words that only it has.

    Raises:
        LogError: No experiment, or several, match; the message lists them.
    """
    from dlbs.results.history.trends import Run, fits_words, slim
    from dlbs.results.read.moments import order_of

    if found := store.records(exp_id=words):
        return found
    runs = [Run(number, slim(record)) for number, record in store.rows() if fits_words(record, words)]
    experiments = _experiments(runs)
    if not experiments:
        raise LogError("no such experiment", where=words, hint="dlbs db list shows all")
    if len(experiments) > 1:
        shown = "".join(f"\n  {one.label}" for one in experiments[:_MOST_SHOWN])
        more = f"\n  and {len(experiments) - _MOST_SHOWN} more" if len(experiments) > _MOST_SHOWN else ""
        raise LogError(f"{len(experiments)} experiments match; add words of one of:{shown}{more}", where=words)
    rows = store.rows(ids=[run.id for run in experiments[0].members])
    return sorted((record for _, record in rows), key=lambda record: order_of(record.get("exp.start_time")))


@click.command("rm", context_settings=CONTEXT)
@click.argument("queries", metavar="[QUERY]...", nargs=-1)
@click.option(
    "--tag", metavar="WORD", help="Remove runs that have this tag; with queries, only those that also match one."
)
@click.option("--only-tag", is_flag=True, help="With --tag: remove only the tag, and keep the runs.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@json_option
@url_option
@common_options
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
    from dlbs.results.read.query import check_keys, compile_query
    from dlbs.results.store.store import Store

    if not queries and tag is None:
        raise click.UsageError("no runs selected: give a QUERY or --tag WORD; '${db.added} > \"\"' selects all")
    if only_tag and tag is None:
        raise click.UsageError("--only-tag requires --tag WORD")
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
    click.echo(printable(f"{'would remove' if dry_run else 'removed'} {what}"), err=True)
