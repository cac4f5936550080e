"""The verb `export`: convert results to files for other tools."""

from __future__ import annotations

import click

from dlbs.cli.options import CONTEXT, common_options
from dlbs.cli.sources import read_source, source_options
from dlbs.results.export.kinds import KINDS
from dlbs.text import counted, printable

__all__ = ["export_command"]


@click.command("export", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option(
    "--to", "kind", type=click.Choice(list(KINDS)), help="Output format; by default determined by the file name."
)
@click.option(
    "--output-file", "-o", metavar="FILE", required=True, help="File or directory; with --to mlflow, also a URI."
)
@source_options
@common_options
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
    from dlbs.config.load import load_config
    from dlbs.results.export.kinds import export, kind_of_file

    kind = kind or kind_of_file(output_file)  # fail before logs are read, which may take long
    records = read_source(paths, db, filter_query)
    count, where = export(kind, records, load_config().declarations, output_file)
    words = counted(count, "experiment")
    if count < len(records):
        words += f" ({len(records) - count:,} existing or duplicate)"
    click.echo(printable(f"{words} → {where}"), err=True)
