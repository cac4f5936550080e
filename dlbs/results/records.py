"""Read log files, plain, compressed or in archives, into records: one dictionary an experiment."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dlbs.documents import write_atomically
from dlbs.errors import LogError
from dlbs.logs import STATUSES, parse_line

__all__ = ["Record", "find_logs", "is_ok", "load_records", "read_logs", "status_of", "write_records"]

Record = dict[str, Any]

_LOG_ENDINGS = (".log", ".log.gz", ".log.part")
_ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")


@dataclass(slots=True)
class ReadLogs:
    """What was found in log files.

    Attributes:
        records: One for each log that holds an experiment.
        broken: `file:line: message` of each line that has the form of a result, but is none.
        empty: Files that hold no experiment.
    """

    records: list[Record] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def find_logs(paths: Iterable[str]) -> list[str]:
    """Log files behind files, directories (recursively) and glob patterns, each once, in a stable order.

    Raises:
        LogError: A path or pattern finds nothing.
    """
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            inside = sorted(
                os.path.join(directory, name)
                for directory, _, names in os.walk(path)
                for name in names
                if name.endswith(_LOG_ENDINGS) or name.endswith(_ARCHIVE_ENDINGS)
            )
            if not inside:
                raise LogError(
                    "no log files in this directory", where=path, hint=f"they end in {', '.join(_LOG_ENDINGS)}"
                )
            found.update(dict.fromkeys(inside))
        elif os.path.exists(path):
            found[path] = None
        else:
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise LogError("no such file", where=path, hint="give log files, directories or glob patterns")
            found.update(dict.fromkeys(find_logs(matches)))
    return list(found)


def read_logs(paths: Iterable[str]) -> ReadLogs:
    """Read log files.

    Raises:
        LogError: A file is not there or cannot be read.
    """
    read = ReadLogs()
    for path in find_logs(paths):
        try:
            for name, stream in _streams(path):
                _read_log(name, stream, read)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise LogError(f"cannot be read: {reason}", where=path) from None
    return read


def _streams(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The logs in a file: itself, or those in an archive. Nothing is unpacked to disk."""
    if path.endswith(_ARCHIVE_ENDINGS):
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or not member.name.endswith(_LOG_ENDINGS):
                    continue
                packed = archive.extractfile(member)
                if packed is not None:
                    name = f"{path}:{member.name}"
                    yield name, gzip.open(packed) if member.name.endswith(".gz") else packed  # type: ignore[misc]
    elif path.endswith(".gz"):
        with gzip.open(path) as compressed:
            yield path, compressed  # type: ignore[misc]
    else:
        with open(path, "rb") as plain:
            yield path, plain


def _read_log(name: str, stream: IO[bytes], read: ReadLogs) -> None:
    record: Record = {}
    for number, line in enumerate(stream, start=1):
        if b"__" not in line:
            continue
        try:
            pair = parse_line(line.decode("utf-8", "replace").rstrip("\r\n"))
        except LogError as error:
            read.broken.append(f"{name}:{number}: {error.what}")
            continue
        if pair is not None:
            record[pair[0]] = pair[1]
    if not record:
        read.empty.append(name)
        return
    if name.endswith(".part"):
        record["exp.status"] = "unfinished"
    record.setdefault("exp.log_file", name)
    read.records.append(record)


def status_of(record: Record) -> str:
    """How the experiment ended: a status of the log protocol, or `unfinished`.

    A log without a status, such as the plain output of `benchmarks.py`, is fine if it has a result.
    """
    status = record.get("exp.status")
    if status in STATUSES or status == "unfinished":
        return str(status)
    return "ok" if "results.time" in record or "results.throughput" in record else "unfinished"


def is_ok(record: Record) -> bool:
    return status_of(record) == "ok"


def write_records(path: str | None, records: list[Record], failed: list[Record] | None = None) -> None:
    """Write records as JSON (`{"data": [...]}`) or CSV, to a file or, without a path, as JSON to standard output.

    Args:
        path: `.json`, `.csv`, either with `.gz` behind.
        records: The experiments.
        failed: Those that failed, if they are to be kept apart (JSON only).
    """
    if path is None:
        print(_as_json(records, failed))
        return
    kind = path.removesuffix(".gz")
    if not kind.endswith((".json", ".csv")):
        raise LogError("unknown format", where=path, hint="name the file .json, .json.gz, .csv or .csv.gz")
    if kind.endswith(".csv") and failed is not None:
        raise LogError("CSV has no room for a second list", where=path, hint="write .json, or keep failed experiments")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        if kind.endswith(".csv"):
            _write_csv(stream, records)
        else:
            stream.write(_as_json(records, failed) + "\n")


def _as_json(records: list[Record], failed: list[Record] | None) -> str:
    document: dict[str, Any] = {"data": records}
    if failed is not None:
        document["failed"] = failed
    return json.dumps(document, indent=1)


def _write_csv(stream: IO[str], records: list[Record]) -> None:
    columns = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.writer(stream)
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(record.get(name)) for name in columns])


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def load_records(paths: Iterable[str]) -> list[Record]:
    """Read records from results files (`.json`, `.json.gz`, `.csv`, `.csv.gz`) and from logs.

    Raises:
        LogError: A file is missing, unreadable, or of another form.
    """
    records: list[Record] = []
    logs = []
    for path in paths:
        kind = path.removesuffix(".gz")
        if kind.endswith((".json", ".csv")):
            records += _load_results(path, kind)
        else:
            logs.append(path)
    if logs:
        records += read_logs(logs).records
    return records


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    with open(path, "rb") as raw:
        binary: Any = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        yield io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _load_results(path: str, kind: str) -> list[Record]:
    try:
        with _opened(path) as stream:
            if kind.endswith(".csv"):
                return [
                    {name: _typed(value) for name, value in row.items() if name and value not in (None, "")}
                    for row in csv.DictReader(stream)
                ]
            document = json.load(stream)
    except FileNotFoundError:
        raise LogError(
            "no such file", where=path, hint="dlbs parse LOGS --output_file results.json writes one"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    except (json.JSONDecodeError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LogError(f"not JSON: {error}", where=f"{path}{line}") from None
    lists = [document.get("data"), document.get("failed", [])] if isinstance(document, dict) else [document]
    records = [record for items in lists if isinstance(items, list) for record in items if isinstance(record, dict)]
    if not all(isinstance(items, list) for items in lists) or len(records) != sum(map(len, lists)):
        raise LogError('no results: a list of experiments is expected, or {"data": [...]}', where=path)
    return records


def _typed(value: str) -> Any:
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value
