"""Parse one log into a record: in bulk if all lines are valid, else line by line; and what is noticed while reading."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

import orjson

from dlbs.core.errors import LogError
from dlbs.core.files import MAX_DEPTH, depth_exceeds
from dlbs.core.logs import batch_time, parse_line

LONGEST = 64 << 20  # bytes of the longest line that is read as a value

KINDS = {
    "unreadable": "cannot be read",
    "broken": "looks like a result, but the value is not JSON",
    "long": f"value larger than {LONGEST >> 20} MiB, ignored",
    "torn": "the file ends in the middle of this line, line ignored",
    "encoding": "not UTF-8, read as Windows-1252",
    "binary": "binary data between lines, ignored",
    "repeated": "duplicate key; the last value wins",
    "unfinished": "still being written, or interrupted",
    "empty": "contains no experiment",
}

ERRORS = frozenset({"unreadable", "broken"})


@dataclass(frozen=True, slots=True)
class Notice:
    """A problem found in a log.

    Attributes:
        kind: A key of `KINDS`, which explains it.
        where: `file` or `file:line`.
        detail: More detail; may be empty.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(slots=True)
class Reading:
    """Findings and statistics of reading logs.

    Attributes:
        findings: Findings in the order of the logs.
        logs: Number of logs read.
        paths: Paths of the logs.
    """

    findings: list[Notice] = field(default_factory=list)
    logs: int = 0
    paths: set[str] = field(default_factory=set)

    def add(self, logs: Sequence[str], noticed: Iterable[Iterable[Notice]]) -> None:
        """Count logs, and add what was noticed in each."""
        self.logs += len(logs)
        self.paths.update(logs)
        self.findings += chain.from_iterable(noticed)

    def of(self, kind: str) -> list[Notice]:
        """Findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def errors(self) -> list[Notice]:
        """Findings that may have lost a result."""
        return [finding for finding in self.findings if finding.kind in ERRORS]

    def messages(self, most: int = 3) -> list[str]:
        """Summarise findings, one line per kind: their number, the meaning, and where the first ones are."""
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


_FIRST_BLOCK = 256 << 10  # bytes of the first read: most logs are smaller, and a large buffer costs time
_BLOCK = 8 << 20  # bytes of each further read


def read_log(name: str, stream: IO[bytes], findings: list[Notice]) -> dict[str, Any] | None:
    """Parse a log into a record; None if it contains no experiment.

    Args:
        name: Name of the log in findings and in its record.
        stream: Its bytes.
        findings: Collects findings.
    """
    record: dict[str, Any] = {}
    noticed: list[Notice] = []
    results: list[str] = []  # their keys, collected only where one may come twice
    number = 0  # lines before the block
    binary = False
    previous = b""
    for block in _blocks(stream):
        # Only if there is a next block: for most logs, counting would be a tenth of the time.
        number += previous.count(_END)
        previous = block
        if block.startswith(_TOO_LONG):
            noticed.append(Notice("long", f"{name}:{number + 1}"))
        if not binary and b"\0" in block:
            binary = True
            noticed.append(Notice("binary", f"{name}:{number + block.count(_END, 0, block.index(0)) + 1}"))
        keys, values = _keys_and_values(block, name, number, noticed)
        if not record:
            record = values
            if len(values) != len(keys):
                results = _results(keys)
        else:
            results = (results or _results(record)) + _results(keys)
            record |= values
    if results:
        counts = Counter(results).items()
        noticed += [Notice("repeated", name, f"{key}, {count} times") for key, count in counts if count > 1]
    if not record:
        findings += [*noticed, Notice("empty", name)]
        return None
    if name.endswith(".part"):
        noticed.append(Notice("unfinished", name))
        record["exp.status"] = "unfinished"
    if record.get("exp.status") == "ok" and "exp.dlbs_version" not in record and not _has_result(record):
        # The original DLBS begins its logs with the status "ok" and never changes it.
        record |= {
            "exp.status": "failure",
            "exp.status_msg": "log of the original DLBS without a positive results.throughput",
        }
    findings += noticed
    if "results.time" not in record and (time := batch_time(record)) is not None:
        record["results.time"] = time
    # The current path, not the original one. A name that is not UTF-8 could not be written to a table.
    valid = name.isascii()
    record["exp.log_file"] = name if valid else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return record


def _results(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if key.startswith("results.")]


def _has_result(record: dict[str, Any]) -> bool:
    """Whether it has a positive throughput or, without one, a positive time: the original DLBS checked either."""
    result = record.get("results.throughput", record.get("results.time"))
    return isinstance(result, (int, float)) and not isinstance(result, bool) and result > 0


_END = b"\n"
_DROPPED = b"#"
_TOO_LONG = b"# a value that is too long"
_MAY_BE_VALUE = re.compile(rb"[ \t]*(?:_?$|__)")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines; the last one may lack its line end.

    Ordinary output is not accumulated: a long line that is not a value is replaced by a mark, so memory stays bounded.
    """
    block = stream.read(_FIRST_BLOCK)
    read: Callable[[int], bytes] = stream.read
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # written by `>` of some shells
        read = _utf8_of_utf16(block, stream)
        block = read(_FIRST_BLOCK)
    block = block.removeprefix(codecs.BOM_UTF8)
    carried = b""  # beginning of a line whose end has not been read yet
    while block:
        end = block.rfind(_END) + 1
        if end:
            yield carried + block[:end] if carried else block[:end]
            carried = block[end:]
        elif not carried.startswith(_DROPPED):
            carried += block
        if not _MAY_BE_VALUE.match(carried):
            carried = carried and _DROPPED if not carried.startswith(_TOO_LONG) else carried
        elif len(carried) > LONGEST:
            carried = _TOO_LONG
        block = read(_BLOCK)
    if carried:
        yield carried


def _utf8_of_utf16(block: bytes, stream: IO[bytes]) -> Callable[[int], bytes]:
    """Return a function that reads a stream of UTF-16, which begins with `block`, as blocks of UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-16")("replace")

    def read(size: int) -> bytes:
        nonlocal block
        while block:
            decoded = decoder.decode(block)
            block = stream.read(size)
            if decoded:
                return decoded.encode("utf-8", "replace")
        return decoder.decode(b"", final=True).encode("utf-8", "replace")

    return read


def _keys_and_values(block: bytes, name: str, number: int, noticed: list[Notice]) -> tuple[list[str], dict[str, Any]]:
    """Keys in a block of lines that follows `number` other lines of the file, in order and with repetitions, and the last value of each."""
    text = b"\n" + block
    read = _all_at_once(text) if block.endswith(_END) else None
    return _one_by_one(text, name, number, noticed) if read is None else read


# Runs of key lines, without the line end before them. Of `__` behind a blank, which may begin an indented key, only these characters match
# (`_UNSURE`); then `_RUNS_ANYWHERE` is used. It takes twice as long, because Python searches faster for characters than for a class.
_RUNS = re.compile(rb"__(?:(?<=\n__).*(?:\n__.*)*|(?<=[ \t]__))")
_UNSURE = b"__"
_RUNS_ANYWHERE = re.compile(rb"\n([ \t]*__.*(?:\n[ \t]*__.*)*)")
_ODD_KEY = re.compile(rb"\n__[^\n=]*\\[^\n=]*__=")


def _all_at_once(text: bytes) -> tuple[list[str], dict[str, Any]] | None:
    """Keys and values of lines that are all valid, parsed as one JSON list; None if some line is invalid.

    Parsing each value separately would take three times as long. A line that is not one key and one value makes the list invalid or changes
    its length; then each line is parsed separately.
    """
    runs = _RUNS.findall(text)
    if _UNSURE in runs:
        runs = _RUNS_ANYWHERE.findall(text)
    if not runs:
        return [], {}
    lines = b"\n".join([b"", *runs])
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
    except (orjson.JSONDecodeError, TypeError):
        return None
    if len(things) != 2 * count or joined.split(None, 1) != [joined]:
        return None
    if listed.count(b"[") + listed.count(b"{") > MAX_DEPTH and depth_exceeds(things, MAX_DEPTH + 1):
        return None
    values = dict(zip(keys, things[1::2], strict=True))
    return None if "" in values else (keys, values)


def _one_by_one(text: bytes, name: str, number: int, noticed: list[Notice]) -> tuple[list[str], dict[str, Any]]:
    """Keys and values of lines some of which are invalid; those are added to the findings."""
    keys: list[str] = []
    values: dict[str, Any] = {}
    at = 0
    for found in _KEY_LINES.finditer(text):
        number += text.count(_END, at, found.start() + 1)
        at = found.start() + 1
        where = f"{name}:{number}"
        torn = found.end() == len(text)  # every other line has a line end
        try:
            line = found[0].decode()
        except UnicodeDecodeError:
            line = found[0].decode("cp1252", "replace")
            noticed.append(Notice("encoding", where))
        try:
            pair = parse_line(line[1:])
        except LogError as error:
            noticed.append(Notice("torn", where) if torn else Notice("broken", where, error.what))
            continue
        if pair is None:
            continue
        if torn and isinstance(pair[1], (int, float)):
            noticed.append(Notice("torn", where))  # a truncated number is still a number, but a different one
            continue
        keys.append(pair[0])
        values[pair[0]] = pair[1]
    return keys, values


_KEY_LINES = re.compile(rb"\n[ \t]*__[^\n]*")
