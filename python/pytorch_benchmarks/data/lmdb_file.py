"""Validate the file of an LMDB before it is mapped into memory: LMDB trusts the references between its pages.

A page beyond the end of the file would end the program with SIGBUS, a damaged one with SIGSEGV or an assertion of LMDB, without a message.
So the pages with the keys are read once with ordinary reads, which takes about as long as listing the keys. The layout is that of
LMDB 0.9 (lmdb.h, mdb.c): two pages of metadata, of which the newer one contains the root of a B+ tree.
"""

from __future__ import annotations

import operator
import os
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pytorch_benchmarks.files import open_regular

__all__ = ["read_keys"]

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
