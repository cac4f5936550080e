"""Cache of parsed logs: reading an unchanged directory again costs little."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import marshal
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from dlbs.errors import LogError
from dlbs.files import open_regular, user_cache

# Increment the number when the content of blocks changes. Other versions use other files.
_FORMAT = f"dlbs 4 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}"
_MAGIC = b"dlbs blocks of logs\n"
_SETTLED = 2.0  # s: a file modified more recently may change again without a new modification time
_WORTHWHILE = 1 << 20  # bytes: smaller sets of logs are not cached
_LARGEST = 1 << 30  # bytes of all caches together; the least recently used one is removed first
_HEAD = 16  # bytes of the lengths of an index and a content, and of their checksum

_logger = logging.getLogger(__name__)

Stamp = tuple[int, int]  # size of a file in bytes, and its modification time in ns
MISSING: Stamp = (0, 0)
Noticed = list[tuple[str, str, str]]  # findings, as tuples


class FoundLog(NamedTuple):
    """Where a log was found, and its stamp."""

    directory: str
    stamp: Stamp


class Cache:
    """Blocks of parsed logs in one file for each set of directories, which is replaced as a whole.

    An entry is valid while its log has the same size and modification time; the rest of a block stays in use. Each block has a checksum: a
    damaged one is ignored. Nothing in a cache is ever executed.

    Args:
        logs: The logs of `find_logs`. If empty, the cache stays empty and writes nothing.

    Attributes:
        places: For each unchanged log, the number of its block, and its index in it.
        counts: For each block, the number of records of each of its logs.
        findings: For each block, what was noticed in its logs, by their index.
    """

    def __init__(self, logs: Mapping[str, FoundLog]) -> None:
        self._now = time.time()
        self._logs = logs
        self._stream: IO[bytes] | None = None
        self._offsets: list[tuple[int, int]] = []
        self._new: IO[bytes] | None = None
        self._path: Path | None = None
        self.places: dict[str, tuple[int, int]] = {}
        self.counts: list[list[int]] = []
        self.findings: list[dict[int, Noticed]] = []
        self._known = 0
        if not logs:
            return
        try:
            self._path = _path({log.directory for log in logs.values()})
            if self._path.is_file():
                self._stream = open_regular(self._path)
                self._load()
                os.utime(self._path)  # time of last use, for `_make_room`
        except (OSError, LogError, RuntimeError) as error:  # RuntimeError: a user without a home directory
            _logger.debug("ignoring the cache %s: %s", self._path, error)

    def _load(self) -> None:
        stream = self._stream
        assert stream is not None
        if os.fstat(stream.fileno()).st_uid != os.geteuid() or stream.read(len(_MAGIC)) != _MAGIC:
            return
        while len(head := stream.read(_HEAD)) == _HEAD:
            length, size, checksum = (int.from_bytes(head[at:end], "big") for at, end in ((0, 4), (4, 12), (12, 16)))
            start = stream.tell() + length
            # The checksum of NULs, as a power cut leaves them, is right.
            if not length or start + size > os.fstat(stream.fileno()).st_size:
                return
            index = stream.read(length)
            if zlib.crc32(stream.read(size), zlib.crc32(index)) != checksum:
                return
            names, stamps, counts, findings = marshal.loads(index)
            for at, (name, stamp) in enumerate(zip(names, stamps, strict=True)):
                found = self._logs.get(log := os.fsdecode(name))
                if found is not None and found.stamp == stamp != MISSING:
                    self.places[log] = len(self._offsets), at
            self._offsets.append((start, size))
            self.counts.append(counts)
            self.findings.append(findings)
            self._known += len(names)

    def content(self, number: int) -> bytes:
        """The dumped runs of a block."""
        assert self._stream is not None
        start, size = self._offsets[number]
        self._stream.seek(start)
        return self._stream.read(size)

    def begin(self) -> bool:
        """Begin to write the cache again, if that is worthwhile; a cache that cannot be written is not an error."""
        size = sum(log.stamp[0] for log in self._logs.values())
        # A few logs of a directory do not replace the rest.
        if self._path is None or size < _WORTHWHILE or 2 * len(self._logs) < self._known:
            return False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._new = tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=".", delete=False)
            self._new.write(_MAGIC)
        except OSError as error:
            self._failed(error)
        return self._new is not None

    def add(self, logs: list[str], counts: list[int], findings: dict[int, Noticed], content: bytes) -> None:
        """Write a block; a log that was modified just now, or is unreadable, is to be read again."""
        if self._new is None:
            return
        # The reason why a file cannot be read, such as permissions, may end without a change of size or time.
        failed = {at for at, noticed in findings.items() if any(kind == "unreadable" for kind, *_ in noticed)}
        stamps = [
            MISSING if at in failed or (stamp := self._logs[log].stamp)[1] / 1e9 >= self._now - _SETTLED else stamp
            for at, log in enumerate(logs)
        ]
        index = marshal.dumps((list(map(os.fsencode, logs)), stamps, counts, findings))
        checksum = zlib.crc32(content, zlib.crc32(index))
        head = len(index).to_bytes(4, "big") + len(content).to_bytes(8, "big") + checksum.to_bytes(4, "big")
        try:
            self._new.write(head + index)
            self._new.write(content)
        except OSError as error:
            self._failed(error)

    def end(self) -> None:
        """Replace the old cache by what was written."""
        if self._new is None or self._path is None:
            return
        try:
            self._new.close()
            os.replace(self._new.name, self._path)
            self._new = None
            _make_room()
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Close the files; an incomplete one is removed."""
        if self._stream is not None:
            self._stream.close()
        self._failed(None)

    def _failed(self, error: Any) -> None:
        if error is not None:
            _logger.debug("cannot write the cache %s: %s", self._path, error)
        if self._new is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._new.name)
            with contextlib.suppress(OSError):
                self._new.close()
            self._new = None


def _path(directories: set[str]) -> Path:
    # Paths are stored as the user wrote them, so the same directory under another name has a separate cache.
    key = "\0".join([_FORMAT, os.getcwd(), *sorted(directories)]).encode("utf-8", "surrogateescape")
    return user_cache("logs") / f"{hashlib.sha256(key).hexdigest()[:24]}.blocks"


def _make_room() -> None:
    """Remove the least recently used caches until the total size is within the limit."""
    files = []
    for path in user_cache("logs").iterdir():
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda file: file[0]):
        if total <= _LARGEST:
            return
        path.unlink(missing_ok=True)
        total -= size
