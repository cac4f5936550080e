"""Read log files, plain, compressed or in archives, into records: fast, whatever is in them, and only what changed since the last time."""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import marshal
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field
from typing import IO, Any

import orjson

from dlbs.errors import LogError
from dlbs.logs import parse_line

__all__ = ["KINDS", "Finding", "Reading", "Record", "find_logs", "read_logs"]

Record = dict[str, Any]

_LOG_ENDINGS = (".log", ".log.gz", ".log.part")
_ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")
_FIRST_BLOCK = 256 << 10  # bytes that are read at first: most logs are smaller, and a large buffer costs time
_BLOCK = 8 << 20  # bytes that are read at once after that
_LONGEST = 64 << 20  # bytes of the longest line that is still a value
_TOGETHER = 200  # logs that a process gets at once
_WORTHWHILE = 16 << 20  # bytes from which a second process pays for itself

KINDS = {
    "unreadable": "cannot be read",
    "broken": "has the form of a result, but its value is not JSON",
    "long": f"a value of more than {_LONGEST >> 20} MiB, left out",
    "torn": "the file ends in the middle of this line, which was left out",
    "encoding": "not UTF-8, read as Windows-1252",
    "binary": "binary data among the lines, left out",
    "repeated": "stands more than once with different values; the last one holds",
    "unfinished": "still being written, or interrupted",
    "empty": "holds no experiment",
}
ERRORS = frozenset({"unreadable", "broken"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a log that its reader should know.

    Attributes:
        kind: A key of `KINDS`, which says what it means.
        where: `file` or `file:line`.
        detail: What exactly; may be empty.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(slots=True)
class Reading:
    """What was noticed while logs were read.

    Attributes:
        findings: In the order of the logs.
        logs: How many logs were read.
        unchanged: How many of them came from the cache.
        paths: The logs that were read.
    """

    findings: list[Finding] = field(default_factory=list)
    logs: int = 0
    unchanged: int = 0
    paths: set[str] = field(default_factory=set)

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def errors(self) -> list[Finding]:
        """Findings by which a result may be lost."""
        return [finding for finding in self.findings if finding.kind in ERRORS]

    def messages(self, most: int = 3) -> list[str]:
        """One line for each kind that was found: how many, what it means, and where the first ones are."""
        counts = Counter(finding.kind for finding in self.findings)
        lines = []
        for kind, meaning in KINDS.items():
            if not counts[kind]:
                continue
            shown = [
                f"{found.where} ({found.detail})" if found.detail else found.where for found in self.of(kind)[:most]
            ]
            more = f", and {counts[kind] - most} more" if counts[kind] > most else ""
            lines.append(f"{counts[kind]} {kind}: {meaning}: {', '.join(shown)}{more}")
        return lines


def find_logs(paths: Iterable[str]) -> dict[str, str]:
    """Log files behind files, directories (recursively) and glob patterns, each once, in a stable order.

    Returns:
        Log file → the directory through which it was found.

    Raises:
        LogError: A path or pattern finds nothing.
    """
    found: dict[str, str] = {}
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
            for log in inside:
                found.setdefault(log, path)
        elif os.path.exists(path):
            found.setdefault(path, os.path.dirname(path) or ".")
        else:
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise LogError("no such file", where=path, hint="give log files, directories or glob patterns")
            for log, directory in find_logs(matches).items():
                found.setdefault(log, directory)
    return found


def read_logs(
    paths: Iterable[str], reading: Reading | None = None, *, jobs: int = 1, cached: bool = True
) -> Iterator[Record]:
    """Read log files one after the other; what cannot be read is noted, not raised.

    Args:
        paths: As for `find_logs`.
        reading: Takes what is noticed.
        jobs: Processes that read; there are more than one only where that is faster.
        cached: Take what is known of logs that have not changed, and keep what is read now.

    Raises:
        LogError: A path or pattern finds nothing.
    """
    from dlbs.results.cache import Cache

    reading = reading if reading is not None else Reading()
    logs = find_logs(paths)
    cache = Cache(logs if cached else {})
    fresh = _read_files([log for log in logs if log not in cache], jobs, packed=cached)
    for log in logs:
        packed = cache.get(log)
        if packed is None:
            read = next(fresh)
            if isinstance(read, bytes):
                cache.put(log, read)
        else:
            read = packed
            reading.unchanged += 1
        records, findings = unpack(read) if isinstance(read, bytes) else read
        reading.logs += 1
        reading.paths.add(log)
        reading.findings += findings
        yield from records
    cache.write()


Read = tuple[list[Record], list[Finding]]


def pack(read: Read) -> bytes:
    """What was read from a file, as bytes for another process or for the cache.

    `marshal`, because pickling records takes as long as reading them from logs, and because loading it runs nothing.
    """
    records, findings = read
    return marshal.dumps((records, list(map(astuple, findings))))


def unpack(packed: bytes) -> Read:
    """What `pack` packed."""
    records, findings = marshal.loads(packed)
    return records, [Finding(*finding) for finding in findings]


def _read_files(logs: list[str], jobs: int, *, packed: bool) -> Iterator[Read | bytes]:
    if jobs == 1 or len(logs) < 2 or sum(map(_size, logs)) < _WORTHWHILE:
        for log in logs:
            yield pack(read_file(log)) if packed else read_file(log)
        return
    from concurrent.futures import ProcessPoolExecutor

    # Batches, because a message between processes costs as much as reading some logs; several for each process, because logs differ in size.
    together = max(1, min(_TOGETHER, len(logs) // (4 * jobs)))
    batches = [logs[start : start + together] for start in range(0, len(logs), together)]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        for reads in pool.map(_read_batch, batches):
            yield from reads


def _read_batch(logs: list[str]) -> list[bytes]:
    return [pack(read_file(log)) for log in logs]


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def read_file(path: str) -> Read:
    """The records in a file, one for each log in it, and what was noticed."""
    records: list[Record] = []
    findings: list[Finding] = []
    try:
        for name, stream in _streams(path):
            record = _read_log(name, stream, findings)
            if record:
                records.append(record)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        findings.append(Finding("unreadable", path, reason))
    return records, findings


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
        with open(path, "rb", buffering=0) as plain:
            yield path, plain


def _read_log(name: str, stream: IO[bytes], findings: list[Finding]) -> Record | None:
    record: Record = {}
    noticed: list[Finding] = []
    results: Counter[str] = Counter()
    number = 0  # lines before the block
    binary = False
    for block in _blocks(stream):
        if block.startswith(_TOO_LONG):
            noticed.append(Finding("long", f"{name}:{number + 1}"))
        if not binary and b"\0" in block:
            binary = True
            noticed.append(Finding("binary", f"{name}:{number + block.count(_END, 0, block.index(0)) + 1}"))
        keys, values = _keys_and_values(block, name, number, noticed)
        before = len(record)
        record.update(zip(keys, values, strict=True))
        if before or len(record) != len(keys):
            results.update(key for key in keys if key.startswith("results."))
        number += block.count(_END)
    noticed += [Finding("repeated", name, f"{key}, {count} times") for key, count in results.items() if count > 1]
    if not record:
        findings += [*noticed, Finding("empty", name)]
        return None
    if name.endswith(".part"):
        noticed.append(Finding("unfinished", name))
        record["exp.status"] = "unfinished"
    findings += noticed
    record["exp.log_file"] = name  # where it lies now, not where it was written
    return record


_END = b"\n"
_DROPPED = b"#"
_TOO_LONG = b"# a value that is too long"
_MAY_BE_VALUE = re.compile(rb"[ \t]*(?:_?$|__)")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines; the last one may lack its line end.

    Ordinary output is never gathered: of a long line that is no value only a mark is kept, so memory stays bounded.
    """
    block = stream.read(_FIRST_BLOCK)
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what some shells make of `>`
        stream = io.BytesIO((block + stream.read()).decode("utf-16", "replace").encode())
        block = stream.read(_FIRST_BLOCK)
    block = block.removeprefix(codecs.BOM_UTF8)
    carried = b""  # the beginning of a line whose end has not been read yet
    while block:
        end = block.rfind(_END) + 1
        if end:
            yield carried + block[:end] if carried else block[:end]
            carried = block[end:]
        elif not carried.startswith(_DROPPED):
            carried += block
        if not _MAY_BE_VALUE.match(carried):
            carried = carried and _DROPPED if not carried.startswith(_TOO_LONG) else carried
        elif len(carried) > _LONGEST:
            carried = _TOO_LONG
        block = stream.read(_BLOCK)
    if carried:
        yield carried


def _keys_and_values(block: bytes, name: str, number: int, noticed: list[Finding]) -> tuple[list[str], list[Any]]:
    """What stands in a block of lines, before which there are `number` lines in the file."""
    text = b"\n" + block
    read = _all_at_once(text) if block.endswith(_END) else None
    return _one_by_one(text, name, number, noticed) if read is None else read


_RUNS = re.compile(rb"\n[ \t]*__[^\n]*(?:\n[ \t]*__[^\n]*)*")
_ODD_KEY = re.compile(rb"\n__[^\n=]*\\[^\n=]*__=")


def _all_at_once(text: bytes) -> tuple[list[str], list[Any]] | None:
    """Keys and values of lines that are all as they should be, by making one JSON list of them; None if they are not.

    A JSON parser for each value would cost three times as much. A line that is not one key and one value makes the text invalid, or changes
    the number of things in the list; then each line is looked at by itself.
    """
    lines = b"".join(_RUNS.findall(text))
    if not lines:
        return [], []
    if b"\\" in lines and _ODD_KEY.search(lines):
        return None
    inside = lines.replace(b"__=", b'",')
    listed = inside.replace(b"\n__", b',"')
    count = len(inside) - len(listed)
    if len(lines) - len(inside) != count:  # each replacement is one byte shorter, so this counts them
        return None
    try:
        things = orjson.loads(b"[%b]" % listed[1:])
        keys = things[::2]
        joined = "".join(keys)
        if len(things) != 2 * count or joined.split(None, 1) != [joined] or "" in keys:
            return None
    except (orjson.JSONDecodeError, TypeError):
        return None
    return keys, things[1::2]


def _one_by_one(text: bytes, name: str, number: int, noticed: list[Finding]) -> tuple[list[str], list[Any]]:
    """Keys and values of lines of which some are not as they should be, which is noticed."""
    keys, values = [], []
    at = 0
    for found in _KEY_LINES.finditer(text):
        number += text.count(_END, at, found.start() + 1)
        at = found.start() + 1
        where = f"{name}:{number}"
        torn = found.end() == len(text)  # a line end follows any other line
        try:
            line = found[0].decode()
        except UnicodeDecodeError:
            line = found[0].decode("cp1252", "replace")
            noticed.append(Finding("encoding", where))
        try:
            pair = parse_line(line[1:])
        except LogError as error:
            noticed.append(Finding("torn", where) if torn else Finding("broken", where, error.what))
            continue
        if pair is None:
            continue
        if torn and isinstance(pair[1], (int, float)):
            noticed.append(Finding("torn", where))  # a number without its end is still a number, but another one
            continue
        keys.append(pair[0])
        values.append(pair[1])
    return keys, values


_KEY_LINES = re.compile(rb"\n[ \t]*__[^\n]*")
