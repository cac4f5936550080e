"""The verb `report`: results in; tables, scores, time series and pages for people out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dlbs.cli.options import CONTEXT, common_options, console, names_option
from dlbs.cli.sources import read_source, source_options
from dlbs.errors import LogError
from dlbs.files import write_atomically
from dlbs.results.read.findings import Reading

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record
    from dlbs.results.tables.pivot import Table

__all__ = ["format_options", "print_tables", "report_command", "write_text"]

format_options = click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "csv", "json", "html", "latex"]),
    default="terminal",
    show_default=True,
    help="How tables are written.",
)


@click.command("report", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["regular", "weak", "strong"]),
    default="regular",
    show_default=True,
    help="Kind of tables: models against batches, or scaling over devices.",
)
@names_option("--rows", "Parameters whose values label the rows.")
@names_option("--cols", "Parameters whose values label the columns.")
@names_option("--values", "Keys of the quantities in the cells.")
@click.option(
    "--aggregate",
    type=click.Choice(["median", "mean", "min", "max", "std", "sum", "count"]),
    default="median",
    show_default=True,
    help="What becomes of several values in a cell.",
)
@names_option("--over", "Aggregate over these parameters too, instead of making tables for each of their values.")
@click.option("--scores", is_flag=True, help="One score for each benchmark, and their weighted geometric mean.")
@click.option("--explain", is_flag=True, help="Print formulas with their numbers.")
@click.option("--series", metavar="LOG", help="Look at the batch times of one experiment.")
@click.option("--html", "page", metavar="FILE", help="Write a page with everything, which opens from the disk.")
@format_options
@click.option("--output-file", "-o", metavar="FILE", help="Write there instead of standard output.")
@source_options
@common_options
def report_command(
    paths: tuple[str, ...],
    kind: str,
    rows: list[str],
    cols: list[str],
    values: list[str],
    aggregate: str,
    over: list[str],
    scores: bool,
    explain: bool,
    series: str | None,
    page: str | None,
    form: str,
    output_file: str | None,
    db: str | None,
    filter_query: str | None,
) -> None:
    """Print tables of results: throughput and batch time, scaling, scores, or whatever you ask for.

    PATH is a results file that `dlbs parse` wrote, or whatever `dlbs parse` reads. Experiments that differ in more than rows, columns
    and repeat get tables of their own.

    \b
    Examples:
      dlbs report results.json --type regular
      dlbs report logs --filter_query '{"exp.phase": "inference"}'
      dlbs report logs --type strong --explain
      dlbs report logs --rows exp.model,exp.dtype --cols exp.replica_batch --values results.time_p99 --format markdown
      dlbs report logs --scores
      dlbs report logs --html report.html
      dlbs report --series logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log
      dlbs report --db results.db '{"exp.model": "resnet.*"}'
    """
    from dlbs.config.load import load_config

    if series is not None:
        from dlbs.cli.series import print_series

        print_series(series, form)
        return
    reading = Reading()
    records = read_source(paths, db, filter_query, reading)
    if page is not None:
        from dlbs.results.page.page import write_page

        write_page(page, records, load_config().declarations, logs=reading.paths)
        click.echo(f"{len(records)} experiments → {page}", err=True)
        return
    tables = _tables(records, kind, rows, cols, values, aggregate, over, scores, explain)
    print_tables(tables, form, output_file)


def _tables(
    records: Sequence[Record],
    kind: str,
    rows: list[str],
    cols: list[str],
    values: list[str],
    aggregate: str,
    over: list[str],
    scores: bool,
    explain: bool,
) -> list[Table]:
    from dlbs.config.load import load_config
    from dlbs.errors import did_you_mean
    from dlbs.results.tables import pivot as tables
    from dlbs.results.tables.scaling import scaling_tables
    from dlbs.results.tables.scores import score_table
    from dlbs.results.tables.scores import scores as scores_of

    declarations = load_config().declarations
    known = set().union(*records)
    for flag, names in (("--rows", rows), ("--cols", cols), ("--values", values), ("--over", over)):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or "dlbs parse LOG shows the keys of a log"
                raise LogError(f"no experiment has {name!r}", where=flag, hint=hint)
    if scores:
        return [score_table(scores_of(records, declarations), explain=explain)]
    if rows or cols or values or over or aggregate != "median":
        if kind != "regular":
            given = {
                "--rows": rows,
                "--cols": cols,
                "--values": values,
                "--over": over,
                "--aggregate": aggregate != "median",
            }
            flags = [flag for flag, value in given.items() if value]
            raise LogError(
                "has tables of its own",
                where=f"--type {kind}",
                hint=f"leave out {' and '.join(flags)}, or --type {kind}",
            )
        return tables.custom_tables(
            records,
            declarations,
            rows or ["exp.model"],
            cols or (["exp.replica_batch"] if "exp.replica_batch" not in rows else []),
            values or ["results.throughput", "results.time"],
            aggregate=aggregate,
            without=["exp.effective_batch", *over],
        )
    if kind != "regular":
        return scaling_tables(records, declarations, kind, explain=explain)
    return tables.regular_tables(records, declarations)


def print_tables(tables: Sequence[Table], form: str, output_file: str | None = None) -> None:
    """Write tables to a file or to standard output."""
    from dlbs.results.tables.formats import rich_table, write_tables
    from dlbs.text import printable

    if form == "terminal" and output_file is None:
        out = console()
        for table in tables:
            out.print(rich_table(table, wrap=sys.stdout.isatty()))
            for line in (*table.legend, *table.formulas):
                out.print(f"  {printable(line)}")
            out.print()
        return
    write_text(write_tables(tables, "markdown" if form == "terminal" else form), output_file)


def write_text(words: str, output_file: str | None) -> None:
    """Write a text to a file, or to standard output."""
    if output_file is None:
        click.echo(words, nl=False)
        return
    with write_atomically(output_file) as stream:
        stream.write(words)
    click.echo(f"→ {output_file}", err=True)
