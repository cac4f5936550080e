"""What is known of logs that were read before, so that reading an unchanged directory again costs little."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import marshal
import os
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Cache", "cache_directory"]

# What is stored is what `logfiles.pack` packs; the number is raised when that changes.
_FORMAT = f"dlbs 1 {sys.version_info[0]}.{sys.version_info[1]} {marshal.version}".encode()

_SETTLED = 2.0  # s: a file that changed later than that may change again without another modification time

_WORTHWHILE = 1 << 20  # bytes of logs from which a cache is kept

_LARGEST = 1 << 30  # bytes of records in a cache

_logger = logging.getLogger(__name__)

_Entry = tuple[int, int, bytes]  # size, modification time in ns, what was read


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/dlbs/logs`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlbs" / "logs"


class Cache:
    """What was read from logs, by path, size and modification time; one file for each directory that was asked for.

    It lies in the user's own cache directory; one that is damaged or of another version is ignored.

    Args:
        logs: Log file → the directory through which it was found. Without any, nothing is known and nothing is kept.
    """

    def __init__(self, logs: Mapping[str, str]) -> None:
        self._now = time.time()
        self._stats: dict[str, tuple[int, int]] = {}
        for log in logs:
            with contextlib.suppress(OSError):
                status = os.stat(log)
                self._stats[log] = (status.st_size, status.st_mtime_ns)
        self._roots = dict(logs)
        self._known: dict[str, dict[str, _Entry]] = {root: _load(root) for root in set(logs.values())}
        self._changed: set[str] = set()

    def __contains__(self, log: str) -> bool:
        return self.get(log) is not None

    def get(self, log: str) -> bytes | None:
        """What was read from a log, if it has not changed since then."""
        root = self._roots.get(log)
        entry = self._known[root].get(log) if root is not None else None
        return entry[2] if entry is not None and entry[:2] == self._stats.get(log) else None

    def put(self, log: str, read: bytes) -> None:
        """Keep what was read from a log, unless it changed a moment ago."""
        root, stat = self._roots.get(log), self._stats.get(log)
        if root is not None and stat is not None and stat[1] / 1e9 < self._now - _SETTLED:
            self._known[root][log] = (*stat, read)
            self._changed.add(root)

    def write(self) -> None:
        """Write what was learnt. A cache that cannot be written is no error."""
        for root in self._changed:
            entries = {log: entry for log, entry in self._known[root].items() if log in self._stats}
            if sum(entry[0] for entry in entries.values()) < _WORTHWHILE:
                continue
            if sum(len(entry[2]) for entry in entries.values()) > _LARGEST:
                continue
            beside = None
            try:
                target = _path(root)
                beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                content = marshal.dumps(entries)
                beside.write_bytes(b"%s\n%d\n" % (_FORMAT, zlib.crc32(content)) + content)
                os.replace(beside, target)
            except (OSError, ValueError, RuntimeError) as error:
                _logger.debug("no cache of %s: %s", root, error)
                if beside is not None:
                    with contextlib.suppress(OSError):
                        beside.unlink()


def _path(root: str) -> Path:
    # The paths in it are as the user wrote them, so the same directory by another name has a cache of its own.
    name = hashlib.sha256(f"{os.path.abspath(root)}\0{root}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_directory() / name


def _load(root: str) -> dict[str, _Entry]:
    try:
        form, _, rest = _path(root).read_bytes().partition(b"\n")
        checksum, _, content = rest.partition(b"\n")
        if form != _FORMAT or int(checksum) != zlib.crc32(content):
            return {}
        entries = marshal.loads(content)
    except (OSError, ValueError, EOFError, TypeError, RuntimeError):  # the last: a user without a home
        return {}
    return entries if isinstance(entries, dict) else {}
