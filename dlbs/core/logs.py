"""The log protocol: `__key__= json` lines among ordinary output, and fast reading of a log's beginning and end."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from benchmark_core.log import KEY_LINE
from dlbs.core.errors import LogError
from dlbs.core.files import JsonError, load_json, open_regular
from dlbs.core.text import are_finite, finite

ENGINES = ("docker", "podman", "nerdctl")  # programs that a log may name for its containers

_HEAD = 4 << 20  # bytes at a log's beginning that contain its parameters
_TAIL = 16_384  # bytes before a log's ending that contain the last results
_LONGEST_ENDING = 4 << 20  # bytes; includes the samples of the monitor
_START = re.compile(rb'^__exp\.start_time__= "([^"\n]{1,40})"', re.MULTILINE)
_ENDING = b"\n__exp.end_time__"  # written by the launcher at the end of the benchmark


def parse_line(line: str) -> tuple[str, Any] | None:
    """The key and value of a log line; None if it is ordinary output.

    Raises:
        LogError: It has the form of a key line, but its value is not JSON.
    """
    found = KEY_LINE.match(line)
    if found is None:
        return None
    try:
        return found[1], load_json(found[2])
    except JsonError as error:
        raise LogError(f"the value of {found[1]!r} is not JSON ({error.what}): {found[2].strip()[:80]!r}") from None


def batch_time(values: Mapping[str, Any]) -> float | None:
    """The batch time in ms: `results.time`, or the mean of `results.time_data` if a program logs only that."""
    if "results.time" in values:
        return finite(values["results.time"])
    times = values.get("results.time_data")
    return math.fsum(times) / len(times) if times and are_finite(times) else None


def first_values(log: str | os.PathLike[str]) -> dict[str, Any]:
    """The parameters of an experiment, from the beginning of its log; empty if there is no file.

    Raises:
        LogError: The file exists, but is not regular or cannot be read.
    """
    values: dict[str, Any] = {}
    for line in _read(log, 0, _HEAD).split(b"\n"):
        try:
            pair = parse_line(line.decode("utf-8", "replace"))
        except LogError:
            continue  # the last line of a log that is being written
        if pair is None or pair[0] == "exp.start_time":
            break
        values[pair[0]] = pair[1]
    return values


def first_number(log: str | os.PathLike[str], key: str) -> int | None:
    """A whole number among the parameters in a log, faster than from `first_values`; None if it is missing.

    Raises:
        LogError: The file exists, but is not regular or cannot be read.
    """
    found = re.search(rb"^__%b__= (\d{1,18})$" % re.escape(key).encode(), _read(log, 0, _HEAD), re.MULTILINE)
    return int(found[1]) if found else None


def start_time(log: str | os.PathLike[str]) -> float | None:
    """The start time of a log's benchmark in seconds since 1970; None if the log or the line is missing.

    Raises:
        LogError: The file exists, but is not regular or cannot be read.
    """
    found = _START.search(_read(log, 0, _HEAD))
    if found is None:
        return None
    try:
        return dt.datetime.strptime(found[1].decode(), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return None


def last_values(log: str | os.PathLike[str]) -> dict[str, Any]:
    """The values near the end of a log file; empty if there is no file.

    The last lines contain the status of an experiment, so resuming a plan of ten thousand reads little of each log.

    Raises:
        LogError: The file exists, but is not regular or cannot be read.
    """
    tail = _tail(log)
    values: dict[str, Any] = {}
    start = max(0, tail.rfind(b"\n__exp.start_time__"))  # skips about a hundred parameters before it
    for line in tail[start:].decode("utf-8", "replace").split("\n"):
        try:
            pair = parse_line(line)
        except LogError:
            continue  # the tail may begin inside a line
        if pair is not None:
            values[pair[0]] = pair[1]
    return values


def _tail(log: str | os.PathLike[str]) -> bytes:
    """The end of a log, from before the benchmark's end: the lines after it may be longer than all results."""
    size = _TAIL
    tail = _read(log, -size, size)
    while len(tail) == size < _LONGEST_ENDING and tail.rfind(_ENDING) < _TAIL // 2:
        size *= 4
        tail = _read(log, -size, size)
    return tail


def _read(log: str | os.PathLike[str], start: int, size: int) -> bytes:
    """Up to `size` bytes of a log from a position, relative to its end if negative; empty if there is no file."""
    try:
        with open_regular(log) as stream:
            stream.seek(start if start >= 0 else max(0, os.fstat(stream.fileno()).st_size + start))
            return stream.read(size)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(log)) from None
