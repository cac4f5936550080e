"""Databases of images as Caffe writes them: LMDB files whose records are Datum messages (Protocol Buffers).

LMDB trusts the references between its pages: a page beyond the end of the file would end the program with SIGBUS, a damaged one with SIGSEGV
or an assertion of LMDB, without a message. So the pages with the keys are read and checked once with ordinary reads before the file is mapped,
which takes about as long as listing the keys. The layout is that of LMDB 0.9 (lmdb.h, mdb.c): two pages of metadata, of which the newer one
contains the root of a B+ tree.
"""

from __future__ import annotations

import operator
import os
import struct
import threading
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.files import open_regular
from pytorch_benchmarks.data.dataset import Crop, Dataset, Uniform, place
from pytorch_benchmarks.data.images import MAX_PIXELS, decode_image

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = 16  # bytes of a page before its nodes: number, padding, flags, lower, upper
_NODE = 8  # bytes of a node before its key: size in two halves, flags, size of the key
_META = struct.Struct("<II8xQ I2x2x40x IHH32xQ QQ")  # see mdb.c, MDB_meta with two MDB_db inside
_NONE = (1 << 64) - 1  # the root of an empty tree
_BRANCH, _LEAF = 0x01, 0x02
_KINDS = 0x7F  # flags that determine the kind of a page
_LARGE = 0x01  # flag of a node: the record is on separate pages
_MAX_KEY = 511
_MAX_MAP = 1 << 46  # bytes; limit of an x86-64 process
_OPENING = threading.Lock()


class CaffeLmdb(Dataset):
    """An LMDB database of Datum records.

    Args:
        directory: Contains data.mdb. It is checked once, now, and must not change while it is read.
        max_pixels: Largest height times width of an encoded image.

    Raises:
        UsageError: It is missing, empty, incomplete or damaged.
    """

    def __init__(self, directory: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self.directory = os.fspath(directory)
        if not os.path.isdir(self.directory):
            raise UsageError(f"data directory {self.directory} does not exist")
        file = os.path.join(self.directory, "data.mdb")
        if not os.path.lexists(file):
            raise UsageError(
                f"{self.directory} contains no LMDB (data.mdb): for directories of images use --data_backend image_folder"
            )
        self._process = 0
        self._max_pixels = max_pixels
        try:
            self._keys = read_keys(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(f"the LMDB {self.directory} cannot be opened: {reason}") from None
        if not self._keys:
            raise UsageError(f"the LMDB {self.directory} is empty")
        with warnings.catch_warnings():
            # torch warns once per process about read-only memory, such as this database.
            warnings.simplefilter("ignore", UserWarning)
            torch.from_numpy(np.frombuffer(b"x", np.uint8))

    def _open(self) -> Any:
        lmdb = _lmdb()
        try:
            return lmdb.open(self.directory, readonly=True, lock=False, readahead=False, max_readers=1024)
        except lmdb.Error as error:
            raise UsageError(f"the LMDB {self.directory} cannot be opened: {error}") from None

    def _transaction(self) -> Any:
        """A transaction per thread, kept open: opening one costs more than reading a record.

        The database is opened in the process that reads it: an LMDB environment must not be used across a fork.
        """
        if self._process != os.getpid():
            with _OPENING:
                if self._process != os.getpid():
                    self._environment, self._local = self._open(), threading.local()
                    self._process = os.getpid()
        transaction = getattr(self._local, "transaction", None)
        if transaction is None:
            transaction = self._local.transaction = self._environment.begin(buffers=True)
        return transaction

    def record(self, index: int) -> memoryview:
        """The serialised Datum number `index`, as a view of the database."""
        found = self._transaction().get(self._keys[index])
        if found is None:
            raise ValueError("its key is not found: the database is damaged")
        return memoryview(found)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def num_classes(self) -> int:
        """0: the labels are unknown until they are read."""
        return 0

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "_keys": self._keys, "_process": 0, "_max_pixels": self._max_pixels}

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        try:
            pixels, label = parse_datum(self.record(index), self._max_pixels)
        except (ValueError, _lmdb().Error) as error:
            raise BenchmarkError(f"cannot read record {self._keys[index]!r} of {self.directory}: {error}") from None
        if pixels.dtype != np.uint8:
            pixels = pixels.clip(0, 255).astype(np.uint8)
        channels, height, width = target.shape
        if channels != pixels.shape[0]:
            pixels = self._with_channels(index, pixels, channels)
        place(pixels, crop.box(pixels.shape[1], pixels.shape[2], (height, width), uniform), target)
        return label

    def _with_channels(self, index: int, pixels: np.ndarray, channels: int) -> np.ndarray:
        """Convert between grey and colour: channels are averaged or replicated."""
        if channels == 1 and pixels.shape[0] == 3:
            return pixels.mean(axis=0, keepdims=True).astype(np.uint8)
        if pixels.shape[0] == 1:
            return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
        raise BenchmarkError(
            f"record {self._keys[index]!r} of {self.directory} has {pixels.shape[0]} channels; the model needs {channels}"
        )


class _Meta(NamedTuple):
    magic: int
    version: int
    map_size: int
    page_size: int
    main_padding: int
    main_flags: int
    depth: int
    root: int
    last_page: int
    transaction: int


@dataclass(frozen=True, slots=True)
class _File:
    """An open database: the root of its newest tree, and the extent of the file."""

    descriptor: int
    page_size: int
    pages: int
    root: int

    def page(self, number: int) -> bytes:
        """Read one page, which must exist."""
        if not 2 <= number < self.pages:
            raise ValueError(
                f"page {number:,} is missing: the file ends after {self.pages:,} pages; it is incomplete or damaged"
            )
        data = os.pread(self.descriptor, self.page_size, number * self.page_size)
        if len(data) != self.page_size or int.from_bytes(data[:8], "little") != number:
            raise ValueError(f"page {number:,} is damaged")
        return data


def read_keys(path: str) -> list[bytes]:
    """Read the keys of a database, in order; every page that LMDB reads afterwards to find their records is inside the file.

    Args:
        path: Path of `data.mdb`.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: It is not an LMDB, is incomplete or damaged, or has more than one record per key.
    """
    with open_regular(path) as stream:
        file = _opened(stream.fileno())
        keys: list[bytes] = []
        # Pages still to be read, the next one last. In a valid tree none occurs twice.
        waiting = [] if file.root == _NONE else [file.root]
        known: set[int] = set()
        while waiting:
            number = waiting.pop()
            if number in known:
                raise ValueError(f"page {number:,} is damaged: it occurs twice")
            known.add(number)
            page = file.page(number)
            kind = int.from_bytes(page[10:12], "little") & _KINDS
            if kind == _BRANCH:
                waiting += reversed(_children(page, number))
            elif kind == _LEAF:
                keys += _keys(page, number, file)
            else:
                raise ValueError(f"page {number:,} is damaged: it is neither a branch nor a leaf")
    if not all(map(operator.lt, keys, keys[1:])):
        raise ValueError("its keys are not in order: it is damaged")
    return keys


def _opened(descriptor: int) -> _File:
    size = os.fstat(descriptor).st_size
    first = _meta(os.pread(descriptor, _HEADER + _META.size, 0))
    page_size = first.page_size
    if page_size not in {1 << power for power in range(9, 17)}:
        raise ValueError("not an LMDB, or its first page is damaged")
    if size < 2 * page_size:
        raise ValueError(f"it is incomplete: the file has {size:,} bytes")
    second = _meta(os.pread(descriptor, _HEADER + _META.size, page_size))
    newest = second if second.transaction > first.transaction else first
    if second.page_size != page_size or not 0 <= newest.map_size <= _MAX_MAP or newest.last_page * page_size > _MAX_MAP:
        raise ValueError("its metadata are damaged")
    if newest.main_flags:
        raise ValueError("it has several records per key or integer keys, which Caffe's databases never have")
    # LMDB does not write freed pages, so a valid file may end before its last page.
    pages = min(size // page_size, newest.last_page + 1)
    return _File(descriptor, page_size, pages, newest.root)


def _meta(page: bytes) -> _Meta:
    if len(page) < _HEADER + _META.size:
        raise ValueError("not an LMDB: the file is too short")
    meta = _Meta(*_META.unpack_from(page, _HEADER))
    if meta.magic != _MAGIC:
        raise ValueError("not an LMDB, or a page of its metadata is damaged")
    if meta.version != _VERSION:
        raise ValueError(f"its format version is {meta.version}; only version {_VERSION} is supported")
    return meta


def _nodes(page: bytes, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the nodes of a page, and their headers as 16-bit numbers, shape (nodes, 4)."""
    lower = int.from_bytes(page[12:14], "little")
    if not _HEADER < lower <= len(page) or lower % 2:
        raise ValueError(f"page {number:,} is damaged: it has no nodes")
    starts = np.frombuffer(page, "<u2", (lower - _HEADER) // 2, _HEADER).astype(np.int64)
    if starts.min() < lower or starts.max() > len(page) - _NODE:
        raise ValueError(f"page {number:,} is damaged: a node lies outside of it")
    content = np.frombuffer(page, np.uint8)
    headers = content[starts[:, None] + np.arange(_NODE)].view("<u2").astype(np.int64)
    return starts, headers


def _children(page: bytes, number: int) -> list[int]:
    starts, headers = _nodes(page, number)
    if len(starts) < 2 or (starts + _NODE + headers[:, 3]).max() > len(page):
        raise ValueError(f"page {number:,} is damaged: a branch with too few nodes, or a node outside of it")
    children: list[int] = (headers[:, 0] | headers[:, 1] << 16 | headers[:, 2] << 32).tolist()
    return children


def _keys(page: bytes, number: int, file: _File) -> list[bytes]:
    starts, headers = _nodes(page, number)
    sizes, flags, key_sizes = headers[:, 0] | headers[:, 1] << 16, headers[:, 2], headers[:, 3]
    if flags.max() > _LARGE:
        raise ValueError("it contains other databases, which Caffe's databases never do")
    data = starts + _NODE + key_sizes
    large = flags == _LARGE
    if key_sizes.min() < 1 or key_sizes.max() > _MAX_KEY or (data + np.where(large, 8, sizes)).max() > len(page):
        raise ValueError(f"page {number:,} is damaged: a record lies outside of it")
    if large.any():
        content = np.frombuffer(page, np.uint8)
        first = content[data[large][:, None] + np.arange(8)].view("<u8")[:, 0]
        behind = first + (sizes[large] + _HEADER + file.page_size - 1).astype(np.uint64) // np.uint64(file.page_size)
        if first.min() < 2 or first.max() >= file.pages or behind.max() > file.pages:
            raise ValueError(
                f"a record ends at page {int(behind.max()):,}, the file at page {file.pages:,}: incomplete or damaged"
            )
    return [page[start + _NODE : end] for start, end in zip(starts.tolist(), data.tolist(), strict=True)]


class Datum(NamedTuple):
    """One record. `pixels` is uint8 or float32, shape (channels, height, width); encoded images are RGB."""

    pixels: np.ndarray
    label: int


@dataclass(slots=True)
class _Fields:
    """Fields of a record; `start` and `size` locate the bytes of `data` in it."""

    channels: int = 0
    height: int = 0
    width: int = 0
    label: int = 0
    encoded: bool = False
    start: int = -1
    size: int = 0
    floats: bytearray = field(default_factory=bytearray)


def parse_datum(record: memoryview, max_pixels: int = MAX_PIXELS) -> Datum:
    """Parse a serialised Datum; raw pixels are not copied.

    Args:
        record: Its bytes.
        max_pixels: Largest height times width of an encoded image.

    Raises:
        ValueError: The record is truncated, its pixels do not fit its shape, or its image cannot be decoded.
    """
    fields = _walk(record)
    data = record[fields.start : fields.start + fields.size] if fields.start >= 0 else None
    if fields.encoded:
        if data is None:
            raise ValueError("encoded, but without data")
        return Datum(decode_image(bytes(data), max_pixels).transpose(2, 0, 1), fields.label)
    if data is not None and len(data):
        pixels = np.frombuffer(data, np.uint8)
    else:
        pixels = np.frombuffer(fields.floats, "<f4")
    channels, height, width = fields.channels, fields.height, fields.width
    if pixels.size == 0 or pixels.size != channels * height * width:
        raise ValueError(f"{pixels.size} values do not fit {channels} x {height} x {width}")
    return Datum(pixels.reshape(channels, height, width), fields.label)


def _walk(record: memoryview) -> _Fields:
    """Find the fields."""
    fields = _Fields()
    position, end = 0, len(record)
    while position < end:
        key, position = _varint(record, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(record, position)
            if number == 1:
                fields.channels = value
            elif number == 2:
                fields.height = value
            elif number == 3:
                fields.width = value
            elif number == 5:
                fields.label = value - (1 << 64) if value >> 63 else value
            elif number == 7:
                fields.encoded = bool(value)
        elif wire == 2:
            size, position = _varint(record, position)
            if position + size > end:
                raise ValueError("truncated record")
            if number == 4:
                fields.start, fields.size = position, size
            elif number == 6:
                if size % 4:
                    raise ValueError("truncated record")
                fields.floats += record[position : position + size]
            position += size
        elif wire == 5 and position + 4 <= end:
            if number == 6:
                fields.floats += record[position : position + 4]
            position += 4
        elif wire == 1 and position + 8 <= end:
            position += 8
        else:
            raise ValueError("truncated record")
    return fields


def _varint(record: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = record[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise ValueError("truncated record")
    except IndexError:
        raise ValueError("truncated record") from None


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise UsageError("reading LMDB needs the package lmdb: pip install lmdb") from None
    return lmdb
