"""The verb `report`: results in, tables for people out."""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):  # started as a file: python dlbs/report.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(
        f"error: dlbs needs the Python package {missing.name!r} (run `make venv` and use .venv/bin/python, or pip install .)"
    )

from dlbs.cli import CONTEXT, common_options, console, run
from dlbs.errors import LogError

__all__ = ["report_command"]


@click.command("report", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--type", "kind", type=click.Choice(["regular"]), default="regular", show_default=True, help="Kind of tables."
)
@click.option("--filter-query", metavar="QUERY", help="Keep only experiments that fit, as in dlbs parse.")
@common_options
def report_command(paths: tuple[str, ...], kind: str, filter_query: str | None) -> None:
    """Print throughput and batch-time tables, models against batch sizes.

    PATH is a results file that `dlbs parse` wrote, or whatever `dlbs parse` reads. Experiments that differ in more than model,
    batch and repeat get tables of their own.

    \b
    Examples:
      dlbs report results.json --type regular
      dlbs report logs --filter_query '{"exp.phase": "inference"}'
    """
    from rich.table import Table
    from rich.text import Text

    from dlbs.config import load_config
    from dlbs.formatting import printable
    from dlbs.results.query import compile_query
    from dlbs.results.records import load_records
    from dlbs.results.tables import regular_tables

    records = load_records(paths)
    if filter_query:
        records = list(filter(compile_query(filter_query), records))
    if not records:
        raise LogError("no experiments to report", where=" ".join(paths), hint="dlbs parse says what the logs hold")
    out = console()
    for table in regular_tables(records, load_config().declarations):
        shown = Table(title=Text(printable(table.title)), title_justify="left", title_style="bold")
        for number, name in enumerate(table.header):
            shown.add_column(Text(printable(name)), justify="right" if number else "left", no_wrap=True)
        for row in table.rows:
            shown.add_row(*(Text(printable(cell)) for cell in row))
        out.print(shown)
        for line in table.legend:
            out.print(f"  {line}")
        out.print()


if __name__ == "__main__":
    run(report_command, "report.py")
