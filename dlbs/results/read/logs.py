"""Find and read logs: directories, archives and compressed files, in several processes; nothing is unpacked to disk."""

from __future__ import annotations

import gc
import glob
import gzip
import io
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from dlbs.core.errors import LogError
from dlbs.core.files import open_regular, read_small, similar_files
from dlbs.results.columns import ROWS, merged
from dlbs.results.read.onelog import Notice, Reading, read_log
from dlbs.results.runs import Record, Runs
from dlbs.run.manifest import PLAN_NAME, PlanFile, parse_plan_file, read_plan_file

LOG_ENDINGS = (".log", ".log.gz", ".log.part")
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")
_UNPACKED = 1 << 30  # bytes that any file may unpack to
_RATIO = 100  # unpacked bytes per byte of a larger file; logs compress by a factor of 10 to 20, zeros by 1,000
_MOST_LOGS = 100_000  # in an archive
_LONGEST_READ = 64 << 20  # bytes; the header lengths in an archive are not trusted
_GZIP = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """A stream that raises an error if it contains too many bytes.

    Args:
        stream: The stream to read.
        limit: Largest number of bytes.

    Raises:
        LogError: From `read` and `readinto`: the limit is exceeded.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, never more than 64 MiB; none at the end."""
        if size > _LONGEST_READ:
            raise LogError(f"damaged: a header claims {size:,} bytes")
        block = self._stream.read(_LONGEST_READ if size < 0 else size)
        self._left -= len(block)
        if self._left < 0:
            raise LogError(f"unpacks to more than {self._limit:,} bytes")
        return block

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        block = self.read(min(len(buffer), _LONGEST_READ))
        buffer[: len(block)] = block
        return len(block)


def unpacked(stream: IO[bytes], size: int) -> IO[bytes]:
    """Unpack a gzip stream of a given size: at most 1 GiB or 100 times the size, whichever is more."""
    return Unpacked(gzip.GzipFile(fileobj=stream), _limit(size))  # type: ignore[return-value, arg-type]


def _limit(size: int) -> int:
    return max(_UNPACKED, _RATIO * size)


def log_streams(path: str, *, follow_links: bool) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the logs of a file with their names, and the plan files of an archive; each stream must be read before the next one is requested.

    Args:
        path: The file.
        follow_links: Whether it may be a symbolic link: allowed for paths given by the user, not for files in a log directory.

    Raises:
        LogError: The file is not a regular file, cannot be read, or unpacks to too many bytes.
        OSError, EOFError, ValueError, tarfile.TarError, zlib.error: The file is damaged.
    """
    with open_regular(path, follow_links=follow_links, buffering=0) as stream:
        if path.endswith(ARCHIVE_ENDINGS):
            packed = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            inside = unpacked(stream, _size(stream)) if packed else Unpacked(stream, _limit(_size(stream)))
            yield from _in_archive(path, inside)  # type: ignore[arg-type]
        elif path.endswith(".gz"):
            yield path, unpacked(stream, _size(stream))
        else:
            yield path, stream


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _in_archive(path: str, stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    count = 0
    # As a stream: without seeking, so each byte is unpacked and counted once.
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps every member, possibly millions
            # Only regular files: a link in an archive may point outside of it, and a device is not a log.
            is_plan = os.path.basename(member.name) == PLAN_NAME
            if not member.isreg() or member.issparse() or not (is_plan or member.name.endswith(LOG_ENDINGS)):
                continue
            count += 1
            if count > _MOST_LOGS:
                raise LogError(f"contains more than {_MOST_LOGS:,} logs")
            inside = archive.extractfile(member)
            if inside is not None:
                yield f"{path}:{member.name}", unpacked(inside, member.size) if member.name.endswith(".gz") else inside


_PLAIN = (".log", ".log.part")
_SMALL = 128 << 10  # bytes of a plain log that is read at once
_ENDINGS = (*LOG_ENDINGS, *ARCHIVE_ENDINGS)
_LONGEST_PLAN = 64 << 20  # bytes of a plan file in an archive
_WORTHWHILE = 16 << 20  # bytes from which a second process is faster

Stamp = tuple[int, int]  # size of a file in bytes, and its modification time in ns
_MISSING: Stamp = (0, 0)


class FoundLog(NamedTuple):
    """Where a log was found, and its stamp."""

    directory: str
    stamp: Stamp


def find_logs(paths: Iterable[str]) -> dict[str, FoundLog]:
    """Find log files by files, directories (recursively) and glob patterns, each once.

    Logs of one directory are in the order of its plan; those missing from the plan come first, by modification time. Names contain a hash,
    so their order is meaningless.

    Returns:
        Log file → the directory in which it was found, and its size and modification time.

    Raises:
        LogError: A path or pattern matches nothing.
    """
    found: dict[str, FoundLog] = {}
    for path in paths:
        if os.path.isdir(path):
            walked = os.walk(path)
            inside = _in_plan_order(
                {directory: logs for directory, _, names in walked if (logs := list(filter(_is_log, names)))}
            )
            if not inside:
                raise LogError(
                    "no log files in this directory", where=path, hint=f"names of logs end in {', '.join(LOG_ENDINGS)}"
                )
            for log, stamp in inside.items():
                found.setdefault(log, FoundLog(path, stamp))
        elif os.path.exists(path):
            found.setdefault(path, FoundLog(os.path.dirname(path) or ".", _stamp(path)))
        else:
            matches: dict[str, list[str]] = {}
            for matched in glob.glob(path, recursive=True):
                directory, name = os.path.split(matched)
                matches.setdefault(directory, []).append(name)
            if not matches:
                raise LogError("no such file", where=path, hint=_hint(path))
            for log, stamp in _in_plan_order(matches).items():
                if os.path.isdir(log):
                    for inner, match in find_logs([log]).items():
                        found.setdefault(inner, match)
                else:
                    found.setdefault(log, FoundLog(os.path.dirname(log) or ".", stamp))
    return found


def _hint(path: str) -> str:
    if "${" in path or path.startswith("~"):
        return "the quotes prevent the shell from expanding it: remove them, or write \"${HOME}/logs/\"'*.log'"
    return similar_files(path) or "give log files, directories or glob patterns"


def has_logs(directory: str) -> bool:
    """Whether `find_logs` finds any in a directory."""
    return any(map(_is_log, chain.from_iterable(names for _, _, names in os.walk(directory))))


def _is_log(name: str) -> bool:
    return name.endswith(_ENDINGS)


def _in_plan_order(names: Mapping[str, list[str]]) -> dict[str, Stamp]:
    """Sort the files of directories as `find_logs` does. One `stat` per log serves the order and the choice of processes."""
    stamps: dict[str, Stamp] = {}
    for directory in sorted(names):
        prefix = os.path.join(directory, "")
        found = [(prefix + name, _stamp(prefix + name), name) for name in sorted(names[directory])]
        try:
            position = _positions(read_plan_file(Path(directory)))
        except LogError:  # `dlbs status` reports the problem; here the plan only provides an order
            position = {}
        if position:
            unplanned = [file for file in found if _stem(file[2]) not in position]
            planned = [file for file in found if _stem(file[2]) in position]
        else:
            unplanned, planned = found, []
        unplanned.sort(key=lambda file: file[1][1])
        planned.sort(key=lambda file: position[_stem(file[2])])
        for path, stamp, _ in unplanned + planned:
            stamps[path] = stamp
    return stamps


def _positions(plan: PlanFile) -> dict[str, int]:
    return {name: at for at, name in enumerate(plan.logs)}


def _stem(name: str) -> str:
    """Name of a log without the endings of compressed or unfinished ones."""
    return name.removesuffix(".gz").removesuffix(".part")


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return _MISSING  # reported when it is read
    return status.st_size, status.st_mtime_ns


def read_logs(paths: Iterable[str], reading: Reading | None = None, *, jobs: int = 1) -> Iterator[Runs]:
    """Read log files as blocks of runs; problems of single logs are added to `reading`, not raised.

    Args:
        paths: As for `find_logs`.
        reading: Collects findings.
        jobs: Largest number of processes; several are used only where that is faster.

    Raises:
        LogError: A path or pattern matches nothing.
    """
    paths = list(paths)
    for block in _blocks(find_logs(paths), jobs, frozenset(paths)):
        if reading is not None:
            reading.add(block.logs, block.noticed)
        yield block.runs


T = TypeVar("T")
R = TypeVar("R")
Read = tuple[list[Record], list[Notice]]


class _Block(NamedTuple):
    """Logs that were read together.

    Attributes:
        logs: Their paths.
        counts: The number of records of each.
        noticed: Notices of each.
        runs: The runs of all logs, in order.
    """

    logs: list[str]
    counts: list[int]
    noticed: list[list[Notice]]
    runs: Runs


def _blocks(found: Mapping[str, FoundLog], jobs: int, named: frozenset[str]) -> Iterator[_Block]:
    """Blocks of all logs in order; `named` are paths given by the user, which may be links."""
    logs = list(found)
    several = jobs > 1 and len(logs) > 1 and sum(one.stamp[0] for one in found.values()) >= _WORTHWHILE
    # Several batches per process, because logs differ in size.
    together = max(1, min(ROWS, len(logs) // (4 * jobs))) if several else ROWS
    batches = [logs[start : start + together] for start in range(0, len(logs), together)]
    tasks = [[(log, log in named) for log in batch] for batch in batches]
    return in_processes(_read_batch, tasks, jobs) if several else map(_read_batch, tasks)


def in_processes(function: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Iterator[R]:
    """Results of a function in several processes, in the order of the tasks. Few are worked on ahead of the reader, so memory is flat."""
    from concurrent.futures import Future, ProcessPoolExecutor

    waiting: deque[Future[R]] = deque()
    with ProcessPoolExecutor(max_workers=min(jobs, len(tasks)), initializer=gc.disable) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _read_batch(logs: list[tuple[str, bool]]) -> _Block:
    block = _Block([], [], [], Runs.of([]))

    def records() -> Iterator[Record]:
        for log, follow in logs:
            found, noticed = read_file(log, follow_links=True) if follow else read_file(log)
            block.logs.append(log)
            block.counts.append(len(found))
            block.noticed.append(noticed)
            yield from found

    return block._replace(runs=Runs.of(records()))


def read_file(path: str, *, follow_links: bool = False) -> Read:
    """Read the records of a file, one per log, and the findings."""
    records: list[Record] = []
    findings: list[Notice] = []
    try:
        if path.endswith(_PLAIN) and (content := read_small(path, _SMALL, follow_links=follow_links)) is not None:
            record = read_log(path, io.BytesIO(content), findings)
            return [record] if record else [], findings
        plans: dict[str, dict[str, int]] = {}
        for name, stream in log_streams(path, follow_links=follow_links):
            if name is not path and os.path.basename(member := name.removeprefix(f"{path}:")) == PLAN_NAME:
                plans[os.path.dirname(member)] = _positions(parse_plan_file(stream.read(_LONGEST_PLAN)))
                continue
            record = read_log(name, stream, findings)
            if record:
                records.append(record)
        if plans:  # an archive
            records.sort(key=lambda record: _place(plans, record["exp.log_file"].removeprefix(f"{path}:")))
    except LogError as error:
        findings.append(Notice("unreadable", path, error.what))
    # Python's tarfile recurses for each header of a header, and trusts the numbers in them.
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        findings.append(Notice("unreadable", path, " ".join(reason.split())[:200] or type(error).__name__))
    return records, findings


def _place(plans: dict[str, dict[str, int]], name: str) -> tuple[str, int]:
    """Sort key of a log in an archive: its directory, and its position in the plan of that directory."""
    directory = os.path.dirname(name)
    return directory, plans.get(directory, {}).get(_stem(os.path.basename(name)), -1)


_NO_STAMP: Stamp = (-1, -1)  # of a file that is to be read again


class _Kept(NamedTuple):
    """A log that was read: its stamp, its runs among those of all logs, and what was noticed."""

    stamp: Stamp
    rows: range
    noticed: list[Notice]


class KeptLogs:
    """The logs in a directory and below it.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._runs = Runs.of([])
        self._logs: dict[str, _Kept] = {}

    def read(self, reading: Reading) -> Runs:
        """The runs of all logs, in the order of `find_logs`; only those that have changed are opened.

        Args:
            reading: Takes what is noticed.

        Raises:
            LogError: There are no logs.
        """
        found = find_logs([self.directory])
        fresh = {log: one for log, one in found.items() if log not in self._logs or self._logs[log].stamp != one.stamp}
        if fresh or [*found] != [*self._logs]:
            parts, at = [self._runs], len(self._runs)
            for block in _blocks(fresh, 1, frozenset()):
                parts.append(block.runs)
                for log, count, noticed in zip(block.logs, block.counts, block.noticed, strict=True):
                    # The reason why a file cannot be read, such as permissions, may end without a change of size or time.
                    unreadable = any(one.kind == "unreadable" for one in noticed)
                    stamp = _NO_STAMP if unreadable else found[log].stamp
                    self._logs[log] = _Kept(stamp, range(at, at + count), noticed)
                    at += count
            runs = Runs.together(parts).take([row for log in found for row in self._logs[log].rows])
            self._runs = Runs(merged([runs]))
            ends = list(accumulate((len(self._logs[log].rows) for log in found), initial=0))
            self._logs = {log: self._logs[log]._replace(rows=range(*ends[at : at + 2])) for at, log in enumerate(found)}
        reading.add([*found], [one.noticed for one in self._logs.values()])
        return self._runs

    def complete(self) -> Iterator[tuple[str, Stamp, Record]]:
        """Each log with one complete experiment of DLBS in it: its path, its size and time, and its record."""
        for log, kept in self._logs.items():
            if len(kept.rows) == 1 and log.endswith(".log"):
                record = self._runs[kept.rows[0]]
                if "exp.dlbs_version" in record:
                    yield log, kept.stamp, record
