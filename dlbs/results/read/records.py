"""Files of results: read and write JSON, JSON Lines, CSV and Parquet in blocks of runs."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import repeat
from typing import IO, Any

from dlbs.core.errors import LogError
from dlbs.core.files import JsonError, load_json, load_json_bytes, make_parent, open_regular, write_atomically
from dlbs.core.text import csv_cell, csv_line, formula_escaped, formula_unescaped
from dlbs.core.version import __version__
from dlbs.results.columns import plain
from dlbs.results.read.logs import has_logs, in_processes, read_logs, unpacked
from dlbs.results.read.onelog import LONGEST, Reading
from dlbs.results.runs import Record, Runs, blocks_of

_IN_MEMORY = 16 << 20  # bytes of output that are buffered in memory; the rest in a temporary file
_RANGE = 8 << 20  # bytes of a file of JSON Lines that a process reads at once
_LONGEST_CELL = LONGEST  # letters of a value in a CSV file; Python's default is less than the times of 7,000 batches
# Beginnings of all values that are read as JSON.
_LIKE_JSON = re.compile(r'\s*(?:["\[{\d-]|true|false|null|NaN|Infinity)')


def write_records(path: str | None, records: Iterable[Record], failed: Sequence[Record] | None = None) -> None:
    """Write records, as `write_blocks` does."""
    write_blocks(path, blocks_of(records), None if failed is None else [Runs.of(failed)])


def write_blocks(path: str | None, blocks: Iterable[Runs], failed: Iterable[Runs] | None = None) -> None:
    """Write runs as JSON (`{"dlbs_version": ..., "data": [...]}`), JSON Lines, CSV or Parquet to a file or, without a path, as JSON to standard output.

    Memory is that of a few blocks: CSV and Parquet, whose columns are known at the end, keep the blocks in a temporary file. After an error,
    even in the last block, there is no file and nothing on standard output.

    Args:
        path: `.json`, `.jsonl` or `.csv`, followed by `.gz` for a compressed file, or `.parquet`.
        blocks: The runs.
        failed: Failed runs for a separate list (JSON only); read after all blocks were consumed.

    Raises:
        LogError: The format is unknown, does not support a second list, or needs a package that is missing.
        ConfigError: The file cannot be written.
    """
    if path is None:
        import shutil
        import tempfile

        with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8") as whole:
            _write_json(whole, blocks, failed)
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
            hint="use .json, or --failed-benchmarks keep",
        )
    make_parent(path)
    if kind.endswith(".parquet"):
        from dlbs.results.read.parquet import write_parquet

        with Spool(blocks) as spool:
            write_parquet(path, spool)
        return
    with write_atomically(path) as out:
        if kind.endswith(".csv"):
            with Spool(blocks) as spool:
                _write_csv(out, spool)
        elif kind.endswith(".jsonl"):
            for block in blocks:
                out.writelines(line + "\n" for line in block.json_lines())
        else:
            _write_json(out, blocks, failed)


class Spool:
    """Blocks in a temporary file, to be read several times.

    Args:
        blocks: The blocks, which are all read at once.

    Attributes:
        names: All keys, in the order in which runs have them.
    """

    def __init__(self, blocks: Iterable[Runs]) -> None:
        import pickle
        import tempfile

        self.names: dict[str, None] = {}
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)
        try:
            for block in blocks:
                self.names.update(dict.fromkeys(block.names))
                self._count += 1
                pickle.dump(block, self._file)
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Runs]:
        import pickle

        self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _write_json(stream: IO[str], blocks: Iterable[Runs], failed: Iterable[Runs] | None) -> None:
    stream.write(f'{{"dlbs_version": {json.dumps(__version__)}, "data": [')
    _write_list(stream, blocks)
    if failed is not None:
        stream.write('], "failed": [')
        _write_list(stream, failed)
    stream.write("]}\n")


def _write_list(stream: IO[str], blocks: Iterable[Runs]) -> None:
    """One record per line: fast to write, and easy to search with other tools."""
    between = "\n"
    for block in blocks:
        for line in block.json_lines():
            stream.write(between + line)
            between = ",\n"
    if between != "\n":
        stream.write("\n")


def _write_csv(stream: IO[str], spool: Spool) -> None:
    stream.write(csv_line(spool.names))
    for block in spool:
        columns: list[Iterable[str]] = []
        for name in spool.names:
            column = block.table.column(name)
            if column is None:
                columns.append(repeat("", len(block)))
            else:
                cells = [*(csv_cell(_cell(plain(value))) for value in column.values), ""]
                columns.append(map(cells.__getitem__, block.codes(column)))
        stream.writelines(
            f"{','.join(row)}\n" for row in (zip(*columns, strict=True) if columns else [()] * len(block))
        )


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


def read_runs(paths: Iterable[str], reading: Reading | None = None, *, jobs: int = 1) -> Runs:
    """Read runs as one table; arguments and errors as for `read_blocks`."""
    return Runs.together(read_blocks(paths, reading, jobs=jobs))


def read_blocks(
    paths: Iterable[str],
    reading: Reading | None = None,
    *,
    jobs: int = 1,
    in_groups: bool = False,
) -> list[Runs]:
    """Read runs from results files (those of `write_blocks`) and from logs.

    Args:
        paths: Results files, patterns of them, directories of Parquet files, and everything that `find_logs` accepts.
        reading: Collects findings about logs.
        jobs: Processes that read logs and large files.
        in_groups: Make a table of each row group of a Parquet file, instead of each file.

    Raises:
        LogError: A file is missing, or a results file cannot be read or has another structure.
    """
    blocks: list[Runs] = []
    logs = []
    for path in paths:
        files = _results_files(path)
        for file in files:
            blocks += _blocks_of_file(file, jobs, in_groups=in_groups)
        if not files:
            logs.append(path)
    if logs:
        blocks += read_logs(logs, reading, jobs=jobs)
    return blocks


def _results_files(path: str) -> list[str]:
    """The results files of a path; none if it is for `find_logs`. A directory has its Parquet files, unless it has logs."""
    if is_results_file(path):
        return [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True)) or [path]
    if not os.path.isdir(path):
        return []
    files = sorted(glob.glob(os.path.join(glob.escape(path), "*.parquet")))
    return files if files and not has_logs(path) else []


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with open_regular(path, follow_links=True) as raw:
        yield io.BufferedReader(unpacked(raw, os.fstat(raw.fileno()).st_size)) if path.endswith(".gz") else raw  # type: ignore[type-var]


def _blocks_of_file(path: str, jobs: int, *, in_groups: bool) -> Iterable[Runs]:
    kind = path.removesuffix(".gz")
    if kind.endswith(".parquet"):
        from dlbs.results.read.parquet import read_parquet

        return read_parquet(path, in_groups=in_groups)
    try:
        with _opened(path) as stream:
            if kind.endswith(".jsonl"):
                return (jobs > 1 and path == kind and _in_ranges(path, jobs)) or list(
                    blocks_of(_json_lines(stream, path))
                )
            if kind.endswith(".csv"):
                return list(blocks_of(_csv_rows(io.TextIOWrapper(stream, encoding="utf-8", newline=""))))
            with suppress(JsonError, _OtherDocumentError):
                return list(blocks_of(_lines_of_document(stream)))
        with _opened(path) as stream:
            document = load_json(stream.read().decode(), around=3)
    except FileNotFoundError:
        raise LogError(
            "no such file", where=path, hint="create one: dlbs parse LOGS --output-file results.json"
        ) from None
    except JsonError as error:
        raise LogError(f"not JSON: {error.what}", where=f"{path}:{error.line}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"cannot be read: {error}", where=path) from None
    except MemoryError:
        raise LogError("the file is too large for the memory of this machine", where=path) from None
    lists = [document.get("data"), document.get("failed", [])] if isinstance(document, dict) else [document]
    records = [record for items in lists if isinstance(items, list) for record in items if isinstance(record, dict)]
    if not all(isinstance(items, list) for items in lists) or len(records) != sum(map(len, lists)):
        raise LogError('not a results file: expected a list of experiments or {"data": [...]}', where=path)
    return blocks_of(records)


def _csv_rows(stream: IO[str]) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))  # of the process
    typed = lru_cache(4096)(_typed)
    for row in csv.DictReader(stream):
        yield {
            formula_unescaped(name): _typed(value) if value[:1] in "[{" else typed(value)
            for name, value in row.items()
            if name and value not in (None, "")
        }


class _OtherDocumentError(Exception):
    """A document that `write_blocks` has not written."""


def _lines_of_document(lines: IO[bytes]) -> Iterator[Record]:
    """The records of a document of `write_blocks`, which has one in a line.

    Raises:
        _OtherDocumentError: It is another document.
        JsonError: A line is not JSON.
    """
    if not _HEAD.fullmatch(next(lines, b"")):
        raise _OtherDocumentError
    more = True  # records are to follow: there was none yet, or there was a comma
    comma = False
    for line in lines:
        if line in _ENDS and not comma:
            if line != _FAILED and not next(lines, b""):
                return
            if line != _FAILED:
                break
            more = True
            continue
        whole = line.rstrip(b"\r\n")
        comma = whole.endswith(b",")
        record = load_json_bytes(whole[:-1] if comma else whole, around=1) if more else None
        if not isinstance(record, dict):
            break
        more = comma
        yield record
    raise _OtherDocumentError


_HEAD = re.compile(rb'\{"dlbs_version": "[^"\\]*", "data": \[\n')
_FAILED = b'], "failed": [\n'
_ENDS = (b"]}\n", _FAILED, b'], "failed": []}\n')


def _json_lines(lines: Iterable[bytes], path: str) -> Iterator[Record]:
    """Read the records of a file with one per line; blank lines are ignored.

    Raises:
        LogError: A line is not a JSON object.
    """
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            record = load_json_bytes(line, around=1)
        except JsonError as error:
            raise LogError(f"not JSON: {error.what}", where=f"{path}:{number}") from None
        if not isinstance(record, dict):
            raise LogError("not a JSON object", where=f"{path}:{number}", hint="each line must be an experiment")
        yield record


def _in_ranges(path: str, jobs: int) -> list[Runs] | None:
    """The runs of a file of JSON Lines, read in several processes; None if it is small, or some line has an error."""
    size = os.path.getsize(path)
    if size < 2 * _RANGE:
        return None
    blocks: list[Runs] = []
    for found in in_processes(_range, [(path, start) for start in range(0, size, _RANGE)], jobs):
        if found is None:
            return None
        blocks += found
    return blocks


def _range(task: tuple[str, int]) -> list[Runs] | None:
    """The runs of the lines that begin in a range of a file."""
    path, start = task
    try:
        with open_regular(path, follow_links=True) as stream:
            if start:
                stream.seek(start - 1)
                stream.readline()

            def lines() -> Iterator[bytes]:
                while stream.tell() < start + _RANGE and (line := stream.readline()):
                    yield line

            return list(blocks_of(_json_lines(lines(), path)))
    except (LogError, OSError):
        return None


def _typed(value: str) -> Any:
    given = formula_unescaped(value)
    if given != value or not _LIKE_JSON.match(value):
        return given
    try:
        return load_json(value)
    except JsonError:
        return value
