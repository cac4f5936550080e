"""The verbs on results: parse, report, plot, export, serve."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark_core.text import printable
from dlbs.cli.options import names_option, verb
from dlbs.cli.streams import note
from dlbs.cli.tables import (
    format_option,
    output_option,
    print_tables,
    read_source,
    source_options,
    write_text,
)
from dlbs.core.errors import LogError
from dlbs.core.text import counted
from dlbs.results.export.kinds import KINDS as EXPORTS
from dlbs.results.plots.draw import STYLES
from dlbs.results.plots.kinds import KINDS as PLOTS
from dlbs.results.read.onelog import Reading
from dlbs.results.tables.cells import AGGREGATES
from dlbs.results.tables.formats import TERMINAL
from dlbs.results.tables.report import KINDS as TABLES
from dlbs.results.tables.report import chosen_tables

if TYPE_CHECKING:
    from dlbs.results.runs import Runs


@verb("parse")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--output-file",
    "-o",
    metavar="FILE",
    help="Output file: .json, .jsonl or .csv (optionally .gz), or .parquet; standard output by default.",
)
@click.option(
    "-P",
    "additions",
    metavar="NAME=VALUE",
    multiple=True,
    help="Add a key; its value may refer to others: -Pmy.name='${exp.model} ${exp.dtype}'.",
)
@names_option("--output-params", "Keep only these keys.")
@names_option("--filter-params", "Keep only experiments that have all these keys.")
@click.option("--filter-query", metavar="QUERY", help="Keep only experiments that match; see the examples.")
@click.option(
    "--failed-benchmarks",
    type=click.Choice(["keep", "discard", "keep_separately"]),
    default="keep",
    show_default=True,
    help="How to treat experiments that did not succeed.",
)
@click.option(
    "--ignore-errors", is_flag=True, help="Continue if a line of a log is malformed, or a log cannot be read."
)
@click.option("--jobs", "-j", type=click.IntRange(1), help="Number of reader processes; by default one per CPU.")
@click.option("--recursive", is_flag=True, help="Always on: directories are searched recursively.")
@click.option("--overwrite", is_flag=True, help="Always on: existing files are replaced.")
def parse_command(
    paths: tuple[str, ...],
    output_file: str | None,
    ignore_errors: bool,
    jobs: int | None,
    recursive: bool,
    overwrite: bool,
    **selected: Any,
) -> None:
    """Convert log files to a table of results.

    PATH is a log file, a directory (searched recursively), a glob pattern, or any of them compressed (.gz, .tar.gz). The
    numbers of failed and unfinished experiments are printed on standard error, as are problems of the logs: truncated or malformed lines,
    binary data, other encodings, duplicate keys. Unchanged logs are not read again.

    \b
    Examples:
      dlbs parse logs --output-file results.json
      dlbs parse 'logs/*.log' \\
        --output-params exp.model,exp.replica_batch,results.time \\
        --output-file results.csv
      dlbs parse logs \\
        --filter-query '{"exp.model": "resnet.*", "exp.replica_batch": [16, 32]}'
      dlbs parse logs -Pmy.name='${exp.model} ${exp.dtype}' \\
        --output-params my.name,results.time
      dlbs parse logs \\
        --filter-query '${results.time} < 10 and "${exp.phase}" == "inference"'
    """
    from dlbs.machine.resources import usable_cpus
    from dlbs.results.read.logs import read_logs
    from dlbs.results.read.onelog import Reading
    from dlbs.results.read.query import Selection
    from dlbs.results.read.records import write_blocks

    for flag, is_given in (("--recursive", recursive), ("--overwrite", overwrite)):
        if is_given:
            note(f"note: {flag} is always on")
    selection = Selection(**selected)
    reading = Reading()

    def blocks() -> Iterator[Runs]:
        yield from selection.kept(read_logs(paths, reading, jobs=jobs or len(usable_cpus())))
        _tell_problems(reading, ignore_errors)  # before writing, because nothing is written after an error

    write_blocks(output_file, blocks(), selection.apart)
    note(selection.summary() + (f" → {output_file}" if output_file else ""))


def _tell_problems(reading: Reading, ignore_errors: bool) -> None:
    """Report problems of the logs on standard error.

    Raises:
        LogError: A result may be lost, and errors are not ignored.
    """
    for line in reading.messages():
        note(f"note: {line}")
    if reading.errors and not ignore_errors:
        places = counted(len(reading.errors), "place")
        raise LogError(
            f"{places} in logs could not be read; nothing was written",
            hint="--ignore-errors skips them",
        )


@verb(
    "report",
    requires={"title": "page", "plots": "page", "against": "page", "per": "best"},
    alone={
        "best": ("paths", "db", "filter_query", "values", "per", "form", "as_json", "output_file"),
        "series": ("form", "as_json", "output_file"),
        "page": ("paths", "db", "filter_query", "title", "plots", "against"),
        "summary": ("paths", "db", "filter_query", "values", "form", "as_json", "output_file"),
        "scores": ("paths", "db", "filter_query", "explain", "form", "as_json", "output_file"),
    },
)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(TABLES)),
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
@click.option(
    "--best", is_flag=True, help="Print the best setting of each model by --values, and those not worse than it."
)
@names_option("--per", "With --best: parameters of which each combination has a best setting; by default the model.")
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

    PATH is a results file of `dlbs parse`, a directory of Parquet files, or anything that `dlbs parse` reads. Experiments that differ
    in more than rows, columns and repeat get separate tables.

    \b
    Examples:
      dlbs report results.json --type regular
      dlbs report logs --filter-query '{"exp.phase": "inference"}'
      dlbs report logs --type strong --explain
      dlbs report logs --rows exp.model,exp.dtype --cols exp.replica_batch \\
        --values results.time_p99 --format markdown
      dlbs report logs --scores
      dlbs report logs --best --per exp.model,exp.dtype
      dlbs report logs --summary
      dlbs report logs --html report.html --title "Release 2.1" \\
        --against before.json
      dlbs report --series logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log
      dlbs report --db results.db '{"exp.model": "resnet.*"}'
    """

    if series is not None:
        _print_series(series, form, output_file)
        return
    reading = Reading()
    records = read_source(paths, db, filter_query, reading)
    if page is not None:
        from dlbs.results.page.comparison import changes_since
        from dlbs.results.page.report import Chosen, write_page

        changes = None
        if against is not None:
            changes = changes_since(against, read_source([against], db, None), records)
        chosen = Chosen(title, plots or None, changes)
        write_page(page, records, logs=reading.paths, chosen=chosen)
        note(f"{counted(len(records), 'experiment')} → {page}")
        return
    if summary:
        from dlbs.results.read.query import check_keys
        from dlbs.results.tables.lists import summary_table

        names = contents["values"]
        check_keys(names, records.names, "--values")
        print_tables([summary_table(records, names)], form, output_file)
        return
    print_tables(chosen_tables(records, **contents), form, output_file)


def _print_series(path: str, form: str, output_file: str | None) -> None:
    """Print the batch times in a log, or of each experiment in several: as text, as JSON, or as tables with a row for each batch.

    Raises:
        LogError: A log cannot be read, or no experiment has batch times.
    """
    from dlbs.core.experiment import describe
    from dlbs.results.grouping import distinguishing_names, label_of, varying
    from dlbs.results.statistics.series import series_of, smoothed
    from dlbs.results.tables.lists import series_lines, series_table

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
        names = [*distinguishing_names(records), *varying(records, ["exp.repeat"])]
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
        note(f"note: {without} of {counted(len(records), 'experiment')} without batch times")


_STYLE_HELP = "; ".join(f"{name}: {words}" for name, words in STYLES.items()) + "."


@verb("plot")
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(PLOTS)),
    metavar="KIND",
    help=f"Kind of plot: {', '.join(PLOTS)}. By default throughput (bars without batch sizes), or axes if one of --x, --y, --series, --facet "
    "or --baseline is given.",
)
@click.option("--output-file", "-o", metavar="FILE", required=True, help="Output file: .png, .svg or .pdf.")
@click.option("--value", metavar="KEY", help="Quantity to plot instead of the default.")
@click.option(
    "--x",
    metavar="KEY",
    help="Horizontal axis: a parameter, numeric or text, or a result; replica batch by default. History: tags or commits.",
)
@names_option("--y", "Quantities, one row of panels each; throughput by default.")
@names_option("--series", "Parameters that separate lines; other differing ones separate them too.")
@names_option("--facet", "Parameters that separate panels, which share their scales.")
@click.option(
    "--baseline",
    metavar="NAME=VALUE",
    multiple=True,
    help="Divide each value by that of the experiment that has this value and is otherwise equal.",
)
@names_option("--mark", "History: tags or commits to mark.")
@click.option("--title", metavar="TEXT", help="Title of the plot.")
@click.option("--style", type=click.Choice(list(STYLES)), default="light", help=_STYLE_HELP)
@click.option("--size", metavar="WxH", help="Size of the figure: 8x5 (inches), 16x9cm, 120x80mm or 1200x700px.")
@click.option(
    "--log-scale/--linear-scale", default=None, help="Scale of the quantity's axis; by default chosen by its range."
)
@click.option("--log-x/--linear-x", default=None, help="Scale of the horizontal axis; by default chosen by its values.")
@click.option(
    "--peak-tflops", type=float, metavar="N", help="Roofline: peak of the device, in 10^12 operations per second."
)
@click.option("--peak-bandwidth", type=float, metavar="N", help="Roofline: memory bandwidth, in 10^9 bytes per second.")
@source_options
def plot_command(
    paths: tuple[str, ...],
    kind: str | None,
    output_file: str,
    baseline: tuple[str, ...],
    db: str | None,
    filter_query: str | None,
    **chosen: Any,
) -> None:
    """Plot results: throughput over batch sizes, scaling, bars, distributions, time series,
    heat maps, latency, accuracy, history, a roofline, or any axes.

    PATH is as for dlbs report. Lines and bars are medians; the text below a plot explains its error bars and bands. Experiments that
    differ in more than the horizontal axis, series, facets and repeat get separate lines.

    \b
    Examples:
      dlbs plot results.json -o throughput.png
      dlbs plot logs --x pytorch.num_threads \\
        --y results.throughput,results.memory_host --series exp.model \\
        -o threads.png
      dlbs plot logs --x exp.replica_batch --series exp.model --facet exp.dtype \\
        --baseline exp.framework=pytorch -o frameworks.png
      dlbs plot logs --type bars --value results.time_p99 -o latency.svg
      dlbs plot logs --type strong -o scaling.png
      dlbs plot logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log \\
        --type series -o series.png
      dlbs plot logs --type distribution --style paper --size 8x6cm -o runs.pdf
      dlbs plot --db results.db '{"exp.model": "resnet50"}' \\
        --type history --mark v7 -o history.svg
      dlbs plot logs --type latency-load -o load.png
      dlbs plot logs --type roofline --peak_tflops 0.2 --peak_bandwidth 40 \\
        -o roofline.png
    """
    if "".join(chosen["series"]).startswith(("[", "{")):  # filters, as accepted by the original's series builder
        hint = 'write --series exp.model, and select experiments with --filter-query \'{"exp.model": "resnet50"}\''
        raise LogError("requires names of parameters", where="--series", hint=hint)
    from dlbs.results.plots.kinds import draw, save
    from dlbs.results.plots.plot import Options, kind_for

    options = Options(**chosen, baseline=dict(map(_name_and_value, baseline)))
    records = read_source(paths, db, filter_query)
    save(draw(kind_for(kind, options, records), records, options), output_file)
    note(f"{counted(len(records), 'experiment')} → {output_file}")


def _name_and_value(words: str) -> tuple[str, str]:
    name, equals, value = words.partition("=")
    if not (name and equals):
        raise LogError(f"{words!r} is not NAME=VALUE", where="--baseline", hint="such as exp.framework=pytorch")
    return name, value


@verb("export")
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--to", "kind", type=click.Choice(list(EXPORTS)), help="Output format; by default determined by the file name."
)
@click.option(
    "--output-file", "-o", metavar="FILE", required=True, help="File or directory; with --to mlflow, also a URI."
)
@source_options
def export_command(
    paths: tuple[str, ...], kind: str | None, output_file: str, db: str | None, filter_query: str | None
) -> None:
    """Write results for other tools: tables, test reports, metrics, runs.

    PATH is as for dlbs report. The ending of a file name determines the format: .json, .jsonl, .csv, .parquet, .xml (JUnit) or .prom
    (Prometheus). MLflow and TensorBoard use directories.

    \b
    Examples:
      dlbs export logs -o results.parquet
      dlbs export logs -o junit.xml
      dlbs export logs -o /var/lib/node_exporter/dlbs.prom
      dlbs export logs --to mlflow -o mlruns
      dlbs export logs --to mlflow -o http://mlflow.example.org:5000
      dlbs export logs --to tensorboard -o tensorboard
      dlbs export --db results.db '{"db.tags": "v1"}' -o v1.jsonl
    """
    from dlbs.results.export.kinds import export, kind_of_file

    kind = kind or kind_of_file(output_file)  # fail before logs are read, which may take long
    records = read_source(paths, db, filter_query)
    count, where = export(kind, records, output_file)
    words = counted(count, "experiment")
    if count < len(records):
        words += f" ({len(records) - count:,} existing or duplicate)"
    note(f"{words} → {where}")


@verb("serve")
@click.argument("directory", metavar="DIR", default="logs")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 selects a free one."
)
@click.option(
    "--db", metavar="URL", help="Show the history in this store instead; logs of its runs are shown if they are in DIR."
)
def serve_command(directory: str, port: int, db: str | None) -> None:
    """Show the results of a log directory in a browser, updated while a plan runs; with --db, the history in a store.

    The server listens on 127.0.0.1 only and writes nothing; `ssh -L 8080:127.0.0.1:8080 HOST` on another machine gives access to it.
    Ctrl-C ends it.

    \b
    Examples:
      dlbs serve logs
      dlbs serve logs --port 0
      dlbs serve --db results.db
      dlbs serve --db postgresql+psycopg://bench@db.example.org/results /data/logs
    """
    from benchmark_core.crash import report_crash
    from dlbs.core.errors import require
    from dlbs.results.page.server import HOST, application, listen, serve

    for module in ("uvicorn", "starlette"):
        require(module, "serve")
    require("matplotlib", "reports")
    if db is None and not Path(directory).is_dir():
        raise LogError("no such directory", where=directory, hint="give the directory of a plan's logs")
    if db is not None:
        from dlbs.results.store.store import Store

        Store(db, read_only=True).__exit__(None, None, None)  # report its errors here, not on the page
    try:
        listener = listen(port)
    except OSError as error:
        raise LogError(
            os.strerror(error.errno or 0), where=f"--port {port}", hint="--port 0 selects a free one"
        ) from None
    with listener:
        number = listener.getsockname()[1]
        if db is None:
            pages, what = application(Path(directory), number, report_crash), directory
        else:
            from dlbs.results.page.server import history_application

            pages, what = history_application(db, Path(directory), number, report_crash), "the history in the store"
        note(f"http://{HOST}:{number}/ shows {what}; Ctrl-C ends it")
        serve(pages, listener)
