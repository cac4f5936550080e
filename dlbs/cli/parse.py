"""The verb `parse`: log files in, a table of results out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.errors import LogError
from dlbs.results.read.failed import FAILED
from dlbs.text import counted, printable

if TYPE_CHECKING:
    from dlbs.results.read.findings import Reading

__all__ = ["parse_command"]


@click.command("parse", context_settings=CONTEXT)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--output-file", "-o", metavar="FILE", help="Write to .json, .json.gz or .csv; standard output by default."
)
@click.option(
    "-P",
    "additions",
    metavar="NAME=VALUE",
    multiple=True,
    help="Add a key, whose value may refer to others: -Pmy.name='${exp.model} ${exp.dtype}'.",
)
@names_option("--output-params", "Keep only these keys.")
@names_option("--filter-params", "Keep only experiments that have all these keys.")
@click.option("--filter-query", metavar="QUERY", help="Keep only experiments that fit; see the examples.")
@click.option(
    "--failed-benchmarks",
    type=click.Choice(list(FAILED)),
    default="keep",
    show_default=True,
    help="What to do with experiments that did not end well.",
)
@click.option("--ignore-errors", is_flag=True, help="Go on when a line of a log is broken, or a log cannot be read.")
@click.option("--jobs", "-j", type=click.IntRange(1), help="Processes that read; by default one for each processor.")
@click.option("--recursive", is_flag=True, help="Always on: directories are searched recursively.")
@click.option("--overwrite", is_flag=True, help="Always on: a file that is written replaces an older one.")
@click.option("--no-cache", is_flag=True, help="Read all logs again, also those that have not changed.")
@common_options
def parse_command(
    paths: tuple[str, ...],
    output_file: str | None,
    additions: tuple[str, ...],
    output_params: list[str],
    filter_params: list[str],
    filter_query: str | None,
    failed_benchmarks: str,
    ignore_errors: bool,
    jobs: int | None,
    recursive: bool,
    overwrite: bool,
    no_cache: bool,
) -> None:
    """Turn log files into a table of results.

    PATH is a log file, a directory (searched recursively), a glob pattern, or any of them compressed (.gz, .tar.gz). How many
    experiments failed or are unfinished is said on standard error, and so is what is odd about the logs: torn or broken lines, binary data,
    other encodings, values that stand more than once. Logs that have not changed are not read again.

    \b
    Examples:
      dlbs parse logs --output_file results.json
      dlbs parse 'logs/*.log' --output_params exp.model,exp.replica_batch,results.time --output_file results.csv
      dlbs parse logs --filter_query '{"exp.model": "resnet.*", "exp.replica_batch": [16, 32]}'
      dlbs parse logs -Pmy.name='${exp.model} ${exp.dtype}' --output_params my.name,results.time
      dlbs parse logs --filter_query '${results.time} < 10 and "${exp.phase}" == "inference"'
    """
    from dlbs.machine.devices import usable_cpus
    from dlbs.results.read.additions import compile_additions
    from dlbs.results.read.findings import Reading
    from dlbs.results.read.logfiles import read_logs
    from dlbs.results.read.onelog import Record
    from dlbs.results.read.query import check_keys, compile_query
    from dlbs.results.read.records import is_ok, status_of, write_records

    for flag, is_given in (("--recursive", recursive), ("--overwrite", overwrite)):
        if is_given:
            click.echo(f"note: {flag} is always on", err=True)
    fits = compile_query(filter_query) if filter_query else None
    add = compile_additions(additions)
    known: dict[str, None] = {}
    added: dict[str, None] = {}
    reading = Reading()
    statuses: Counter[str] = Counter()
    apart: list[Record] | None = [] if failed_benchmarks == "keep_separately" else None
    total = 0

    def short(record: Record) -> Record:
        return {name: record[name] for name in output_params if name in record} if output_params else record

    def whole(record: Record) -> Record:
        made = add(record)
        added.update(dict.fromkeys(made))
        return made

    def kept() -> Iterator[Record]:
        nonlocal total
        for record in read_logs(paths, reading, jobs=jobs or len(usable_cpus()), cached=not no_cache):
            total += 1
            known.update(dict.fromkeys(record))
            if any(record.get(name) is None for name in filter_params) or (fits is not None and not fits(record)):
                continue
            statuses[status_of(record)] += 1
            if is_ok(record) or failed_benchmarks == "keep":
                yield short(whole(record))
            elif apart is not None:
                apart.append(short(whole(record)))
        _tell(reading, ignore_errors)
        check_keys(filter_params, known, "--filter_params")
        check_keys(fits.names if fits is not None else (), known)
        check_keys(output_params, {**known, **added} if statuses else (), "--output_params")

    # Written record by record; an error, also one at the very end, leaves no file behind.
    write_records(output_file, kept() if output_file else list(kept()), apart)

    words = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    left_out = total - statuses.total()
    bad = statuses.total() - statuses["ok"]
    said = f"{counted(statuses.total(), 'experiment')}: {words or 'none'}"
    said += f"; {left_out} filtered out" if left_out else ""
    said += f"; the {bad} that did not end well were discarded" if bad and failed_benchmarks == "discard" else ""
    click.echo(said + (f" → {output_file}" if output_file else ""), err=True)


def _tell(reading: Reading, ignore_errors: bool) -> None:
    """Say on standard error what was noticed about the logs.

    Raises:
        LogError: A result may be lost, and that is not to be ignored.
    """
    for line in reading.messages():
        click.echo(printable(f"note: {line}"), err=True)
    if reading.errors and not ignore_errors:
        raise LogError(
            f"{counted(len(reading.errors), 'place')} in logs could not be read; nothing was written",
            hint="--ignore_errors leaves them out",
        )
