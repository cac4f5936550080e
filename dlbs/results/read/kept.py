"""Read the logs of a directory repeatedly: records stay in memory until their log changes."""

from __future__ import annotations

from collections.abc import Iterator

from dlbs.results.read.cache import Cache, Stamp
from dlbs.results.read.findings import Reading
from dlbs.results.read.logfiles import Read, find_logs, is_unreadable, pack, read_file, unpack
from dlbs.results.read.onelog import Record

__all__ = ["KeptLogs"]

_NO_STAMP: Stamp = (-1, -1)  # of a file that is to be read again
_MANY = 200  # logs from which looking into the cache on disk costs less than reading them


class KeptLogs:
    """The logs in a directory and below it.

    Args:
        directory: Where they are.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._known: dict[str, tuple[Stamp, Read]] = {}

    def read(self, reading: Reading) -> list[Record]:
        """The records of all logs, in the order of `find_logs`. They are kept: do not change them.

        Args:
            reading: Takes what is noticed.

        Raises:
            LogError: There are no logs.
        """
        logs = find_logs([self.directory])
        fresh = [log for log, found in logs.items() if log not in self._known or self._known[log][0] != found.stamp]
        cache = Cache(logs if len(fresh) >= _MANY else {})
        for log in fresh:
            packed = cache.get(log)
            read = read_file(log) if packed is None else unpack(packed)
            unreadable = is_unreadable(read[1])
            if packed is None and len(fresh) >= _MANY and not unreadable:
                cache.put(log, pack(read))
            self._known[log] = _NO_STAMP if unreadable else logs[log].stamp, read
        cache.write()
        self._known = {log: self._known[log] for log in logs}
        records: list[Record] = []
        for log, (_, (found, findings)) in self._known.items():
            reading.logs += 1
            reading.paths.add(log)
            reading.findings += findings
            records += found
        reading.unchanged += len(logs) - len(fresh)
        return records

    def complete(self) -> Iterator[tuple[str, Stamp, Record]]:
        """Each log with one complete experiment of DLBS in it: its path, its size and time, and its record."""
        for log, (stamp, (records, _)) in self._known.items():
            if len(records) == 1 and "exp.dlbs_version" in records[0] and log.endswith(".log"):
                yield log, stamp, records[0]
