"""LMDBs and records that are damaged, cut off or made to lie. Each case is a line: how a sound one is changed, and part of the error.

LMDB maps the file and trusts it: a case that were not refused would end its child with SIGBUS, SIGSEGV or an assertion.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytorch_benchmarks.data.make_dataset import encode_datum, make_lmdb
from tests.adversarial.bounded import Ask, ask_and_expect, children, sparse

pytestmark = pytest.mark.integration

PROGRAM = """
import lmdb, torch
from pytorch_benchmarks.data.caffe import CaffeLmdb
from pytorch_benchmarks.data.dataset import Crop
from pytorch_benchmarks.data.caffe import parse_datum
from benchmark_core.exits import BenchmarkError
from tests.adversarial.bounded import serve

def database(given):
    dataset = CaffeLmdb(given["directory"])
    target = torch.empty(3, 8, 8, dtype=torch.uint8)
    for index in range(len(dataset)):
        dataset.read_into(index, target, Crop("center"), float)
    return len(dataset)

def changed(given):
    read = 0
    for part in given["changed"]:
        try:
            parse_datum(memoryview(bytes.fromhex(part)))
            read += 1
        except ValueError as error:
            assert str(error)
    return read

def record(given):
    try:
        for part in given["records"]:
            datum = parse_datum(memoryview(bytes.fromhex(part)))
    except ValueError as error:
        raise BenchmarkError(str(error))
    return [list(datum.pixels.shape), datum.label]

KINDS = {"directory": database, "records": record, "changed": changed}
serve(lambda given: KINDS[next(iter(given))](given))
"""

PAGE = 4096
COUNT = 200  # records: every tenth is large enough for pages of its own
INCOMPLETE = "incomplete or damaged"


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with children(PROGRAM) as asked:
        yield asked


def pixels(number: int) -> np.ndarray:
    side = 48 if number % 10 == 0 else 8
    return np.full((side, side, 3), number % 256, np.uint8)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("lmdb") / "db"
    make_lmdb(directory, ((pixels(number), number) for number in range(COUNT)))
    return (directory / "data.mdb").read_bytes()


class File(bytearray):
    """A database that can be changed at places that have names."""

    @property
    def meta(self) -> int:
        """Where the newer metadata are."""
        newest = max((0, 1), key=lambda number: self.number(16 + number * PAGE + 128, 8))
        return 16 + newest * PAGE

    @property
    def root(self) -> int:
        return self.number(self.meta + 72 + 40, 8)

    @property
    def leaf(self) -> int:
        """The first leaf."""
        return next(page for page in range(2, len(self) // PAGE) if self.is_leaf(page))

    def is_leaf(self, page: int) -> bool:
        return self.number(page * PAGE, 8) == page and self.number(page * PAGE + 10, 2) == 2

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self[at : at + size], "little")

    def set(self, at: int, size: int, value: int) -> None:
        self[at : at + size] = value.to_bytes(size, "little")

    def node(self, page: int, number: int) -> int:
        """Where a node of a page begins."""
        return page * PAGE + self.number(page * PAGE + 16 + 2 * number, 2)

    def large_node(self) -> int:
        """Where a node begins whose record has pages of its own."""
        for page in filter(self.is_leaf, range(2, len(self) // PAGE)):
            for number in range((self.number(page * PAGE + 12, 2) - 16) // 2):
                if self.number(self.node(page, number) + 4, 2) == 1:
                    return self.node(page, number)
        raise AssertionError


def both_metas(offset: int, size: int, value: int) -> Callable[[File], None]:
    def change(file: File) -> None:
        for page in (0, 1):
            file.set(16 + page * PAGE + offset, size, value)

    return change


def meta(offset: int, size: int, value: int) -> Callable[[File], None]:
    return lambda file: file.set(file.meta + offset, size, value)


def root(offset: int, size: int, value: int) -> Callable[[File], None]:
    return lambda file: file.set(file.root * PAGE + offset, size, value)


def leaf(offset: int, size: int, value: int) -> Callable[[File], None]:
    return lambda file: file.set(file.leaf * PAGE + offset, size, value)


def leaf_node(offset: int, size: int, value: int) -> Callable[[File], None]:
    return lambda file: file.set(file.node(file.leaf, 0) + offset, size, value)


def large_node(offset: int, size: int, value: int) -> Callable[[File], None]:
    return lambda file: file.set(file.large_node() + offset, size, value)


def cut(size: Callable[[int], int]) -> Callable[[File], None]:
    def change(file: File) -> None:
        del file[size(len(file)) :]

    return change


def swap_keys(file: File) -> None:
    first, second = (file.leaf * PAGE + 16, file.leaf * PAGE + 18)
    file[first : first + 2], file[second : second + 2] = file[second : second + 2], file[first : first + 2]


def branch_leads_to_itself(file: File) -> None:
    at = file.node(file.root, 0)
    file.set(at, 2, file.root)
    file.set(at + 2, 2, 0)


def branch_keys_lie(file: File) -> None:
    at = file.node(file.root, 1)
    file[at + 8 : at + 8 + file.number(at + 6, 2)] = b"\0" * file.number(at + 6, 2)


FILES: dict[str, tuple[Callable[[File], None], Any]] = {
    "nothing is changed": (lambda file: None, COUNT),
    "empty": (cut(lambda size: 0), "too short"),
    "one byte": (cut(lambda size: 1), "too short"),
    "half of the metadata": (cut(lambda size: 100), "too short"),
    "one page": (cut(lambda size: PAGE), "incomplete"),
    "a byte less than two pages": (cut(lambda size: 2 * PAGE - 1), "incomplete"),
    "two pages": (cut(lambda size: 2 * PAGE), INCOMPLETE),
    "three pages": (cut(lambda size: 3 * PAGE), INCOMPLETE),
    "a quarter": (cut(lambda size: size // 4), INCOMPLETE),
    "half": (cut(lambda size: size // 2), INCOMPLETE),
    "half, not a whole page": (cut(lambda size: size // 2 + 7), INCOMPLETE),
    "a page less": (cut(lambda size: size - PAGE), INCOMPLETE),
    "a byte less": (cut(lambda size: size - 1), INCOMPLETE),
    "zeros only": (lambda file: file.__setitem__(slice(None), bytes(len(file))), "not an LMDB"),
    "noise only": (lambda file: file.__setitem__(slice(None), Random(1).randbytes(len(file))), "not an LMDB"),
    "text": (lambda file: file.__setitem__(slice(None), b"key: value\n" * 1000), "not an LMDB"),
    "another magic number": (both_metas(0, 4, 0xBEEFC0DD), "not an LMDB"),
    "another byte order": (both_metas(0, 4, 0xDEC0EFBE), "not an LMDB"),
    "a later version": (both_metas(4, 4, 2), "version is 2"),
    "a version of four billion": (both_metas(4, 4, 0xFFFFFFFF), "only version 1"),
    "pages of no size": (both_metas(24, 4, 0), "first page is damaged"),
    "pages of one byte": (both_metas(24, 4, 1), "first page is damaged"),
    "pages of two gigabytes": (both_metas(24, 4, 1 << 31), "first page is damaged"),
    "pages of another size": (both_metas(24, 4, 8192), "is damaged"),
    "pages of two sizes": (lambda file: file.set(16 + PAGE + 24, 4, 512), "metadata are damaged"),
    "a map of 16 exabytes": (both_metas(16, 8, (1 << 64) - 1), "metadata are damaged"),
    "a map of no size": (both_metas(16, 8, 0), COUNT),
    "16 exabytes of pages": (meta(120, 8, (1 << 64) - 1), "metadata are damaged"),
    "more pages than there are": (meta(120, 8, 1 << 14), COUNT),
    "fewer pages than there are": (meta(120, 8, 3), INCOMPLETE),
    "the transaction before": (lambda file: file.set(file.meta + 128, 8, 0), "is empty"),
    "several records for a key": (meta(76, 2, 0x04), "several records per key"),
    "numbers as keys": (meta(76, 2, 0x08), "integer keys"),
    "a depth of 65,535": (meta(78, 2, 65_535), COUNT),
    "no root": (meta(112, 8, (1 << 64) - 1), "is empty"),
    "a root in the metadata": (meta(112, 8, 0), "page 0 is missing"),
    "a root behind the file": (meta(112, 8, 1 << 40), INCOMPLETE),
    "a root of 2^63": (meta(112, 8, 1 << 63), INCOMPLETE),
    "a root in the middle of a record": (lambda file: file.set(file.meta + 112, 8, file.number(file.large_node() + 16, 8) + 1), "is damaged"),
    "a root that is a record": (lambda file: file.set(file.meta + 112, 8, file.number(file.large_node() + 16, 8)), "neither a branch nor a leaf"),
    "a root of zeros": (lambda file: file.__setitem__(slice(file.root * PAGE, file.root * PAGE + PAGE), bytes(PAGE)), "is damaged"),
    "a root with another number": (root(0, 8, 1), "is damaged"),
    "a root of no kind": (root(10, 2, 0), "neither a branch nor a leaf"),
    "a root of all kinds": (root(10, 2, 0xFFFF), "neither a branch nor a leaf"),
    "a branch that is called a leaf": (root(10, 2, 2), "is damaged"),
    "a branch of 32,000 nodes": (root(12, 2, 0xFFFE), "has no nodes"),
    "a branch of no nodes": (root(12, 2, 16), "has no nodes"),
    "a branch of one node": (root(12, 2, 18), "too few nodes"),
    "a branch of half a node": (root(12, 2, 19), "has no nodes"),
    "a branch whose node is outside": (root(16, 2, 0xFFFF), "outside of it"),
    "a branch whose node is its head": (root(16, 2, 0), "outside of it"),
    "a branch whose key is longer than the page": (lambda file: file.set(file.node(file.root, 1) + 6, 2, 0xFFFF), "outside of it"),
    "a branch that leads behind the file": (lambda file: file.set(file.node(file.root, 1) + 4, 2, 0xFFFF), INCOMPLETE),
    "a branch that leads to itself": (branch_leads_to_itself, "occurs twice"),
    "a branch whose keys lie": (branch_keys_lie, "is not found"),
    "a leaf that is called a branch": (leaf(10, 2, 1), "damaged"),
    "a leaf of another layout": (leaf(10, 2, 0x22), "neither a branch nor a leaf"),
    "a leaf of 32,000 nodes": (leaf(12, 2, 0xFFFE), "has no nodes"),
    "a leaf whose node is outside": (leaf(16, 2, 0xFFF9), "outside of it"),
    "a leaf whose node is at its end": (leaf(16, 2, PAGE - 4), "outside of it"),
    "an empty key": (leaf_node(6, 2, 0), "outside of it"),
    "a key of 65,535 bytes": (leaf_node(6, 2, 0xFFFF), "outside of it"),
    "a record longer than its page": (lambda file: file.set(file.node(file.leaf, 1), 2, 0xFFFF), "outside of it"),
    "a record of four billion bytes": (lambda file: file.set(file.node(file.leaf, 1), 4, 0xFFFFFFFF), "outside of it"),
    "a record that is a database": (leaf_node(4, 2, 2), "contains other databases"),
    "a record that is many": (leaf_node(4, 2, 6), "contains other databases"),
    "a record with unknown flags": (leaf_node(4, 2, 0xFFF0), "contains other databases"),
    "a small record called large": (lambda file: file.set(file.node(file.leaf, 1) + 4, 2, 1), INCOMPLETE),
    "a large record called small": (large_node(4, 2, 0), "outside of it"),
    "a large record of four billion bytes": (large_node(0, 4, 0xFFFFFFFF), INCOMPLETE),
    "a large record behind the file": (large_node(16, 8, 1 << 40), INCOMPLETE),
    "a large record at 2^64 - 1": (large_node(16, 8, (1 << 64) - 1), INCOMPLETE),
    "a large record in the metadata": (large_node(16, 8, 0), INCOMPLETE),
    "a large record of no bytes": (large_node(0, 4, 0), "cannot read record"),
    "keys in another order": (swap_keys, "not in order"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), FILES.values(), ids=FILES)
def test_file(ask: Ask, tmp_path: Path, sound: bytes, change: Callable[[File], None], expected: Any) -> None:
    file = File(sound)
    change(file)
    (tmp_path / "data.mdb").write_bytes(file)
    ask_and_expect(ask, {"directory": str(tmp_path)}, expected)


@pytest.mark.parametrize("seed", range(60))
def test_bytes_that_were_changed_by_chance(ask: Ask, tmp_path: Path, sound: bytes, seed: int) -> None:
    random, file = Random(seed), File(sound)
    tree = [page for page in range(len(file) // PAGE) if page < 2 or page == file.root or file.is_leaf(page)]
    for _ in range(random.choice([1, 5, 50])):
        at = random.choice(tree) * PAGE + random.randrange(random.choice([24, 160, PAGE]))
        file[at] = random.choice([0, 1, 2, 127, 128, 255])
    (tmp_path / "data.mdb").write_bytes(file)
    ask_and_expect(ask, {"directory": str(tmp_path)}, None)


PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a named pipe": (os.mkfifo, "is not a regular file"),
    "a directory": (Path.mkdir, "is not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "cannot be opened"),
    "a link to itself": (lambda path: path.symlink_to("data.mdb"), "cannot be opened"),
    "8 GB of nothing": (sparse, "not an LMDB"),
}


@pytest.mark.parametrize(("put", "expected"), PLACES.values(), ids=PLACES)
def test_place(ask: Ask, tmp_path: Path, put: Callable[[Path], Any], expected: str) -> None:
    put(tmp_path / "data.mdb")
    ask_and_expect(ask, {"directory": str(tmp_path)}, expected)


# Records


def number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def field(name: int, value: int) -> bytes:
    return number(name << 3) + number(value)


def block(name: int, data: bytes, size: int | None = None) -> bytes:
    return number(name << 3 | 2) + number(len(data) if size is None else size) + data


def shape(channels: int, height: int, width: int) -> bytes:
    return field(1, channels) + field(2, height) + field(3, width)


def jpeg_of(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


SOUND = encode_datum(np.zeros((4, 4, 3), np.uint8), 7)
LABELS = [shape(1, 2, 2) + block(4, bytes(4)) + field(9, label) + field(5, label) for label in range(500)]

RECORDS: dict[str, tuple[list[bytes], Any]] = {
    "a sound one": ([SOUND], [[3, 4, 4], 7]),
    "the same shape again": ([SOUND, SOUND[:-1] + b"\x09"], [[3, 4, 4], 9]),
    "empty": ([b""], "do not fit 0 x 0 x 0"),
    "a zero": ([b"\0"], "truncated record"),
    "half of a number": ([b"\x80"], "truncated record"),
    "a number that does not end": ([b"\x08" + b"\xff" * 1000], "truncated record"),
    "no pixels": ([shape(3, 4, 4)], "0 values do not fit"),
    "no shape": ([block(4, bytes(48))], "48 values do not fit 0 x 0 x 0"),
    "fewer pixels than it says": ([shape(3, 4, 4) + block(4, bytes(47))], "47 values do not fit 3 x 4 x 4"),
    "more pixels than it says": ([shape(3, 4, 4) + block(4, bytes(49))], "49 values do not fit"),
    "more bytes than there are": ([shape(3, 4, 4) + block(4, bytes(48), 49)], "truncated record"),
    "16 exabytes": ([shape(3, 4, 4) + block(4, bytes(48), (1 << 64) - 1)], "truncated record"),
    "a height of 2^64 - 1": ([shape(1, (1 << 64) - 1, 1) + block(4, b"x")], "do not fit"),
    "a product that wraps around": ([shape(1 << 32, 1 << 32, 1) + block(4, bytes(48))], "do not fit"),
    "a negative height": ([shape(3, (1 << 64) - 4, 4) + block(4, bytes(48))], "do not fit"),
    "no channels": ([shape(0, 4, 4) + block(4, bytes(16))], "do not fit"),
    "a million channels": ([shape(1_000_000, 1, 1) + block(4, bytes(1_000_000))], [[1_000_000, 1, 1], 0]),
    "pixels twice": ([shape(1, 1, 2) + block(4, b"xx") + block(4, b"yyy")], "do not fit"),
    "a shape behind that is another": ([SOUND, SOUND + shape(1, 48, 1)], [[1, 48, 1], 7]),
    "the same head and fewer pixels": ([SOUND, SOUND[:20]], "truncated record"),
    "the same head and none behind": ([SOUND[:-2], SOUND[:30]], "truncated record"),
    "a label of -1": ([SOUND + field(5, (1 << 64) - 1)], [[3, 4, 4], -1]),
    "500 labels": (LABELS, [[1, 2, 2], 499]),
    "megabytes behind labels": ([SOUND[:-2] + block(99, bytes([n]) * 100_000) for n in range(40)] * 2, [[3, 4, 4], 0]),
    "floats, torn": ([shape(1, 1, 2) + block(6, bytes(7))], "truncated record"),
    "fewer floats than it says": ([shape(1, 1, 3) + block(6, bytes(8))], "do not fit"),
    "250,000 floats one by one": ([shape(1, 500, 500) + (b"\x35" + bytes(4)) * 250_000], [[1, 500, 500], 0]),
    "250,000 empty lists of floats": ([block(6, b"") * 250_000], "do not fit"),
    "floats that are no numbers": ([shape(1, 1, 2) + block(6, b"\0\0\xc0\x7f" * 2)], [[1, 1, 2], 0]),
    "a float, torn": ([b"\x35\0\0"], "truncated record"),
    "a double, torn": ([b"\x31\0\0"], "truncated record"),
    "groups, which are not in use any more": ([b"\x0b" * 1000], "truncated record"),
    "kinds that do not exist": ([b"\x0e", b"\x0f"], "truncated record"),
    "encoded, without data": ([field(7, 1)], "without data"),
    "encoded, with no image": ([block(4, b"no image") + field(7, 1)], "unsupported format"),
    "encoded, 65,000 x 65,000": ([block(4, jpeg_of(65_000, 65_000)) + field(7, 1)], "exceed the limit of 100,000,000"),
    "encoded, and a raw shape": ([shape(9, 9, 9) + block(4, jpeg_of(16, 16)) + field(7, 1)], [[3, 16, 16], 0]),
    "text": ([b"channels: 3 height: 4 width: 4"], "truncated record"),
    "ten thousand unknown fields": ([SOUND + block(100, b"x") * 10_000], [[3, 4, 4], 7]),
}  # fmt: skip


@pytest.mark.parametrize(("records", "expected"), RECORDS.values(), ids=RECORDS)
def test_record(ask: Ask, records: list[bytes], expected: Any) -> None:
    ask_and_expect(ask, {"records": [record.hex() for record in records]}, expected)


@pytest.mark.parametrize("seed", range(12))
def test_records_that_were_changed_by_chance(ask: Ask, seed: int) -> None:
    random = Random(seed)
    records = []
    for _ in range(200):
        record = bytearray(random.choice([SOUND, LABELS[3], block(4, jpeg_of(16, 16)) + field(7, 1)]))
        for _ in range(random.choice([1, 4])):
            record[random.randrange(len(record))] = random.randrange(256)
        records.append(bytes(record[: random.choice([len(record), random.randrange(len(record))])]))
    ask_and_expect(ask, {"changed": [record.hex() for record in (SOUND, *records, *records)]}, None)
