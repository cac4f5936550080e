"""The verb `parse`: convert log files to a table of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dlbs.cli.options import CONTEXT, common_options, names_option
from dlbs.errors import LogError
from dlbs.results.read.failed import FAILED
from dlbs.text import counted, printable

if TYPE_CHECKING:
    from dlbs.results.read.findings import Reading
    from dlbs.results.read.onelog import Record

__all__ = ["parse_command"]


@click.command("parse", context_settings=CONTEXT)
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
    type=click.Choice(list(FAILED)),
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
@click.option("--no-cache", is_flag=True, help="Read all logs again, including unchanged ones.")
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
    """Convert log files to a table of results.

    PATH is a log file, a directory (searched recursively), a glob pattern, or any of them compressed (.gz, .tar.gz). The
    numbers of failed and unfinished experiments are printed on standard error, as are problems of the logs: truncated or malformed lines,
    binary data, other encodings, duplicate keys. Unchanged logs are not read again.

    \b
    Examples:
      dlbs parse logs --output_file results.json
      dlbs parse 'logs/*.log' \\
        --output_params exp.model,exp.replica_batch,results.time \\
        --output_file results.csv
      dlbs parse logs \\
        --filter_query '{"exp.model": "resnet.*", "exp.replica_batch": [16, 32]}'
      dlbs parse logs -Pmy.name='${exp.model} ${exp.dtype}' \\
        --output_params my.name,results.time
      dlbs parse logs \\
        --filter_query '${results.time} < 10 and "${exp.phase}" == "inference"'
    """
    from dlbs.machine.devices import usable_cpus
    from dlbs.results.read.findings import Reading
    from dlbs.results.read.logfiles import read_logs
    from dlbs.results.read.records import write_records

    for flag, is_given in (("--recursive", recursive), ("--overwrite", overwrite)):
        if is_given:
            click.echo(f"note: {flag} is always on", err=True)
    selection = _Selection(additions, output_params, filter_params, filter_query, failed_benchmarks)
    reading = Reading()

    def records() -> Iterator[Record]:
        yield from selection.kept(read_logs(paths, reading, jobs=jobs or len(usable_cpus()), cached=not no_cache))
        _tell(reading, ignore_errors)  # before writing, because nothing is written after an error

    write_records(output_file, records(), selection.apart)
    click.echo(printable(selection.summary() + (f" → {output_file}" if output_file else "")), err=True)


class _Selection:
    """Selection of experiments and keys, with counts.

    Attributes:
        apart: Unsuccessful experiments, if they are kept separately.
    """

    def __init__(
        self,
        additions: tuple[str, ...],
        output_params: list[str],
        filter_params: list[str],
        filter_query: str | None,
        failed_benchmarks: str,
    ) -> None:
        from dlbs.results.read.additions import compile_additions
        from dlbs.results.read.query import compile_query

        self._add = compile_additions(additions)
        self._fits = compile_query(filter_query) if filter_query else None
        self._columns, self._needed, self._failed = output_params, filter_params, failed_benchmarks
        self._statuses: Counter[str] = Counter()
        self._left_out = 0
        self._known: dict[str, None] = {}
        self._made: dict[str, None] = {}
        self.apart: list[Record] | None = [] if failed_benchmarks == "keep_separately" else None

    def kept(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records to write."""
        from dlbs.results.read.records import is_ok, status_of

        for record in records:
            self._known.update(dict.fromkeys(record))
            if any(record.get(name) is None for name in self._needed) or not (self._fits is None or self._fits(record)):
                self._left_out += 1
                continue
            self._statuses[status_of(record)] += 1
            if is_ok(record) or self._failed == "keep":
                yield self._short(record)
            elif self.apart is not None:
                self.apart.append(self._short(record))
        self._check_keys()

    def _check_keys(self) -> None:
        """Raise a LogError for a key that no experiment has."""
        from dlbs.results.read.query import check_keys

        check_keys(self._needed, self._known, "--filter_params")
        check_keys(self._fits.names if self._fits is not None else (), self._known)
        for name, keys in self._add.needs.items():
            check_keys(keys, {**self._known, **self._made} if self._statuses else (), f"-P{name}")
        check_keys(self._columns, {**self._known, **self._made} if self._statuses else (), "--output_params")

    def _short(self, record: Record) -> Record:
        whole = self._add(record)
        self._made.update(dict.fromkeys(whole))
        return {name: whole[name] for name in self._columns if name in whole} if self._columns else whole

    def summary(self) -> str:
        """The number of experiments, and their outcomes."""
        words = ", ".join(f"{count} {status}" for status, count in sorted(self._statuses.items()))
        bad = self._statuses.total() - self._statuses["ok"]
        said = f"{counted(self._statuses.total(), 'experiment')}: {words or 'none'}"
        said += f"; {self._left_out} filtered out" if self._left_out else ""
        return said + (
            f"; {bad} unsuccessful {'one was' if bad == 1 else 'ones were'} discarded"
            if bad and self._failed == "discard"
            else ""
        )


def _tell(reading: Reading, ignore_errors: bool) -> None:
    """Report problems of the logs on standard error.

    Raises:
        LogError: A result may be lost, and errors are not ignored.
    """
    for line in reading.messages():
        click.echo(printable(f"note: {line}"), err=True)
    if reading.errors and not ignore_errors:
        places = counted(len(reading.errors), "place")
        raise LogError(
            f"{places} in logs could not be read; nothing was written",
            hint="--ignore_errors skips them",
        )
