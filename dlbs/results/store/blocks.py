"""Blocks of a store: up to 16,384 runs with successive numbers, the values of each key together and compressed.

Together they need a tenth of the space of a document for each run, and whoever needs one key reads no other.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from dlbs.core.files import load_json_bytes
from dlbs.core.text import text
from dlbs.results.columns import Column, ColumnTable, constant, joined, merged, plain, shapes_of
from dlbs.results.runs import Runs, utc

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from dlbs.results.read.query import Word

ROWS = 16_384  # in a block: so many that a million runs are few reads, so few that one is soon rewritten
ADDED, TAGS, ID = "db.added", "db.tags", "db.id"
_SHORT = 256  # bytes of a column that is kept when it was read
_LARGEST = 256 << 20  # bytes of a column that are read
_CONSTANT, _EACH, _CODED = b"1", b"n", b"c"  # one value for all runs; each its own; values and codes


class Block(NamedTuple):
    """The runs `first` to `first + rows - 1`, of which some may have been removed."""

    first: int
    rows: int

    @classmethod
    def of(cls, first: Any, rows: Any) -> Block:
        """A block that was read.

        Raises:
            TypeError, ValueError: The store is damaged.
        """
        if not 0 < int(rows) <= ROWS or int(first) < 1:
            raise ValueError(f"a block of {rows} runs from {first} on"[:100])
        return cls(int(first), int(rows))


Parts = list[tuple[Block, Runs]]  # blocks, with the places of some of their runs


def stored_name(name: str) -> str:
    """A key as databases can store it: the digest of a long one, or of one with unusual letters."""
    if len(name) <= 128 and name.isascii() and name.isprintable() and not name.startswith("sha256:"):
        return name
    return f"sha256:{hashlib.sha256(json.dumps(name).encode()).hexdigest()}"


def packed(columns: Runs, column: Column) -> bytes:
    """A column as bytes: its kind, the length of the values, the values as JSON, and the codes as integers of four bytes."""
    content = json.dumps(list(map(plain, column.values))).encode()
    kind, codes = _CODED, b""
    if column.is_constant:
        kind = _CONSTANT
    elif column.codes == range(len(column.values)):
        kind = _EACH
    else:
        codes = _swapped(array("i", columns.codes(column))).tobytes()
    return zlib.compress(kind + len(content).to_bytes(4, "big") + content + codes)


class Packed:
    """The parts of a column that `packed` made.

    Attributes:
        kind: One of the three.
        text: The JSON text of its values.
        codes: The bytes of the codes.

    Raises:
        TypeError, zlib.error: These are not its bytes.
    """

    def __init__(self, data: Any) -> None:
        if not isinstance(data, bytes):
            raise TypeError("not bytes")
        content = zlib.decompressobj().decompress(data, _LARGEST)
        end = 5 + int.from_bytes(content[1:5], "big")
        self.kind, self.text, self.codes = content[:1], content[5:end], content[end:]

    @classmethod
    def of(cls, data: Any) -> Packed:
        """The same for bytes that were read; short ones, such as those of constants, are equal in many blocks."""
        return _short(data) if isinstance(data, bytes) and len(data) <= _SHORT else cls(data)

    @cached_property
    def values(self) -> list[Any]:
        """The values.

        Raises:
            TypeError, ValueError: The text is damaged.
        """
        values = load_json_bytes(self.text, around=1)
        if not isinstance(values, list):
            raise TypeError("not a list of values")
        return values

    @cached_property
    def small(self) -> bytes:
        """The text in small letters."""
        return self.text.lower()

    @cached_property
    def is_escaped(self) -> bool:
        """Whether the text may have letters that are written as their numbers."""
        return b"\\u" in self.text


_short = lru_cache(4096)(Packed)


def unpacked(data: Any, rows: int, *, check: bool = True) -> Column:
    """The column of `packed`, or of its parts.

    Args:
        data: The bytes or parts.
        rows: Number of runs.
        check: Check all codes; otherwise one without a value is a LookupError for whoever needs it.

    Raises:
        TypeError, ValueError, zlib.error: These are not its bytes, or not of so many rows.
    """
    content = data if isinstance(data, Packed) else Packed.of(data)
    kind, values = content.kind, content.values
    if kind == _CONSTANT and len(values) == 1:
        return constant(values[0], rows)
    if kind == _EACH and len(values) == rows:
        return Column(values, range(rows))
    codes = array("i")
    codes.frombytes(content.codes)
    if kind != _CODED or len(codes) != rows:
        raise ValueError("not a column of these runs")
    codes = _swapped(codes)
    if check:
        _check(codes, len(values))
    return Column(values, codes)


def _check(codes: array[int], count: int) -> None:
    different = set(codes)
    if different and (min(different) < -1 or max(different) >= count):
        raise ValueError("not a column of these runs")


def rows_with(word: Word, columns: dict[str, Packed], rows: int, among: Collection[int]) -> set[int]:
    """The places, of some in a block of so many runs, of those that have a word in one of these columns."""
    found: set[int] = set()
    for key, content in columns.items():
        if word.concerns(key) and (word.may_be_in(content.small) or content.is_escaped):
            column = unpacked(content, rows, check=False)
            hits = [word.fits(key, value) for value in column.values]
            if any(hits):
                if isinstance(column.codes, array):
                    _check(column.codes, len(hits))
                hits.append(False)  # of code -1
                codes = map(column.codes.__getitem__, among)
                found.update(compress(among, map(hits.__getitem__, codes)))
    return found


def _swapped(codes: array[int]) -> array[int]:
    if sys.byteorder == "big":
        codes.byteswap()
    return codes


def without_added(runs: Runs, added: Sequence[str] | None = None) -> Runs:
    """A table of these runs alone without the keys that a store adds (`db.*`), or with `db.added` alone.

    Args:
        runs: The runs.
        added: The time at which each was added.
    """
    table = merged([runs])
    shapes = table.shapes or shapes_of(Runs(table))
    columns = {
        name: column
        for name in table.names
        if not name.startswith("db.") and (column := table.column(name)) is not None
    }
    if added is not None:
        places: dict[str, int] = {}
        codes = [places.setdefault(one, len(places)) for one in added]
        columns[ADDED] = Column(list(places), codes) if len(places) > 1 else constant(added[0], len(added))
    more = () if added is None else (ADDED,)
    keys = [(*(name for name in shape if not name.startswith("db.")), *more) for shape in shapes.values]
    return Runs(ColumnTable(columns, table.rows, Column(keys, shapes.codes)))


def rows_of(first: int, runs: Runs, digests: Sequence[str], added: Sequence[datetime]) -> list[dict[str, Any]]:
    """The rows of the table `runs` for new runs, whose numbers begin with `first`."""

    def words(*names: str) -> list[str | None]:
        return runs.each(
            names, lambda run: text(next(filter(None, map(run.get, names)), None)).replace("\0", "")[:200] or None
        )

    columns = {
        "exp_id": words("exp.id"), "status": runs.statuses, "model": words("exp.model"),
        "host": words("exp.env.host", "exp.node_id"), "device": words("exp.device_title"),
        "started": list(map(utc, runs.values("exp.start_time"))),
        "throughput": runs.numbers("results.throughput"), "time": runs.numbers("results.time"),
    }  # fmt: skip
    numbers = range(first, first + len(runs))
    names = ("id", "digest", "added", *columns)
    return [dict(zip(names, row, strict=True)) for row in zip(numbers, digests, added, *columns.values(), strict=True)]


def write_block(connection: Connection, first: int, runs: Runs) -> None:
    """Store the values of runs whose numbers begin with `first`."""
    table = runs.table
    assert table.shapes is not None
    keys = packed(runs, Column(list(map(list, table.shapes.values)), table.shapes.codes))
    from dlbs.results.store import schema  # needs SQLAlchemy

    connection.execute(schema.blocks.insert(), {"first": first, "rows": table.rows, "keys": keys})
    values = [
        {"name": stored_name(name), "first": first, "data": packed(runs, column)}
        for name in table.names
        if (column := table.column(name)) is not None
    ]
    if values:
        connection.execute(schema.values.insert(), values)


def take_block(connection: Connection, first: int, rows: int) -> tuple[Column, dict[str, Column]]:
    """Read a block as the keys of its runs and the columns by stored name, and remove it."""
    from dlbs.results.store.schema import blocks, values

    keys = shapes(connection.execute(blocks.select().where(blocks.c.first == first)).one().keys, rows)
    found = connection.execute(values.select().where(values.c.first == first)).all()
    columns = {row.name: unpacked(row.data, rows) for row in found}
    connection.execute(values.delete().where(values.c.first == first))
    connection.execute(blocks.delete().where(blocks.c.first == first))
    return keys, columns


def shapes(data: Any, rows: int) -> Column:
    """The keys of the runs of a block."""
    column = unpacked(data, rows)
    if not all(isinstance(keys, list) and all(isinstance(name, str) for name in keys) for keys in column.values):
        raise TypeError("not lists of keys")
    return Column(list(map(tuple, column.values)), column.codes)


def runs_of(keys: Column, columns: dict[str, Column], rows: int) -> Runs:
    """A block that was taken."""
    names = dict.fromkeys(name for shape in keys.values for name in shape)
    return Runs(
        ColumnTable({name: columns[stored] for name in names if (stored := stored_name(name)) in columns}, rows, keys)
    )


def parts_of(ids: Sequence[int], blocks: Iterable[Block]) -> Parts:
    """The blocks that have runs with these numbers, which ascend, each with the places of these runs in it."""
    found = []
    for block in blocks:
        start, end = bisect_left(ids, block.first), bisect_left(ids, block.first + block.rows)
        if start == end:
            continue
        places: Sequence[int] = range(ids[start] - block.first, ids[end - 1] - block.first + 1)
        if len(places) > end - start:
            places = [one - block.first for one in ids[start:end]]
        found.append((block, Runs(ColumnTable({}, block.rows), places)))
    return found


def lazy_table(
    parts: Parts,
    keys: Sequence[Column],
    ids: Sequence[int],
    read: Callable[[str], Column],
    also: dict[str, Callable[[], Column]],
) -> ColumnTable:
    """A table whose columns are read when somebody asks for them.

    Args:
        parts: Blocks and places of the runs.
        keys: The keys of the runs of each block.
        ids: Numbers of the runs, the hidden column `db.id`.
        read: Reads the column of a key.
        also: Further keys of all runs.
    """
    whole = [Column([(*shape, *also) for shape in column.values], column.codes) for column in keys]
    shaped = joined([(part, column) for (_, part), column in zip(parts, whole, strict=True)])[0]
    names = dict.fromkeys(name for shape in shaped.values for name in shape)
    columns: dict[str, Column | Callable[[], Column]] = {name: partial(read, name) for name in names}
    return ColumnTable({**columns, **also, ID: Column(ids, range(len(ids)))}, len(ids), shaped)
