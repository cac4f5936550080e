"""Read and write records as Apache Parquet, a typed column for each key."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError, require
from dlbs.files import load_json, open_regular, write_bytes
from dlbs.results.runs import Record

if TYPE_CHECKING:
    import pyarrow


_EXACT = 2**53  # integers up to here are floating-point numbers
_AS_JSON = b"dlbs.json"  # in the metadata of a column whose values are JSON texts


def write_parquet(path: str, records: Sequence[Record]) -> None:
    """Write a Parquet file, as `parquet_bytes` makes it.

    Raises:
        LogError: pyarrow is not installed.
        ConfigError: The file cannot be written.
    """
    write_bytes(path, parquet_bytes(records), follow=True)


def parquet_bytes(records: Sequence[Record]) -> bytes:
    """Encode a Parquet file: booleans, integers, floating-point numbers, texts and lists of numbers become columns of these types.

    Integers among floating-point numbers become such numbers, if all of them are exact.
    Values of mixed types, nested values and integers of more than 64 bits are written as JSON texts, which is recorded in the metadata of the
    column. A key that a record lacks is null.

    Raises:
        LogError: pyarrow is not installed.
    """
    arrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    fields, columns = [], []
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record.get(name) for record in records]
        kind = _type(arrow, values)
        if kind is None:
            values = [None if value is None else json.dumps(value) for value in values]
        # Surrogates, which a log may contain, cannot be encoded.
        fields.append(
            arrow.field(_encodable(name), kind or arrow.string(), metadata={_AS_JSON: b"1"} if kind is None else None)
        )
        columns.append(
            arrow.array([_encodable(value) if isinstance(value, str) else value for value in values], fields[-1].type)
        )
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(columns, schema=arrow.schema(fields)), out, compression="zstd")
    return out.getvalue()


def _encodable(words: str) -> str:
    return words.encode("utf-8", "replace").decode()


def _type(arrow: Any, values: Sequence[Any]) -> pyarrow.DataType | None:
    """Type of a column; None for values that are written as JSON."""
    present = [value for value in values if value is not None]
    kinds = set(map(type, present))
    if kinds == {str}:
        return arrow.string()
    if kinds == {list}:
        inner = _number_type(arrow, [one for value in present for one in value])
        return None if inner is None else arrow.list_(inner)
    if kinds == {bool}:
        return arrow.bool_()
    return _number_type(arrow, present)


def _number_type(arrow: Any, values: Sequence[Any]) -> pyarrow.DataType | None:
    """Type of numbers; None if some are something else, or would be rounded."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return arrow.float64()
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return arrow.int64()
    if kinds == {int, float} and all(type(value) is float or abs(value) <= _EXACT for value in values):
        return arrow.float64()
    return None


def read_parquet(path: str) -> list[Record]:
    """Read the records of a Parquet file, without null values.

    Raises:
        LogError: pyarrow is not installed, or the file cannot be read.
    """
    arrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    try:
        with open_regular(path, follow_links=True) as stream:
            table = parquet.read_table(arrow.PythonFile(stream, mode="r"))
        columns = []
        for field, column in zip(table.schema, table.columns, strict=True):
            values = column.to_pylist()
            if (field.metadata or {}).get(_AS_JSON):
                values = [None if value is None else load_json(value) for value in values]
            columns.append((field.name, values))
    except FileNotFoundError:
        raise LogError("no such file", where=path, hint="dlbs export LOGS -o results.parquet writes one") from None
    except (OSError, ValueError, TypeError, arrow.ArrowException) as error:
        raise LogError(f"cannot be read: {' '.join(str(error).split())[:200]}", where=path) from None
    return [{name: values[row] for name, values in columns if values[row] is not None} for row in range(table.num_rows)]
