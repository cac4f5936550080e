"""The verb `parse`: log files in, a table of results out."""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):  # started as a file: python dlbs/logparser.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from collections import Counter

try:
    import click
except ModuleNotFoundError as missing:
    sys.exit(
        f"error: dlbs needs the Python package {missing.name!r} (run `make venv` and use .venv/bin/python, or pip install .)"
    )

from dlbs.cli import CONTEXT, common_options, run
from dlbs.errors import LogError

__all__ = ["parse_command"]


def _names(value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


@click.command("parse", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--output-file", metavar="FILE", help="Write to .json, .json.gz or .csv; standard output by default.")
@click.option("--output-params", metavar="NAME,...", help="Keep only these keys.")
@click.option("--filter-params", metavar="NAME,...", help="Keep only experiments that have all these keys.")
@click.option("--filter-query", metavar="QUERY", help="Keep only experiments that fit; see the examples.")
@click.option(
    "--failed-benchmarks",
    type=click.Choice(["discard", "keep", "keep_separately"]),
    default="keep",
    show_default=True,
    help="What to do with experiments that did not end well.",
)
@click.option("--ignore-errors", is_flag=True, help="Go on when a line of a log is broken.")
@common_options
def parse_command(
    paths: tuple[str, ...],
    output_file: str | None,
    output_params: str | None,
    filter_params: str | None,
    filter_query: str | None,
    failed_benchmarks: str,
    ignore_errors: bool,
) -> None:
    """Turn log files into a table of results.

    PATH is a log file, a directory (searched recursively), a glob pattern, or any of them compressed (.gz, .tar.gz). How many
    experiments failed or are unfinished is said on standard error.

    \b
    Examples:
      dlbs parse logs --output_file results.json
      dlbs parse 'logs/*.log' --output_params exp.model,exp.replica_batch,results.time --output_file results.csv
      dlbs parse logs --filter_query '{"exp.model": "resnet.*", "exp.replica_batch": [16, 32]}'
      dlbs parse logs --filter_query '${results.time} < 10 and "${exp.phase}" == "inference"'
    """
    from dlbs.results.query import compile_query
    from dlbs.results.records import is_ok, read_logs, status_of, write_records

    fits = compile_query(filter_query) if filter_query else None
    read = read_logs(paths)
    for line in read.broken:
        click.echo(f"{'warning' if ignore_errors else 'error'}: {line}", err=True)
    for name in read.empty:
        click.echo(f"warning: {name}: no experiment in this file", err=True)
    if read.broken and not ignore_errors:
        lines = f"{len(read.broken)} broken line{'s' if len(read.broken) > 1 else ''}"
        raise LogError(f"{lines}; nothing was written", hint="--ignore_errors leaves them out")

    needed = _names(filter_params)
    records = [record for record in read.records if all(record.get(name) is not None for name in needed)]
    if fits is not None:
        records = [record for record in records if fits(record)]
    statuses = Counter(map(status_of, records))
    good = [record for record in records if is_ok(record)]
    bad = [record for record in records if not is_ok(record)]
    kept = good if failed_benchmarks != "keep" else records
    apart = bad if failed_benchmarks == "keep_separately" else None
    names = _names(output_params)
    if names:
        kept = [{name: record[name] for name in names if name in record} for record in kept]
        if apart is not None:
            apart = [{name: record[name] for name in names if name in record} for record in apart]
    write_records(output_file, kept, apart)

    words = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    left_out = len(read.records) - len(records)
    said = f"{len(records)} experiment{'s' if len(records) != 1 else ''}: {words or 'none'}"
    said += f"; {left_out} filtered out" if left_out else ""
    said += f"; the {len(bad)} that did not end well were discarded" if bad and failed_benchmarks == "discard" else ""
    click.echo(said + (f" → {output_file}" if output_file else ""), err=True)


if __name__ == "__main__":
    run(parse_command, "logparser.py")
