"""The verb `report`: tables, scores, time series and pages of results."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.cli.sources import read_source, source_options
from dlbs.cli.tables import format_option, output_option, print_tables, write_text
from dlbs.errors import LogError
from dlbs.results.read.findings import Reading
from dlbs.results.tables.aggregates import AGGREGATES
from dlbs.results.tables.formats import TERMINAL
from dlbs.results.tables.kinds import KINDS
from dlbs.text import counted, printable, text

if TYPE_CHECKING:
    from dlbs.results.read.onelog import Record
    from dlbs.results.tables.table import Table

__all__ = ["report_command"]

# Additional options of these modes.
_EFFECTIVE = {
    "series": ("form", "output_file"),
    "page": ("paths", "db", "filter_query", "title", "plots", "against"),
    "summary": ("paths", "db", "filter_query", "values", "form", "output_file"),
    "scores": ("paths", "db", "filter_query", "explain", "form", "output_file"),
}


@click.command("report", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(KINDS)),
    default="regular",
    show_default=True,
    help="Kind of tables: varied parameters against batch sizes, or scaling over devices.",
)
@names_option("--rows", "Parameters whose values label the rows.")
@names_option("--cols", "Parameters whose values label the columns.")
@names_option("--values", "Keys of the quantities in the cells.")
@click.option(
    "--aggregate",
    type=click.Choice(list(AGGREGATES)),
    default="median",
    show_default=True,
    help="How several values in a cell are aggregated.",
)
@names_option("--over", "Also aggregate over these parameters, instead of printing a table for each of their values.")
@click.option("--scores", is_flag=True, help="Print one score per benchmark, and their weighted geometric mean.")
@click.option("--explain", is_flag=True, help="Explain how each number was computed.")
@click.option(
    "--summary", is_flag=True, help="Print the distinct values of each parameter, or of the keys in --values."
)
@click.option("--series", metavar="PATH", help="Analyse the batch times in a log, or in all logs of a directory.")
@click.option("--html", "page", metavar="FILE", help="Write an HTML page with all results, which needs no server.")
@click.option("--title", metavar="TEXT", help="With --html: title of the page.")
@names_option("--plots", "With --html: kinds of plots; by default those with enough results.")
@click.option("--against", metavar="PATH", help="With --html: earlier results; the summary lists regressions.")
@format_option
@output_option
@source_options
@common_options
def report_command(
    paths: tuple[str, ...],
    db: str | None,
    filter_query: str | None,
    series: str | None,
    summary: bool,
    page: str | None,
    title: str | None,
    plots: list[str],
    against: str | None,
    form: str,
    output_file: str | None,
    **contents: Any,
) -> None:
    """Print tables of results: throughput and batch time, scaling, scores, or other quantities.

    PATH is a results file of `dlbs parse`, or anything that `dlbs parse` reads. Experiments that differ in more than rows, columns
    and repeat get separate tables.

    \b
    Examples:
      dlbs report results.json --type regular
      dlbs report logs --filter_query '{"exp.phase": "inference"}'
      dlbs report logs --type strong --explain
      dlbs report logs --rows exp.model,exp.dtype --cols exp.replica_batch \\
        --values results.time_p99 --format markdown
      dlbs report logs --scores
      dlbs report logs --summary
      dlbs report logs --html report.html --title "Release 2.1" \\
        --against before.json
      dlbs report --series logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log
      dlbs report --db results.db '{"exp.model": "resnet.*"}'
    """
    from dlbs.config.load import load_config

    for flag, given in (("--title", title is not None), ("--plots", plots), ("--against", against is not None)):
        if given and page is None:
            raise LogError("requires --html FILE", where=flag, hint=f"add it, or remove {flag}")
    _refuse_what_has_no_effect()
    if series is not None:
        _print_series(series, form, output_file)
        return
    reading = Reading()
    records = read_source(paths, db, filter_query, reading)
    if page is not None:
        from dlbs.results.page.changes import changes_since
        from dlbs.results.page.content import Chosen
        from dlbs.results.page.page import write_page

        declarations = load_config().declarations
        changes = None
        if against is not None:
            changes = changes_since(against, read_source([against], db, None), records, declarations)
        chosen = Chosen(title, plots or None, changes)
        write_page(page, records, declarations, logs=reading.paths, chosen=chosen)
        click.echo(printable(f"{counted(len(records), 'experiment')} → {page}"), err=True)
        return
    if summary:
        from dlbs.results.read.query import check_keys
        from dlbs.results.tables.summary import summary_table

        names = contents["values"]
        check_keys(names, dict.fromkeys(name for record in records for name in record), "--values")
        print_tables([summary_table(records, load_config().declarations, names)], form, output_file)
        return
    print_tables(_tables(records, **contents), form, output_file)


def _refuse_what_has_no_effect() -> None:
    """Raise a LogError if options were given that --series, --html, --summary or --scores would ignore."""
    context = click.get_current_context()
    chosen = next((name for name in _EFFECTIVE if context.params[name]), None)
    if chosen is None:
        return
    options = [option for option in context.command.params if option.expose_value and option.name is not None]
    without = [
        "PATH" if isinstance(option, click.Argument) else option.opts[0]
        for option in options
        if option.name not in (chosen, *_EFFECTIVE[chosen])
        and context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        and context.params[str(option.name)]
    ]
    if without:
        flag = next(option.opts[0] for option in options if option.name == chosen)
        raise LogError(f"{' and '.join(without)} would have no effect", where=flag, hint="remove one or the other")


def _tables(
    records: Sequence[Record],
    *,
    kind: str,
    rows: list[str],
    cols: list[str],
    values: list[str],
    aggregate: str,
    over: list[str],
    scores: bool,
    explain: bool,
) -> list[Table]:
    """The tables for the given options."""
    from dlbs.config.load import load_config
    from dlbs.results.keys import check_known
    from dlbs.results.registry import registered
    from dlbs.results.tables.default import usual_axes, usual_values
    from dlbs.results.tables.pivot import custom_tables
    from dlbs.results.tables.scores import score_table
    from dlbs.results.tables.scores import scores as scores_of

    declarations = load_config().declarations
    known = set().union(*records)
    for flag, names in (("--rows", rows), ("--cols", cols), ("--values", values), ("--over", over)):
        check_known(names, known, flag)
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
                "prints fixed tables",
                where=f"--type {kind}",
                hint=f"remove {' and '.join(flags)}, or --type {kind}",
            )
        usual_rows, usual_cols = usual_axes(records, declarations, cols=cols)
        return custom_tables(
            records,
            declarations,
            rows or [name for name in usual_rows if name not in (*cols, *over)],
            cols or [name for name in usual_cols if name not in (*rows, *over)],
            values or usual_values(records),
            aggregate=aggregate,
            without=["exp.effective_batch", *over],
            explain=explain,
        )
    made: list[Table] = registered(KINDS, kind, "kind of table")(records, declarations, explain=explain)
    return made


def _print_series(path: str, form: str, output_file: str | None) -> None:
    """Print the batch times in a log, or of each experiment in several: as text, as JSON, or as tables with a row for each batch.

    Raises:
        LogError: A log cannot be read, or no experiment has batch times.
    """
    from dlbs.config.load import load_config
    from dlbs.experiment import describe
    from dlbs.results.grouping import distinguishing_names, label_of
    from dlbs.results.statistics.series import series_of
    from dlbs.results.statistics.steady import smoothed
    from dlbs.results.tables.series import series_lines, series_table

    records = read_source([path], None, None)
    found = [(record, series) for record in records if (series := series_of(record)) is not None]
    if not found:
        raise LogError(
            "has no batch times (results.time_data)",
            where=path,
            hint="only benchmarks that log batch times have a series",
        )
    if len(records) == 1 and os.path.isfile(path):
        labels = [describe(records[0])]
        documents: Any = {**asdict(found[0][1]), "smoothed": smoothed(found[0][1].times)}
    else:
        names = distinguishing_names(records, load_config().declarations)
        names += ["exp.repeat"] if len({text(record.get("exp.repeat")) for record in records}) > 1 else []
        labels = [label_of(record, names) for record, _ in found]
        documents = [
            {"experiment": label, **asdict(series), "smoothed": smoothed(series.times)}
            for label, (_, series) in zip(labels, found, strict=True)
        ]
    if form == "json":
        write_text(json.dumps(documents, indent=1) + "\n", output_file)
        return
    if form != TERMINAL:
        tables = [series_table(label, series) for label, (_, series) in zip(labels, found, strict=True)]
        print_tables(tables, form, output_file)
        return
    lines = [path] if isinstance(documents, dict) else []
    for label, (_, series) in zip(labels, found, strict=True):
        lines += [*([""] if lines and isinstance(documents, list) else []), label, *series_lines(series)]
    write_text("".join(f"{printable(line)}\n" for line in lines), output_file)
    if len(found) < len(records):
        without = len(records) - len(found)
        click.echo(f"note: {without} of {counted(len(records), 'experiment')} without batch times", err=True)
