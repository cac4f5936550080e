"""Cache of parsed logs: reading an unchanged directory again costs little."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import marshal
import os
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dlbs.files import user_cache

if TYPE_CHECKING:
    import sqlite3


# The blobs are those of `logfiles.pack`; increment the number when that changes. Other versions use other files.
_FORMAT = f"dlbs 3 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"
_SETTLED = 2.0  # s: a file modified more recently may change again without a new modification time
_WORTHWHILE = 1 << 20  # bytes: smaller sets of logs are not cached
_LARGEST = 1 << 30  # bytes of all caches together; the least recently used one is removed first
_PATIENCE = 1.0  # s to wait for another process that is writing the same cache
_TABLE = """
    CREATE TABLE IF NOT EXISTS logs (
        path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, checksum INTEGER NOT NULL, content BLOB NOT NULL
    )
"""

_logger = logging.getLogger(__name__)

Stamp = tuple[int, int]  # size of a file in bytes, and its modification time in ns
MISSING: Stamp = (0, 0)


class FoundLog(NamedTuple):
    """Where a log was found, and its stamp."""

    directory: str
    stamp: Stamp


_Entry = tuple[int, int, int, bytes]  # size, modification time in ns, checksum, content


class Cache:
    """Parsed logs by path, size and modification time; one SQLite file for each requested directory.

    SQLite protects concurrent processes from each other. A damaged file is ignored and recreated; each entry has its own checksum, because
    SQLite does not detect damage inside an entry. Nothing in a cache is ever executed.

    Args:
        logs: The logs of `find_logs`. If empty, the cache stays empty and writes nothing.
    """

    def __init__(self, logs: Mapping[str, FoundLog]) -> None:
        self._now = time.time()
        self._logs = logs
        self._unchanged: dict[str, bytes] = {}
        self._gone: dict[str, list[str]] = {}
        self._learnt: dict[str, dict[str, _Entry]] = {}
        for root in {log.directory for log in logs.values()}:
            self._gone[root], self._learnt[root] = [], {}
            for path, size, modified, checksum, content in _load(root):
                log = os.fsdecode(path)
                found = logs.get(log)
                if found is None or found.stamp == MISSING:
                    self._gone[root].append(log)
                elif found.stamp == (size, modified) and checksum == _checksum(path, size, modified, content):
                    self._unchanged[log] = content

    def __contains__(self, log: str) -> bool:
        return log in self._unchanged

    def get(self, log: str) -> bytes | None:
        """Cached content of a log, if the log has not changed since."""
        return self._unchanged.get(log)

    def put(self, log: str, content: bytes) -> None:
        """Cache the content of a log, unless the log was modified just now."""
        found = self._logs.get(log)
        if found is None or found.stamp == MISSING or found.stamp[1] / 1e9 >= self._now - _SETTLED:
            return
        checksum = _checksum(os.fsencode(log), *found.stamp, content)
        self._learnt[found.directory][log] = (*found.stamp, checksum, content)

    def write(self) -> None:
        """Write new entries; a cache that cannot be written is not an error."""
        written = False
        for root, learnt in self._learnt.items():
            size = sum(log.stamp[0] for log in self._logs.values() if log.directory == root)
            if not learnt or size < _WORTHWHILE:
                continue
            import sqlite3

            try:
                _store(_path(root), learnt, self._gone[root])
                written = True
            except (OSError, sqlite3.Error, RuntimeError) as error:
                _logger.debug("cannot write the cache of %s: %s", root, error)
        if written:
            try:
                _make_room()
            except OSError as error:
                _logger.debug("cannot remove old caches: %s", error)


def _checksum(path: bytes, size: int, modified: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(b"%b\0%d\0%d" % (path, size, modified)))


def _path(root: str) -> Path:
    # Paths are stored as the user wrote them, so the same directory under another name has a separate cache.
    key = f"{_FORMAT}\0{os.path.abspath(root)}\0{root}".encode("utf-8", "surrogateescape")
    return user_cache("logs") / f"{hashlib.sha256(key).hexdigest()[:24]}.sqlite"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    import sqlite3

    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA mmap_size = {_LARGEST}")
        yield connection
    finally:
        connection.close()


def _load(root: str) -> list[tuple[bytes, int, int, int, bytes]]:
    try:
        path = _path(root)
        if not path.is_file():
            return []
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home directory
        _logger.debug("ignoring the cache of %s: %s", root, error)
        return []
    import sqlite3

    try:
        with _opened(path) as connection:
            rows = connection.execute("SELECT path, size, modified, checksum, content FROM logs").fetchall()
        os.utime(path)  # time of last use, for `_make_room`
    except (OSError, sqlite3.Error) as error:
        _logger.debug("ignoring the cache of %s: %s", root, error)
        return []
    if any(list(map(type, row)) != [bytes, int, int, int, bytes] for row in rows):
        _logger.debug("ignoring the cache of %s: damaged content", root)
        return []
    return rows


def _store(path: Path, learnt: Mapping[str, _Entry], gone: list[str]) -> None:
    import sqlite3

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _add(path, learnt, gone)
    except sqlite3.OperationalError:
        raise  # locked by another process that writes the same, or no space: the file is valid
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        _add(path, learnt, gone)


def _add(path: Path, learnt: Mapping[str, _Entry], gone: list[str]) -> None:
    with _opened(path) as connection:
        connection.execute("PRAGMA page_size = 16384")  # most entries fit into one page
        connection.execute("PRAGMA synchronous = OFF")  # a cache lost in a power cut is recreated
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.executemany("DELETE FROM logs WHERE path = ?", [(os.fsencode(log),) for log in gone])
        connection.executemany(
            "INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?)",
            ((os.fsencode(log), *entry) for log, entry in learnt.items()),
        )
        connection.execute("COMMIT")


def _make_room() -> None:
    """Remove the least recently used caches until the total size is within the limit."""
    files = []
    for path in user_cache("logs").glob("*.sqlite"):
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda file: file[0]):
        if total <= _LARGEST:
            return
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # of a process that was killed while it wrote
        total -= size
