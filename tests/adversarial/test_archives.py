"""Archives, compressed logs and files in log directories that a stranger has made. Each case is a line: what is there, and what `dlbs parse` says of it.

Nothing of an archive is written to disk, and no file outside of the directory is read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.adversarial.bounded import Ask, children

pytestmark = pytest.mark.integration

PROGRAM = """
from dlbs.results.read import logs, records
from dlbs.results.read.onelog import Reading
from dlbs.results.read.logs import read_logs
from dlbs.results.read.records import read_runs, write_records
from tests.adversarial.bounded import serve
import csv, json, pathlib, tarfile

# Smaller than the real limits, so that they are reached soon, but with more bytes than a child has memory.
logs._UNPACKED, logs._MOST_LOGS, records._LONGEST_CELL = 160 << 20, 1_000, 4 << 20

def work(given):
    reading = Reading()
    if "results" in given:
        return len(read_runs([given["results"]]))
    found = [record for block in read_logs(given["logs"], reading) for record in block.records()]
    for ending in ("csv", "json"):
        write_records(f"{given['output']}/results.{ending}", found)
    return [len(found), reading.messages()]

serve(work)
"""

LOG = b'__exp.model__= "alexnet"\n__results.time__= 1.5\n__exp.status__= "ok"\n'
SECRET = b'__exp.model__= "secret"\n__results.time__= 2.5\n'


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with children(PROGRAM, mib=120) as asked:
        yield asked


def member(name: str, content: bytes = LOG, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with a right checksum and any size."""
    made = bytearray(512)
    made[: len(name)] = name
    made[100:108] = b"0000644\0"
    made[124 : 124 + len(size)] = size
    made[156:157] = kind
    made[257:265] = b"ustar\x0000"
    made[148:156] = b"        "
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


ZEROS = gzip.compress(bytes(8 << 20))


def zeros(mib: int) -> bytes:
    """Zeros that take a thousandth of their size."""
    return ZEROS * (mib // 8)


PAX = header(b"pax", b"00000000024\0", b"x") + b"20 path=\xff\xfe\x1b[2J.log\n" + bytes(492)

# Name of the file, its content, how many records there are, and part of what is said; empty if nothing is.
FILES: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "a sound archive": ("a.tar", lambda: tar(member("1.log"), member("2.log")), 2, ""),
    "a sound archive, compressed": ("a.tar.gz", lambda: gzip.compress(tar(member("1.log"))), 1, ""),
    "compressed, under the name of one that is not": ("a.tar", lambda: gzip.compress(tar(member("1.log"))), 1, ""),
    "not compressed, under the name of one that is": ("a.tgz", lambda: tar(member("1.log")), 1, ""),
    "an archive of nothing": ("a.tar", lambda: tar(), 0, ""),
    "an empty file": ("a.tar", lambda: b"", 0, "cannot be read"),
    "text": ("a.tar", lambda: b"text\n" * 1000, 0, "cannot be read"),
    "noise": ("a.tar", lambda: Random(1).randbytes(5000), 0, "cannot be read"),
    "noise behind a magic number": ("a.tar.gz", lambda: b"\x1f\x8b" + Random(1).randbytes(5000), 0, "cannot be read"),
    "a way up": ("a.tar", lambda: tar(member("../../../../../../tmp/1.log")), 1, ""),
    "an absolute way": ("a.tar", lambda: tar(member("/etc/1.log")), 1, ""),
    "the same name twice": ("a.tar", lambda: tar(member("1.log"), member("1.log")), 2, ""),
    "a symbolic link": ("a.tar", lambda: tar(special("1.log", tarfile.SYMTYPE, "/etc/passwd")), 0, ""),
    "a hard link": ("a.tar", lambda: tar(special("1.log", tarfile.LNKTYPE, "/etc/passwd")), 0, ""),
    "a link to a log in it": ("a.tar", lambda: tar(member("1.log"), special("2.log", tarfile.SYMTYPE, "1.log")), 1, ""),
    "a device": ("a.tar", lambda: tar(special("1.log", tarfile.CHRTYPE)), 0, ""),
    "a disk": ("a.tar", lambda: tar(special("1.log", tarfile.BLKTYPE)), 0, ""),
    "a named pipe": ("a.tar", lambda: tar(special("1.log", tarfile.FIFOTYPE)), 0, ""),
    "a directory with the name of a log": ("a.tar", lambda: tar(special("1.log", tarfile.DIRTYPE)), 0, ""),
    "a kind that does not exist": ("a.tar", lambda: header(b"1.log", b"00000000000\0", b"Q"), 0, ""),
    "a member of 8 GB": ("a.tar", lambda: header(b"1.log", b"77777777777\0") + LOG, 0, "unexpected end of data"),
    "a member of 2^60 bytes": ("a.tar", lambda: header(b"1.log", b"\x80\0\0\0\x10" + bytes(7)) + LOG, 0, "unexpected end of data"),
    "a member of negative size": ("a.tar", lambda: header(b"1.log", b"\xff" * 12) + LOG, 0, "contains no experiment"),
    "a member whose size is text": ("a.tar", lambda: header(b"1.log", b"enormous\0") + LOG, 0, "cannot be read"),
    "another's header of 8 GB": ("a.tar", lambda: header(b"pax", b"77777777777\0", b"x") + bytes(512), 0, "cannot be read"),
    "a long name of 8 GB": ("a.tar", lambda: header(b"././@LongLink", b"77777777777\0", b"L") + bytes(512), 0, "cannot be read"),
    "headers of headers": ("a.tar", lambda: (header(b"pax", b"00000000000\0", b"x")) * 5_000, 0, "cannot be read"),
    "global headers of global headers": ("a.tar", lambda: (header(b"pax", b"00000000000\0", b"g")) * 5_000, 0, "cannot be read"),
    "long names of long names": ("a.tar", lambda: (header(b"long", b"00000000000\0", b"L")) * 5_000, 0, "cannot be read"),
    "a header of noise": ("a.tar", lambda: header(b"pax", b"00000001000\0", b"x") + Random(2).randbytes(512), 0, "cannot be read"),
    "a header whose length lies": ("a.tar", lambda: header(b"pax", b"00000001000\0", b"x") + b"999999999 path=x\n" + bytes(494) + header(b"1.log", b"00000000000\0"), 0, "cannot be read"),
    "a name that is no UTF-8": ("a.tar", lambda: header(b"\xff\xfe.log", b"%011o\0" % len(LOG)) + LOG + bytes(512 - len(LOG)), 1, ""),
    "a name with an escape sequence": ("a.tar", lambda: tar(member("\x1b[2J\n.log")), 1, ""),
    "a name of 60,000 letters": ("a.tar", lambda: tar(member("n" * 60_000 + ".log")), 1, ""),
    "1,000 empty logs": ("a.tar.gz", lambda: gzip.compress(tar(*[member(f"{n}.log", b"") for n in range(1_000)])), 0, "contains no experiment"),
    "1,001 logs": ("a.tar.gz", lambda: gzip.compress((header(b"1.log", b"00000000000\0")) * 1_001), 0, "more than 1,000 logs"),
    "a sparse member of 2^60 bytes": ("a.tar", lambda: header(b"1.log", b"00000000000\0", b"S"), 0, ""),
    "torn": ("a.tar", lambda: tar(member("1.log"), member("2.log"))[:1600], 1, ""),
    "torn, compressed": ("a.tar.gz", lambda: gzip.compress(tar(*[member(f"{n}.log", Random(n).randbytes(900)) for n in range(9)]))[:-2000], 0, "cannot be read"),
    "zeros without an end in a log": ("a.log.gz", lambda: zeros(1024), 0, "unpacks to more than 167,772,160 bytes"),
    "a compressed log in a compressed archive": ("a.tar.gz", lambda: gzip.compress(tar(member("1.log.gz", gzip.compress(LOG)))), 1, ""),
    "an archive in an archive": ("a.tar", lambda: tar(member("b.tar", tar(member("1.log")))), 0, ""),
    "a log compressed in parts": ("a.log.gz", lambda: b"".join(gzip.compress(LOG[i : i + 1]) for i in range(len(LOG))), 1, ""),
    "a compressed log with rubbish behind": ("a.log.gz", lambda: gzip.compress(LOG) + b"rubbish", 0, "cannot be read"),
    "a compressed log with another checksum": ("a.log.gz", lambda: gzip.compress(LOG)[:-8] + bytes(8), 0, "cannot be read"),
    "a compressed log that is not": ("a.log.gz", lambda: LOG, 0, "cannot be read"),
    "a compressed log of nothing": ("a.log.gz", lambda: b"", 0, "contains no experiment"),
    "UTF-16": ("a.log", lambda: LOG.decode().encode("utf-16"), 1, ""),
    "UTF-16 of 150 MiB": ("a.log", lambda: b"\xff\xfe" + LOG.decode().encode("utf-16-le") + b"a\0" * (75 << 20), 1, ""),
    "half of UTF-16": ("a.log", lambda: LOG.decode().encode("utf-16")[:-1], 1, ""),
    "only a mark of UTF-16": ("a.log", lambda: b"\xff\xfe", 0, "contains no experiment"),
    "surrogates in UTF-16": ("a.log", lambda: b"\xff\xfe" + b"\0\xd8" * 1000 + LOG.decode().encode("utf-16-le"), 1, ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "make", "count", "said"), FILES.values(), ids=FILES)
def test_file(ask: Ask, tmp_path: Path, name: str, make: Callable[[], bytes], count: int, said: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / name).write_bytes(make())
    answer = ask({"logs": [str(tmp_path / "logs")], "output": str(tmp_path)})
    assert answer["kind"] == "ok", answer
    found, messages = answer["output"]
    assert found == count, answer
    assert said in " ".join(messages), answer
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([name, "logs", "results.csv", "results.json"])


def test_a_bomb_in_an_archive(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(member("1.log.gz", zeros(1024))))
    answer = ask({"logs": [str(tmp_path / "a.tar")], "output": str(tmp_path)})
    count, (message,) = answer["output"]
    assert count == 0
    assert "unpacks to more than 167,772,160 bytes" in message


# Beside a sound log: what somebody put there.


def outside(path: Path) -> None:
    (path.parent.parent / "secret").write_bytes(SECRET)
    path.symlink_to(path.parent.parent / "secret")


def sparse(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.truncate(150 << 20)


def archive_outside(path: Path) -> None:
    (path.parent.parent / "secret").write_bytes(tar(member("1.log", SECRET)))
    path.with_suffix(".tar").symlink_to(path.parent.parent / "secret")


STRANGERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a named pipe": (os.mkfifo, "is not a regular file"),
    "a link to a file outside": (outside, "is a symbolic link"),
    "a link to an archive outside": (archive_outside, "is a symbolic link"),
    "a link to a log beside it": (lambda path: path.symlink_to("1.log"), "is a symbolic link"),
    "a link to an endless device": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link"),
    "a link to a terminal": (lambda path: path.symlink_to("/dev/tty"), "is a symbolic link"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "a link to the directory": (lambda path: path.symlink_to("."), ""),
    "a directory": (Path.mkdir, ""),
    "a pipe that is called an archive": (lambda path: os.mkfifo(path.with_suffix(".tar.gz")), "is not a regular file"),
    "a pipe that is called compressed": (lambda path: os.mkfifo(f"{path}.gz"), "is not a regular file"),
    "a pipe that is being written": (lambda path: os.mkfifo(f"{path}.part"), "is not a regular file"),
    "150 MiB of nothing": (sparse, "contains no experiment"),
    "a name that is no UTF-8": (lambda path: Path(os.fsdecode(bytes(path.parent) + b"/\xff.log")).write_bytes(LOG), ""),
}


@pytest.mark.parametrize(("put", "said"), STRANGERS.values(), ids=STRANGERS)
def test_what_lies_beside_a_log(ask: Ask, tmp_path: Path, put: Callable[[Path], Any], said: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.log").write_bytes(LOG)
    put(tmp_path / "logs" / "stranger.log")
    answer = ask({"logs": [str(tmp_path / "logs")], "output": str(tmp_path)})
    assert answer["kind"] == "ok", answer
    assert answer["output"][0] >= 1
    assert said in " ".join(answer["output"][1]), answer
    assert "secret" not in (tmp_path / "results.json").read_text()


def test_a_link_that_the_user_names_is_followed(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(LOG)
    (tmp_path / "link.log").symlink_to("1")
    assert ask({"logs": [str(tmp_path / "link.log")], "output": str(tmp_path)})["output"] == [1, []]


# Results files: name, content, and part of the error or how many records.
RESULTS: dict[str, tuple[str, Callable[[], bytes], Any]] = {
    "a sound one": ("r.json", lambda: json.dumps({"data": [{"exp.model": "x"}]}).encode(), 1),
    "nothing": ("r.json", lambda: b"", "not JSON"),
    "a number": ("r.json", lambda: b"5", "not a results file"),
    "a list of numbers": ("r.json", lambda: b"[1, 2]", "not a results file"),
    "an object of nothing": ("r.json", lambda: b"{}", "not a results file"),
    "100,000 lists": ("r.json", lambda: b"[" * 100_000, "nested"),
    "a number of 5,000 digits": ("r.json", lambda: b"[" + b"9" * 5_000 + b"]", "5,000 digits"),
    "no UTF-8": ("r.json", lambda: b'[{"a": "\xff"}]', "cannot be read"),
    "zeros": ("r.json", lambda: bytes(1000), "not JSON"),
    "a bomb": ("r.json.gz", lambda: zeros(2048), "is too large for the memory"),
    "not compressed": ("r.json.gz", lambda: b"[]", "cannot be read"),
    "torn": ("r.json.gz", lambda: gzip.compress(b"[]")[:-6], "cannot be read"),
    "a table of nothing": ("r.csv", lambda: b"", 0),
    "a table with a zero": ("r.csv", lambda: b"a,b\n1,\0\n", None),
    "a table with a value of a megabyte": ("r.csv", lambda: b"a\n" + b"x" * (1 << 20), 1),
    "a table with a value that is too long": ("r.csv", lambda: b"a\n" + b"x" * (5 << 20), "field larger than"),
    "a table with too many values": ("r.csv", lambda: b"a\n1,2,3\n", 1),
    "a table with the same column twice": ("r.csv", lambda: b"a,a\n1,2\n", 1),
    "a table with deep values": ("r.csv", lambda: b"a\n" + b"[" * 50_000 + b"\n", 1),
    "a table with an open quote": ("r.csv", lambda: b'a\n"1\n' + b"2\n" * 100_000, None),
}


@pytest.mark.parametrize(("name", "make", "expected"), RESULTS.values(), ids=RESULTS)
def test_results_file(ask: Ask, tmp_path: Path, name: str, make: Callable[[], bytes], expected: Any) -> None:
    from tests.adversarial.bounded import ask_and_expect

    (tmp_path / name).write_bytes(make())
    ask_and_expect(ask, {"results": str(tmp_path / name)}, expected)


RESULTS_PLACES: dict[str, Callable[[Path], Any]] = {
    "a named pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("put", RESULTS_PLACES.values(), ids=RESULTS_PLACES)
@pytest.mark.parametrize("name", ["r.json", "r.csv", "r.json.gz"])
def test_results_file_that_is_none(ask: Ask, tmp_path: Path, name: str, put: Callable[[Path], Any]) -> None:
    put(tmp_path / name)
    answer = ask({"results": str(tmp_path / name)})
    assert answer["kind"] == "refused"
    assert "is not a regular file" in answer["error"]
