"""Records of experiments, one dictionary each: what they say of the outcome; reading and writing files of them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from dlbs.errors import LogError
from dlbs.files import make_parent, open_regular, write_atomically
from dlbs.jsonio import JsonError, load_json
from dlbs.logs import STATUSES, finite
from dlbs.results.read.findings import Reading
from dlbs.results.read.logfiles import read_logs
from dlbs.results.read.onelog import Record
from dlbs.results.read.streams import unpacked
from dlbs.text import formula_escaped, formula_unescaped
from dlbs.version import __version__

__all__ = ["is_ok", "is_results_file", "load_records", "number", "status_of", "write_records"]

_IN_MEMORY = 16 << 20  # bytes of output that wait in memory; more of it waits in a temporary file


def status_of(record: Record) -> str:
    """How the experiment ended: a status of the log protocol, or `unfinished`.

    A log without a status, such as the plain output of `benchmarks.py`, is fine if it has a result. The original DLBS wrote a
    throughput of -1 for experiments that failed, and left their status at ok.
    """
    status = record.get("exp.status")
    throughput = number(record, "results.throughput")
    if status == "ok" and throughput is not None and throughput <= 0:
        return "failure"
    if status in STATUSES or status == "unfinished":
        return str(status)
    return "ok" if "results.time" in record or "results.throughput" in record else "unfinished"


def is_ok(record: Record) -> bool:
    return status_of(record) == "ok"


def number(record: Record, key: str) -> float | None:
    """The value of a key if it is a number that can be computed with, else None."""
    return finite(record.get(key))


def write_records(path: str | None, records: Iterable[Record], failed: list[Record] | None = None) -> None:
    """Write records as JSON (`{"dlbs_version": ..., "data": [...]}`), JSON Lines, CSV or Parquet to a file or, without a path, as JSON to standard output.

    JSON is made record by record, as they come; CSV and Parquet need all of them, because all columns are known only then. After an error,
    also one of the last record, there is no file, and nothing on standard output.

    Args:
        path: `.json`, `.jsonl`, `.csv`, each of them with `.gz` behind it if it is to be compressed, or `.parquet`.
        records: The experiments.
        failed: Those that failed, if they are to be kept apart (JSON only); looked at after all records were taken.

    Raises:
        LogError: The format is not known, has no room for a second list, or needs a package that is missing.
        ConfigError: The file cannot be written.
    """
    if path is None:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8") as whole:
            _write_json(whole, records, failed)
            whole.seek(0)
            shutil.copyfileobj(whole, sys.stdout)
        return
    if not is_results_file(path):
        raise LogError(
            "unknown format", where=path, hint="name the file .json, .jsonl, .csv (.gz may follow) or .parquet"
        )
    kind = path.removesuffix(".gz")
    if not kind.endswith(".json") and failed is not None:
        raise LogError(
            "only JSON has room for a second list", where=path, hint="write .json, or keep failed experiments"
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
            out.writelines(json.dumps(record) + "\n" for record in records)
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
    """One record a line: quick to write, and quick to search with other tools."""
    between = "\n"
    for record in records:
        stream.write(between + json.dumps(record))
        between = ",\n"
    if between != "\n":
        stream.write("\n")


def _write_csv(stream: IO[str], records: list[Record]) -> None:
    columns = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.writer(stream)
    writer.writerow(map(formula_escaped, columns))
    for record in records:
        writer.writerow([_cell(record.get(name)) for name in columns])


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return formula_escaped(value or "")
    return json.dumps(value)


def is_results_file(path: str) -> bool:
    """Whether a path is named like a file that `write_records` writes."""
    return path.removesuffix(".gz").endswith((".json", ".jsonl", ".csv")) or path.endswith(".parquet")


def load_records(
    paths: Iterable[str], reading: Reading | None = None, *, jobs: int = 1, cached: bool = True
) -> list[Record]:
    """Read records from results files (those of `write_records`) and from logs.

    Args:
        paths: Results files, and whatever `find_logs` takes.
        reading: Takes what is noticed about logs.
        jobs: Processes that read logs.
        cached: As for `read_logs`.

    Raises:
        LogError: A file is missing, or a results file cannot be read or is of another form.
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


def _load_results(path: str, kind: str) -> list[Record]:
    if kind.endswith(".parquet"):
        from dlbs.results.read.parquet import read_parquet

        return read_parquet(path)
    try:
        with _opened(path) as stream:
            if kind.endswith(".jsonl"):
                return _json_lines(stream, path)
            if kind.endswith(".csv"):
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
            "no such file", where=path, hint="dlbs parse LOGS --output_file results.json writes one"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    except JsonError as error:
        raise LogError(f"not JSON: {error.what}", where=f"{path}:{error.line}") from None
    except MemoryError:
        raise LogError("is too large for the memory of this machine", where=path) from None
    lists = [document.get("data"), document.get("failed", [])] if isinstance(document, dict) else [document]
    records = [record for items in lists if isinstance(items, list) for record in items if isinstance(record, dict)]
    if not all(isinstance(items, list) for items in lists) or len(records) != sum(map(len, lists)):
        raise LogError('no results: a list of experiments is expected, or {"data": [...]}', where=path)
    return records


def _json_lines(lines: Iterable[str], path: str) -> list[Record]:
    """The records of a file that has one a line; blank lines are none.

    Raises:
        LogError: A line is no JSON object.
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
            raise LogError("no JSON object", where=f"{path}:{number}", hint="each line is an experiment")
        records.append(record)
    return records


def _typed(value: str) -> Any:
    given = formula_unescaped(value)
    if given != value:
        return given
    try:
        return load_json(value)
    except JsonError:
        return value
