"""Files of records: read and write JSON, JSON Lines, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from dlbs.errors import LogError
from dlbs.files import JsonError, load_json, make_parent, open_regular, write_atomically
from dlbs.results.read.logs import read_logs, unpacked
from dlbs.results.read.onelog import LONGEST, Reading
from dlbs.results.runs import Record
from dlbs.text import csv_line, formula_escaped, formula_unescaped
from dlbs.version import __version__

_IN_MEMORY = 16 << 20  # bytes of output that are buffered in memory; the rest in a temporary file
_LONGEST_CELL = LONGEST  # letters of a value in a CSV file; Python's default is less than the times of 7,000 batches
# Beginnings of all values that are read as JSON.
_LIKE_JSON = re.compile(r'\s*(?:["\[{\d-]|true|false|null|NaN|Infinity)')


def write_records(path: str | None, records: Iterable[Record], failed: list[Record] | None = None) -> None:
    """Write records as JSON (`{"dlbs_version": ..., "data": [...]}`), JSON Lines, CSV or Parquet to a file or, without a path, as JSON to standard output.

    JSON is written record by record; CSV and Parquet need all records first, to know all columns. After an error, even in the last record,
    there is no file and nothing on standard output.

    Args:
        path: `.json`, `.jsonl` or `.csv`, followed by `.gz` for a compressed file, or `.parquet`.
        records: The experiments.
        failed: Failed experiments for a separate list (JSON only); read after all records were consumed.

    Raises:
        LogError: The format is unknown, does not support a second list, or needs a package that is missing.
        ConfigError: The file cannot be written.
    """
    if path is None:
        import shutil
        import tempfile

        with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8") as whole:
            _write_json(whole, records, failed)
            whole.seek(0)
            shutil.copyfileobj(whole, sys.stdout)
        return
    if not is_results_file(path):
        raise LogError("unknown format", where=path, hint="use .json, .jsonl, .csv (optionally with .gz) or .parquet")
    kind = path.removesuffix(".gz")
    if not kind.endswith(".json") and failed is not None:
        raise LogError(
            "a separate list of failed experiments needs JSON",
            where=path,
            hint="use .json, or --failed_benchmarks keep",
        )
    make_parent(path)
    if kind.endswith(".parquet"):
        from dlbs.results.read.parquet import write_parquet

        write_parquet(path, list(records))
        return
    with write_atomically(path) as out:
        if kind.endswith(".csv"):
            _write_csv(out, list(records))
        elif kind.endswith(".jsonl"):
            out.writelines(json.dumps(dict(record)) + "\n" for record in records)
        else:
            _write_json(out, records, failed)


def _write_json(stream: IO[str], records: Iterable[Record], failed: list[Record] | None) -> None:
    stream.write(f'{{"dlbs_version": {json.dumps(__version__)}, "data": [')
    _write_list(stream, records)
    if failed is not None:
        stream.write('], "failed": [')
        _write_list(stream, failed)
    stream.write("]}\n")


def _write_list(stream: IO[str], records: Iterable[Record]) -> None:
    """One record per line: fast to write, and easy to search with other tools."""
    between = "\n"
    for record in records:
        stream.write(between + json.dumps(dict(record)))
        between = ",\n"
    if between != "\n":
        stream.write("\n")


def _write_csv(stream: IO[str], records: list[Record]) -> None:
    columns = list(dict.fromkeys(name for record in records for name in record))
    stream.write(csv_line(columns))
    for record in records:
        stream.write(csv_line(_cell(record[name]) if name in record else "" for name in columns))


def _cell(value: Any) -> Any:
    """The cell of a value, from which `_typed` makes the value again: texts that it would take for another value are JSON."""
    if not isinstance(value, str):
        return "null" if value is None else value
    cell = formula_escaped(value)
    # Python before 3.11 reads no NUL.
    if not cell or "\0" in cell or _typed(cell) != value:
        return json.dumps(value)
    return value


def is_results_file(path: str) -> bool:
    """Whether a path has the suffix of a file that `write_records` writes."""
    return path.removesuffix(".gz").endswith((".json", ".jsonl", ".csv")) or path.endswith(".parquet")


def load_records(
    paths: Iterable[str], reading: Reading | None = None, *, jobs: int = 1, cached: bool = True
) -> list[Record]:
    """Read records from results files (those of `write_records`) and from logs.

    Args:
        paths: Results files, and everything that `find_logs` accepts.
        reading: Collects findings about logs.
        jobs: Processes that read logs.
        cached: As for `read_logs`.

    Raises:
        LogError: A file is missing, or a results file cannot be read or has another structure.
    """
    records: list[Record] = []
    logs = []
    for path in paths:
        if is_results_file(path):
            records += _load_results(path, path.removesuffix(".gz"))
        else:
            logs.append(path)
    if logs:
        records += read_logs(logs, reading, jobs=jobs, cached=cached)
    return records


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    with open_regular(path, follow_links=True) as raw:
        binary: Any = io.BufferedReader(unpacked(raw, os.fstat(raw.fileno()).st_size)) if path.endswith(".gz") else raw
        yield io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _load_results(path: str, kind: str) -> Sequence[Record]:
    if kind.endswith(".parquet"):
        from dlbs.results.read.parquet import read_parquet

        return read_parquet(path)
    try:
        with _opened(path) as stream:
            if kind.endswith(".jsonl"):
                return _json_lines(stream, path)
            if kind.endswith(".csv"):
                csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))  # of the process
                return [
                    {
                        formula_unescaped(name): _typed(value)
                        for name, value in row.items()
                        if name and value not in (None, "")
                    }
                    for row in csv.DictReader(stream)
                ]
            document = load_json(stream.read())
    except FileNotFoundError:
        raise LogError(
            "no such file", where=path, hint="create one: dlbs parse LOGS --output_file results.json"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    except JsonError as error:
        raise LogError(f"not JSON: {error.what}", where=f"{path}:{error.line}") from None
    except MemoryError:
        raise LogError("the file is too large for the memory of this machine", where=path) from None
    lists = [document.get("data"), document.get("failed", [])] if isinstance(document, dict) else [document]
    records = [record for items in lists if isinstance(items, list) for record in items if isinstance(record, dict)]
    if not all(isinstance(items, list) for items in lists) or len(records) != sum(map(len, lists)):
        raise LogError('not a results file: expected a list of experiments or {"data": [...]}', where=path)
    return records


def _json_lines(lines: Iterable[str], path: str) -> Sequence[Record]:
    """Read the records of a file with one per line; blank lines are ignored.

    Raises:
        LogError: A line is not a JSON object.
    """
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = load_json(line)
        except JsonError as error:
            raise LogError(f"not JSON: {error.what}", where=f"{path}:{number}") from None
        if not isinstance(record, dict):
            raise LogError("not a JSON object", where=f"{path}:{number}", hint="each line must be an experiment")
        records.append(record)
    return records


def _typed(value: str) -> Any:
    given = formula_unescaped(value)
    if given != value or not _LIKE_JSON.match(value):
        return given
    try:
        return load_json(value)
    except JsonError:
        return value
