"""Read and write runs as Apache Parquet, a typed column for each key."""

from __future__ import annotations

import io
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from dlbs.core.errors import LogError, require
from dlbs.core.files import load_json, open_atomically, open_regular
from dlbs.results.columns import Column, ColumnTable, constant, plain
from dlbs.results.runs import Record, Runs

if TYPE_CHECKING:
    import pyarrow


_EXACT = 2**53  # integers up to here are floating-point numbers
_AS_JSON = b"dlbs.json"  # in the metadata of a column whose values are JSON texts
_GROUP = 1 << 13  # rows that are written together

_Stamp = tuple[int, int, int]


def write_parquet(path: str, blocks: Iterable[Runs]) -> None:
    """Write a Parquet file: booleans, integers, floating-point numbers, texts and lists of numbers become columns of these types.

    Integers among floating-point numbers become such numbers, if all of them are exact. Values of mixed types, nested values and integers of
    more than 64 bits are written as JSON texts, which is recorded in the metadata of the column. A key that a run lacks is null.

    Args:
        path: The file.
        blocks: The runs; they are read twice.

    Raises:
        LogError: pyarrow is not installed.
        ConfigError: The file cannot be written.
    """
    require("pyarrow", "parquet")
    with open_atomically(path, follow=True) as stream:
        _write(stream, blocks)


def parquet_bytes(records: Sequence[Record]) -> bytes:
    """Encode a Parquet file, as `write_parquet` writes it.

    Raises:
        LogError: pyarrow is not installed.
    """
    out = io.BytesIO()
    _write(out, [Runs.of(records)])
    return out.getvalue()


def _write(stream: IO[bytes], blocks: Iterable[Runs]) -> None:
    arrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    kinds: dict[str, set[str]] = {}
    for block in blocks:
        for name in block.names:
            column = block.table.column(name)
            assert column is not None
            kinds.setdefault(name, set()).update(_kinds(column.values))
    types = {name: _type(arrow, found) for name, found in kinds.items()}
    # Surrogates, which a log may contain, cannot be encoded.
    schema = arrow.schema(
        [
            arrow.field(_encodable(name), kind or arrow.string(), metadata=None if kind else {_AS_JSON: b"1"})
            for name, kind in types.items()
        ]
    )
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for runs in _groups(blocks):
            arrays = [
                _array(arrow, runs, name, kind or arrow.string(), as_json=kind is None) for name, kind in types.items()
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema), row_group_size=_GROUP)


def _groups(blocks: Iterable[Runs]) -> Iterator[Runs]:
    """Blocks of more rows, because each costs room in a file."""
    waiting: list[Runs] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= _GROUP:
            yield Runs.together(waiting)
            waiting = []
    if waiting:
        yield Runs.together(waiting)


def _array(arrow: Any, runs: Runs, name: str, kind: pyarrow.DataType, *, as_json: bool) -> Any:
    column = runs.table.column(name)
    if column is None:
        return arrow.nulls(len(runs), kind)
    values: list[Any] = [plain(value) for value in column.values]
    if as_json:
        values = [None if value is None else json.dumps(value) for value in values]
    made = arrow.array([*(_encodable(value) if isinstance(value, str) else value for value in values), None], kind)
    codes = runs.codes(column)
    if isinstance(codes, range):
        return made[codes.start : codes.stop]
    nothing = len(values)
    return made.take(arrow.array([nothing if code < 0 else code for code in codes], arrow.int32()))


def _encodable(words: str) -> str:
    return words.encode("utf-8", "replace").decode()


def _kinds(values: Iterable[Any]) -> set[str]:
    """The kinds of values: `text`, `bool`, those of numbers, `list` and those of the numbers in lists, `other`."""
    kinds = set()
    for value in values:
        if isinstance(value, array):
            kinds |= {"list", "list float"}
        elif type(value) is list:
            kinds |= {"list", *(f"list {kind}" for kind in _kinds(value) | ({"other"} if None in value else set()))}
        elif type(value) is int:
            kinds.add("int" if abs(value) <= _EXACT else "long" if -(2**63) <= value < 2**63 else "other")
        elif value is not None:
            kinds.add({str: "text", bool: "bool", float: "float"}.get(type(value), "other"))
    return kinds


def _type(arrow: Any, kinds: set[str]) -> pyarrow.DataType | None:
    """Type of a column; None for values that are written as JSON."""
    if kinds == {"text"}:
        return arrow.string()
    if kinds == {"bool"}:
        return arrow.bool_()
    if all(kind.startswith("list") for kind in kinds) and kinds:
        inner = _number_type(arrow, {kind.removeprefix("list ") for kind in kinds - {"list"}})
        return None if inner is None else arrow.list_(inner)
    return _number_type(arrow, kinds)


def _number_type(arrow: Any, kinds: set[str]) -> pyarrow.DataType | None:
    """Type of numbers; None if some are something else, or would be rounded."""
    if kinds and kinds <= {"int", "long"}:
        return arrow.int64()
    return arrow.float64() if kinds and kinds <= {"int", "float"} else None


def read_parquet(path: str, *, in_groups: bool = False) -> list[Runs]:
    """The runs of a Parquet file, without null values. Columns are read when they are needed; those with one value are known from the statistics.

    Args:
        path: The file.
        in_groups: Make a table of each row group, for those who need all columns but not all rows at once; otherwise there is one table.

    Raises:
        LogError: pyarrow is not installed, or the file cannot be read; also later, when a column is needed.
    """
    arrow = require("pyarrow", "parquet")
    with _file(path, arrow) as (file, stamp):
        metadata, schema = file.metadata, file.schema_arrow
        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice:
            raise LogError(f"has two columns {twice[0]!r}", where=path)
        numbers = list(range(metadata.num_row_groups))
        sets = [[number] for number in numbers] if in_groups and numbers else [numbers]
        return [_runs(_Part(path, stamp, metadata, groups), schema) for groups in sets]


class _Part(NamedTuple):
    """Row groups of a file."""

    path: str
    stamp: _Stamp
    metadata: Any
    groups: list[int]


def _runs(part: _Part, schema: Any) -> Runs:
    arrow = require("pyarrow", "parquet")
    metadata = part.metadata
    leaves = {
        metadata.schema.column(at).path.removesuffix(".list.element").removesuffix(".list.item"): at
        for at in range(metadata.num_columns)
    }
    groups = [metadata.row_group(number) for number in part.groups]
    rows = sum(group.num_rows for group in groups)
    columns: dict[str, Any] = {}
    full = set()
    for field in schema:
        leaf = leaves.get(field.name)
        found = [] if leaf is None else [group.column(leaf).statistics for group in groups]
        known = bool(found) and all(one is not None and one.has_null_count for one in found)
        nulls = sum(one.null_count for one in found) if known else -1
        if nulls == rows and not arrow.types.is_nested(field.type):
            continue
        if nulls == 0:
            full.add(field.name)
        columns[field.name] = partial(_column, part, field)
        # Statistics of floating-point numbers leave out NaN, and take -0.0 for 0.0.
        exact = any(is_(field.type) for is_ in (arrow.types.is_string, arrow.types.is_integer, arrow.types.is_boolean))
        if nulls == 0 and exact and all(one.has_min_max for one in found):
            ends = {end for one in found for end in (one.min, one.max)}
            if len(ends) == 1:
                columns[field.name] = constant(_value(field, ends.pop()), rows)
    return Runs(ColumnTable(columns, rows, partial(_shapes, part, columns, rows, full), full))


@contextmanager
def _file(path: str, arrow: Any, known: _Stamp | None = None, **options: Any) -> Iterator[tuple[Any, _Stamp]]:
    """A Parquet file and its identity, which must be the known one."""
    parquet = require("pyarrow.parquet", "parquet")
    try:
        with open_regular(path, follow_links=True) as stream:
            status = os.fstat(stream.fileno())
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            if known is not None and stamp != known:
                raise LogError("changed while it was read", where=path, hint="run the command again")
            yield parquet.ParquetFile(arrow.PythonFile(stream, mode="r"), **options), stamp
    except FileNotFoundError:
        raise LogError("no such file", where=path, hint="dlbs export LOGS -o results.parquet writes one") from None
    except (OSError, ValueError, TypeError, arrow.ArrowException) as error:
        raise LogError(f"cannot be read: {' '.join(str(error).split())[:200]}", where=path) from None


def _read(part: _Part, field: Any) -> Any:
    """The values of a column, encoded by a dictionary if they are texts."""
    arrow = require("pyarrow", "parquet")
    texts = [field.name] if arrow.types.is_string(field.type) else []
    with _file(part.path, arrow, part.stamp, metadata=part.metadata, read_dictionary=texts) as (file, _):
        # And columns whose names begin with this one and a dot.
        table = file.read_row_groups(part.groups, columns=[field.name])
        return table.column(table.schema.names.index(field.name))


def _value(field: Any, value: Any) -> Any:
    return load_json(value) if (field.metadata or {}).get(_AS_JSON) else value


def _column(part: _Part, field: Any) -> Column:
    arrow = require("pyarrow", "parquet")
    found = _read(part, field)
    is_ = arrow.types
    try:
        if is_.is_integer(field.type) or is_.is_boolean(field.type):
            found = found.dictionary_encode()
        if is_.is_dictionary(found.type):
            # No array at all if there are no rows.
            one = arrow.concat_arrays(found.unify_dictionaries().chunks) if found.num_chunks else None
            if one is None:
                return Column([], [])
            codes = _numbers("i", one.indices.cast(arrow.int32()).fill_null(-1))
            return Column([_value(field, value) for value in one.dictionary.to_pylist()], codes)
        present = _present(found)
        whole = found.drop_null()
        if is_.is_float64(field.type):
            return Column(_numbers("d", *whole.chunks), present)
        return Column([_value(field, value) for value in whole.to_pylist()], present)
    except (ValueError, arrow.ArrowException) as error:
        raise LogError(f"cannot be read: {' '.join(str(error).split())[:200]}", where=part.path) from None


def _numbers(kind: str, *arrays: Any) -> array[Any]:
    made: array[Any] = array(kind)
    for one in arrays:
        data = memoryview(one.buffers()[1]).cast("B") if len(one) else b""
        made.frombytes(data[one.offset * made.itemsize : (one.offset + len(one)) * made.itemsize])
    return made


def _present(found: Any) -> Sequence[int]:
    """Codes of values that are all different: their positions without nulls, or -1."""
    if not found.null_count:
        return range(len(found))
    codes, at = array("i"), 0
    for is_valid in found.is_valid().to_pylist():
        codes.append(at if is_valid else -1)
        at += is_valid
    return codes


def _shapes(part: _Part, columns: dict[str, Any], rows: int, full: set[str]) -> Column:
    """The keys of each row, for which only columns with null values are read."""
    partly = {name: column for name, column in columns.items() if name not in full}
    present = []
    for column in partly.values():
        field = column.args[-1]
        found = _read(part, field)
        present.append(found.is_valid().to_pylist())
    if not present:
        return constant(tuple(columns), rows)
    numbers: dict[tuple[bool, ...], int] = {}
    codes = array("i", (numbers.setdefault(flags, len(numbers)) for flags in zip(*present, strict=True)))
    shapes = []
    for flags in numbers:
        absent = {name for name, flag in zip(partly, flags, strict=True) if not flag}
        shapes.append(tuple(name for name in columns if name not in absent))
    return Column(shapes, codes)
