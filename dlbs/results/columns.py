"""Tables of columns: distinct values and a code for each row, so that what holds for a value is worked out once per distinct value.

A column with one value costs nothing per row, and no engine has to be imported. Integers, floating-point numbers and booleans stay apart (1, 1.0 and
true), as do 0.0 and -0.0, so a file is written as it was read; `classes` merges what is equal.
"""

from __future__ import annotations

import json
import marshal
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, repeat
from typing import Any, SupportsIndex, TypeVar, overload

ROWS = 2048  # in a block: enough that a constant column is cheap, few enough that a block is small
_TOGETHER = 64  # rows with equal keys that a builder takes at once; more leave the cache of the CPU
_LONG = 16  # numbers in a list from which it is kept as an array
_MOSTLY_DISTINCT = 256  # values from which they are no longer looked up if more than half are distinct
_SPARSE = 8  # a column that fewer than one in so many rows have is kept by row
_FEW = frozenset({str, int, bool})  # types with cheap, exact hashes

Value = Any
T = TypeVar("T")
Self_ = TypeVar("Self_", bound="Columns")


class _Same(Sequence[int]):
    """The codes of a constant column: 0 for each row."""

    __slots__ = ("_rows",)

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, at: Any) -> Any:
        return 0

    def __iter__(self) -> Iterator[int]:
        return repeat(0, self._rows)


class _Sparse(Sequence[int]):
    """The codes of a column that few rows have: those of the others are -1."""

    __slots__ = ("_rows", "by_row")

    def __init__(self, by_row: dict[int, int], rows: int) -> None:
        self.by_row, self._rows = by_row, rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, at: Any) -> Any:
        return self.by_row.get(at, -1)

    def __iter__(self) -> Iterator[int]:
        return (self.by_row.get(row, -1) for row in range(self._rows))


class Column:
    """The values of one key.

    Args:
        values: The values, as they were written. Different codes may have equal values.
        codes: For each row, the index of its value, or -1 for a row without one.
    """

    __slots__ = ("_classes", "codes", "values")

    def __init__(self, values: Sequence[Value], codes: Sequence[int]) -> None:
        self.values, self.codes = values, codes
        self._classes: tuple[list[Value], list[int] | range] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value."""
        return type(self.codes) is _Same

    def classes(self) -> tuple[list[Value], list[int] | range]:
        """The distinct values, None for no value at the end, and for each code its class. Code -1 is the last one, as in any list."""
        if self._classes is None:
            numbers: dict[Any, int] = {}
            distinct: list[Value] = []
            translated = []
            for value in self.values:
                value = plain(value)
                at = numbers.setdefault(hashable(value), len(distinct))
                if at == len(distinct):
                    distinct.append(value)
                translated.append(at)
            nothing = numbers.get(None, len(distinct))
            if nothing == len(distinct):
                distinct.append(None)
            self._classes = distinct, [*translated, nothing]
        return self._classes


def constant(value: Value, rows: int) -> Column:
    """The column of rows that all have one value."""
    return Column([value], _Same(rows))


def plain(value: Value) -> Value:
    """A value as it was read: long lists of numbers are kept as arrays."""
    return value.tolist() if type(value) is array else value


def hashable(value: Value) -> Any:
    """Convert a value to a hashable one; equal values stay equal, but true is not 1. NaN equals NaN."""
    if value is None or isinstance(value, str):
        return value
    if value.__class__ is float:
        return value if value == value else (value.__class__, "nan")
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, sort_keys=True), type(value)
    return value


def _exact(value: Value) -> Any:
    """A key that only the same value of the same type has."""
    kind = type(value)
    if kind is str or value is None:
        return value
    if kind is float:
        return (float, value) if value == value and value != 0.0 else (float, repr(value))
    if kind is list or kind is dict or kind is tuple:
        try:
            # The version whose bytes depend on the value alone; json takes six times as long.
            return kind, marshal.dumps(value, 2)
        except ValueError:  # other types within
            return kind, json.dumps(value, default=repr)
    # Callers may give values of other types, such as the timestamps and arrays of a frame.
    return kind, value if callable(kind.__hash__) else id(value)


class _Interned:
    """Values by code, and the codes by value as long as values recur."""

    __slots__ = ("codes", "seen", "values")

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.codes: dict[Any, int] | None = {}
        self.seen = 0  # values looked up

    def extend(self, values: Sequence[Value]) -> Iterable[int]:
        """The codes of values."""
        kinds = set(map(type, values))
        if len(kinds) == 1 and kinds <= _FEW and values.count(values[0]) == len(values):
            return repeat(self.code(values[0]), len(values))
        if self.codes is None and list not in kinds:  # a list may become an array
            start = len(self.values)
            self.values.extend(values)
            return range(start, len(self.values))
        if self.codes is None or len(kinds) > 1 or not kinds <= _FEW:
            return list(map(self.code, values))
        known: dict[Any, int] = self.codes
        keys: Sequence[Any] = values if kinds == {str} else list(zip(repeat(*kinds), values))  # as `_exact` makes them
        new = {key: value for key, value in zip(keys, values, strict=True) if key not in known}
        known.update(zip(new, range(len(self.values), len(self.values) + len(new)), strict=True))
        self.values += new.values()
        self._look_up(len(values))
        return list(map(known.__getitem__, keys))

    def _look_up(self, count: int) -> None:
        """Count values that were looked up, and stop that if most of them are distinct."""
        self.seen += count
        if len(self.values) > _MOSTLY_DISTINCT and 2 * len(self.values) > self.seen:
            self.codes = None

    def code(self, value: Value) -> int:
        if type(value) is list and len(value) >= _LONG and set(map(type, value)) == {float}:
            value = array("d", value)
        if self.codes is None or type(value) is array:
            self.values.append(value)
            return len(self.values) - 1
        at = self.codes.setdefault(_exact(value), len(self.values))
        self.seen += 1
        if at == len(self.values):
            self.values.append(value)
            self._look_up(0)
        return at

    def column(self, codes: array[int], present: int) -> Column:
        """The column with these codes, of which so many are not -1."""
        values: Sequence[Value] = self.values
        rows = len(codes)
        if len(values) > _LONG and set(map(type, values)) == {float}:
            values = array("d", values)
        if present < rows:
            if _SPARSE * present < rows:
                return Column(values, _Sparse({row: code for row, code in enumerate(codes) if code >= 0}, rows))
            return Column(values, codes)
        if len(values) == 1:
            return Column(values, _Same(rows))
        if len(values) == rows and codes == array("i", range(rows)):
            return Column(values, range(rows))
        return Column(values, codes)


class ColumnTable:
    """Stored rows.

    Args:
        columns: Key → its column, or a function that reads it.
        rows: Number of rows.
        shapes: The keys of each row, in order, or a function that finds them; None if all rows have their keys in the order of the columns.
        full: Keys that are known to be in all rows, so that nothing has to be read to see whether a row has them.
    """

    __slots__ = ("_kept", "_shapes", "columns", "full", "rows")

    def __init__(
        self,
        columns: Mapping[str, Column | Callable[[], Column]],
        rows: int,
        shapes: Column | Callable[[], Column] | None = None,
        full: Collection[str] = (),
    ) -> None:
        self.columns = dict(columns)
        self.rows, self._shapes, self.full = rows, shapes, frozenset(full)
        self._kept: dict[Any, Sequence[Any]] = {}

    @property
    def names(self) -> Iterable[str]:
        """All keys."""
        return self.columns.keys()

    @property
    def shapes(self) -> Column | None:
        """The keys of each row, in order; None if all rows have their keys in the order of the columns."""
        if callable(self._shapes):
            self._shapes = self._shapes()
        return self._shapes

    def column(self, name: str) -> Column | None:
        """The column of a key; None if no row has the key."""
        found = self.columns.get(name)
        if callable(found):
            found = self.columns[name] = found()
        return found

    def has(self, name: str, row: int) -> bool:
        """Whether a row has a key."""
        if name in self.full:
            return True
        column = self.column(name)
        return column is not None and column.codes[row] >= 0

    def value(self, name: str, row: int, default: Any = None) -> Value:
        """A value of a row."""
        column = self.column(name)
        if column is None:
            return default
        code = column.codes[row]
        if code < 0:
            return default
        value = column.values[code]
        return value.tolist() if type(value) is array else value

    def keys(self, row: int) -> Iterable[str]:
        """The keys of a row, in order."""
        if self.shapes is not None:
            keys: tuple[str, ...] = self.shapes.values[self.shapes.codes[row]]
            return keys
        return [name for name in self.columns if self.has(name, row)]

    def kept(self, key: Any, make: Callable[[], Sequence[T]]) -> Sequence[T]:
        """Values computed once for all rows."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


class Row(Mapping[str, Any]):
    """One row: a read-only dictionary."""

    __slots__ = ("_at", "_table")

    def __init__(self, table: ColumnTable, at: int) -> None:
        self._table, self._at = table, at

    def __getitem__(self, name: str) -> Value:
        value = self._table.value(name, self._at, ABSENT)
        if value is ABSENT:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Value:
        """A value, or a default for a key that the row lacks."""
        return self._table.value(name, self._at, default)

    def __contains__(self, name: object) -> bool:
        return self._table.has(name, self._at)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.keys(self._at))

    def __len__(self) -> int:
        return len(list(self._table.keys(self._at)))

    def __repr__(self) -> str:
        return repr(dict(self))


ABSENT = object()  # no value, where None is one


class Columns(Sequence[Row]):
    """Rows of a table: a sequence of read-only dictionaries, and operations on their columns.

    Args:
        table: The stored rows.
        rows: Which of them, in which order; None for all.
    """

    __slots__ = ("rows", "table")

    def __init__(self, table: ColumnTable, rows: Sequence[int] | None = None) -> None:
        self.table = table
        self.rows: Sequence[int] = range(table.rows) if rows is None else rows

    @overload
    def __getitem__(self, at: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self: Self_, at: slice) -> Self_: ...
    def __getitem__(self: Self_, at: Any) -> Any:
        return self.take(self.rows[at]) if isinstance(at, slice) else Row(self.table, self.rows[at])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        table = self.table
        return (Row(table, row) for row in self.rows)

    def _like(self: Self_, table: ColumnTable, rows: Sequence[int] | None = None) -> Self_:
        return type(self)(table, rows)

    def take(self: Self_, rows: Sequence[int]) -> Self_:
        """Rows of the same table, by their numbers in it."""
        return self._like(self.table, rows)

    def sorted_by(self: Self_, orders: Sequence[float]) -> Self_:
        """The rows in the order of these numbers, one for each."""
        return self.take([self.rows[at] for at in sorted(range(len(self)), key=orders.__getitem__)])

    def where(self: Self_, flags: Iterable[object]) -> Self_:
        """The rows whose flag is true."""
        return self.take(list(compress(self.rows, flags)))

    @property
    def names(self) -> list[str]:
        """All keys, in the order in which rows have them."""
        table = self.table
        if table.shapes is None:
            return [name for name in table.names if self._has(name)]
        codes = dict.fromkeys(map(table.shapes.codes.__getitem__, self.rows))
        return list(dict.fromkeys(name for code in codes for name in table.shapes.values[code]))

    def _has(self, name: str) -> bool:
        if name in self.table.full:
            return bool(self.rows)
        column = self.table.column(name)
        assert column is not None
        return bool(self.rows) and (column.is_constant or any(code >= 0 for code in self.codes(column)))

    def codes(self, column: Column) -> Sequence[int]:
        """The codes of a column for these rows."""
        codes, rows = column.codes, self.rows
        if type(codes) is _Same:
            return _Same(len(rows))
        if isinstance(rows, range) and rows.step == 1:
            if rows.start == 0 and rows.stop == len(codes) and type(codes) is not _Sparse:
                return codes
            if type(codes) is not _Sparse:
                return codes[rows.start : rows.stop]
        return list(map(codes.__getitem__, rows))

    def values(self, name: str) -> list[Value]:
        """The value of each row; None for a row without the key."""
        column = self.table.column(name)
        if column is None:
            return [None] * len(self)
        if column.is_constant:
            return [plain(column.values[0])] * len(self)
        values = column.values
        return [plain(values[code]) if code >= 0 else None for code in self.codes(column)]

    def _classes_of(self, column: Column) -> Sequence[int]:
        translated = column.classes()[1]
        return _Same(len(self)) if column.is_constant else list(map(translated.__getitem__, self.codes(column)))

    def classes(self, name: str) -> tuple[list[Value], Sequence[int]]:
        """Distinct values, and for each row the index of its value; a row without the key has None. Values that rows lack may be among them."""
        column = self.table.column(name)
        if column is None:
            return [None], _Same(len(self))
        return column.classes()[0], self._classes_of(column)

    def distinct(self, name: str) -> list[Value]:
        """The distinct values in order of first occurrence, None for rows without the key."""
        column = self.table.column(name)
        if column is None or column.is_constant:
            return [None if column is None else plain(column.values[0])][: len(self)]
        translated = column.classes()[1]
        first: dict[int, Value] = {}
        for code in dict.fromkeys(self.codes(column)):
            first.setdefault(translated[code], None if code < 0 else column.values[code])
        return list(map(plain, first.values()))

    def present(self, name: str) -> list[Value]:
        """The distinct values of the rows that have a key, also None, in order of first occurrence; equal numbers of other types are apart."""
        column = self.table.column(name)
        if column is None:
            return []
        return [plain(column.values[code]) for code in dict.fromkeys(self.codes(column)) if code >= 0]

    def group(self: Self_, names: Sequence[str]) -> dict[tuple[Any, ...], Self_]:
        """Group rows by their values of these keys, as `hashable` makes them, in order of first occurrence."""
        if not self.rows:
            return {}
        found = [self.classes(name) for name in names]
        varying = [codes for _, codes in found if type(codes) is not _Same]
        if not varying:
            return {tuple(hashable(values[0]) for values, _ in found): self}
        groups: dict[Any, list[int]] = {}
        ids: Iterable[Any] = varying[0] if len(varying) == 1 else zip(*varying, strict=True)
        for identity, row in zip(ids, self.rows, strict=True):
            if identity in groups:
                groups[identity].append(row)
            else:
                groups[identity] = [row]
        keys = [list(map(hashable, values)) for values, _ in found]
        made = {}
        for identity, rows in groups.items():
            parts = iter((identity,) if len(varying) == 1 else identity)
            key = tuple(
                key[0] if type(codes) is _Same else key[next(parts)]
                for key, (_, codes) in zip(keys, found, strict=True)
            )
            made[key] = self.take(rows)
        return made

    def each(self, names: Iterable[str], function: Callable[[Row], T]) -> list[T]:
        """Results of a function for each row, called once for each combination of the values of all keys that it reads.

        Equal values of several types, such as 1 and 1.0, and no value and null are different combinations, because a function may tell them apart.

        Args:
            names: These keys.
            function: The function.
        """
        columns = [column for name in names if (column := self.table.column(name)) is not None]
        found = [codes for column in columns if type(codes := self.codes(column)) is not _Same]
        if not self.rows:
            return []
        if not found:
            return [function(self[0])] * len(self)
        known: dict[Any, T] = {}
        results = []
        ids: Iterable[Any] = found[0] if len(found) == 1 else zip(*found, strict=True)
        for identity, row in zip(ids, self.rows, strict=True):
            if identity not in known:
                known[identity] = function(Row(self.table, row))
            results.append(known[identity])
        return results

    def derived(self: Self_, name: str, values: Sequence[Value]) -> Self_:
        """These rows with another key, or other values of a key: one for each row, `ABSENT` for a row that is not to have it."""
        table = merged([self])
        interned, shapes = _Interned(), _Interned()
        codes, shape_codes = array("i"), array("i")
        for row, value in enumerate(values):
            keys = tuple(table.keys(row))
            if value is ABSENT:
                codes.append(-1)
                keys = tuple(key for key in keys if key != name)
            else:
                codes.append(interned.code(value))
                keys = keys if name in keys else (*keys, name)
            shape_codes.append(shapes.code(keys))
        columns = {**table.columns, name: interned.column(codes, len(codes) - codes.count(-1))}
        return self._like(ColumnTable(columns, table.rows, shapes.column(shape_codes, table.rows)))

    def only(self: Self_, names: Sequence[str]) -> Self_:
        """These rows with only these keys, in this order."""
        table = self.table
        columns = {name: column for name in names if (column := table.columns.get(name)) is not None}
        return self._like(ColumnTable(columns, table.rows, full=table.full.intersection(columns)), self.rows)

    def records(self) -> list[dict[str, Value]]:
        """Copies of the rows as dictionaries."""
        return [dict(row) for row in self]

    def json_lines(self, *, without: Collection[str] = (), sort_keys: bool = False) -> Iterator[str]:
        """The JSON text of each row, as `json.dumps` writes its dictionary.

        Args:
            without: Keys to leave out.
            sort_keys: Sort the keys, also those of values.
        """
        table = self.table
        texts: dict[str, list[str]] = {}
        pieces: dict[Any, list[Any]] = {}
        for row in self.rows:
            shape = table.shapes.codes[row] if table.shapes is not None else tuple(table.keys(row))
            if shape not in pieces:
                names = [name for name in table.keys(row) if name not in without]
                pieces[shape] = _pieces(table, sorted(names) if sort_keys else names, texts, sort_keys)
            yield "".join([piece if type(piece) is str else piece[0][piece[1][row]] for piece in pieces[shape]])

    def __reduce__(self) -> tuple[Any, ...]:
        """For a file or another process: these rows alone, with all columns read."""
        table = merged([self])
        columns = {name: column for name in table.names if (column := table.column(name)) is not None}
        return type(self), (ColumnTable(columns, table.rows, table.shapes),)


def _pieces(table: ColumnTable, names: list[str], texts: dict[str, list[str]], sort_keys: bool) -> list[Any]:
    """The parts of the JSON text of rows with these keys: texts, and pairs of the texts of a column and its codes."""
    parts: list[Any] = ["{"]
    for at, name in enumerate(names):
        column = table.column(name)
        assert column is not None
        if name not in texts:
            texts[name] = _json_texts(column.values, sort_keys)
        parts[-1] += f"{', ' if at else ''}{json.dumps(name)}: "
        if column.is_constant:
            parts[-1] += texts[name][0]
        else:
            parts += [(texts[name], column.codes), ""]
    parts[-1] += "}"
    return parts


def _json_texts(values: Sequence[Value], sort_keys: bool) -> list[str]:
    """The JSON text of each value."""
    if set(map(type, values)) <= {int, float}:  # together, because each call makes an encoder
        return json.dumps(list(values))[1:-1].split(", ")
    return [json.dumps(plain(value), sort_keys=sort_keys) for value in values]


class Builder:
    """Makes a table from rows. Rows with equal keys are taken together, so the table may have them in another order."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[_Interned, list[tuple[int, int]], array[int]]] = {}
        self._waiting: dict[tuple[str, ...], tuple[list[Any], list[int]]] = {}
        self._shapes, self._shape_codes = _Interned(), array("i")
        self._order = array("i")  # number of each stored row in the order of the rows that were added
        self._added = 0

    def __len__(self) -> int:
        return self._added

    def add(self, record: Mapping[str, Value]) -> None:
        """Add a row."""
        keys = tuple(record)
        waiting = self._waiting.get(keys)
        if waiting is None:
            waiting = self._waiting[keys] = [], []
        waiting[0].append(tuple(record.values()))
        waiting[1].append(self._added)
        self._added += 1
        if len(waiting[1]) == _TOGETHER:
            self._store(keys, *waiting)
            del self._waiting[keys]

    def _store(self, keys: tuple[str, ...], rows: list[Any], numbers: list[int]) -> None:
        place = len(self._order), len(rows)
        self._order.extend(numbers)
        self._shape_codes.extend(repeat(self._shapes.code(keys), len(rows)))
        for name, values in zip(keys, zip(*rows, strict=True), strict=True):
            if name not in self._columns:
                self._columns[name] = _Interned(), [], array("i")
            interned, places, codes = self._columns[name]
            codes.extend(interned.extend(values))
            places.append(place)

    def table(self) -> ColumnTable:
        """The table; its rows are in the order of `order`."""
        for keys, waiting in self._waiting.items():
            self._store(keys, *waiting)
        self._waiting.clear()
        rows = len(self._order)
        columns = {}
        for name, (interned, places, codes) in self._columns.items():
            whole = codes
            if len(codes) < rows:
                whole, at = array("i", [-1]) * rows, 0
                for start, count in places:
                    whole[start : start + count] = codes[at : at + count]
                    at += count
            columns[name] = interned.column(whole, len(codes))
        return ColumnTable(columns, rows, self._shapes.column(self._shape_codes, rows))

    def order(self) -> Sequence[int]:
        """The number in the table of each row, in the order in which they were added."""
        if all(number == row for row, number in enumerate(self._order)):
            return range(len(self._order))
        placed = array("i", [0]) * len(self._order)
        for row, number in enumerate(self._order):
            placed[number] = row
        return placed


def merged(parts: Sequence[Columns]) -> ColumnTable:
    """One table with the rows of all parts, in order."""
    if len(parts) == 1 and parts[0].rows == range(parts[0].table.rows):
        return parts[0].table
    parts = [part for part in parts if part.rows]  # nothing is read of others
    names = dict.fromkeys(name for part in parts for name in part.table.names)
    if any(callable(column) for part in parts for column in part.table.columns.values()):
        return ColumnTable(
            {name: partial(_merged_column, parts, name) for name in names},
            sum(map(len, parts)),
            partial(_merged_shapes, parts),
            frozenset.intersection(*(part.table.full for part in parts)),
        )
    columns = {}
    for name in names:
        column, present = joined([(part, part.table.column(name)) for part in parts])
        if present:
            columns[name] = column
    return ColumnTable(columns, sum(map(len, parts)), _merged_shapes(parts))


def _merged_column(parts: Sequence[Columns], name: str) -> Column:
    return joined([(part, part.table.column(name)) for part in parts])[0]


def _merged_shapes(parts: Sequence[Columns]) -> Column:
    return joined([(part, part.table.shapes or shapes_of(part)) for part in parts])[0]


def shapes_of(part: Columns) -> Column:
    """The keys of each stored row, for a table that does not list them."""
    interned = _Interned()
    codes = array("i", (interned.code(tuple(part.table.keys(row))) for row in range(part.table.rows)))
    return interned.column(codes, len(codes))


def joined(parts: Iterable[tuple[Columns, Column | None]]) -> tuple[Column, int]:
    """One column of these columns for the rows of these parts, and how many have a value."""
    interned, codes, present = _Interned(), array("i"), 0
    for part, column in parts:
        rows = len(part)
        if column is None or not rows:
            codes.extend(repeat(-1, rows))
        elif column.is_constant:
            codes.extend(array("i", [interned.code(column.values[0])]) * rows)
            present += rows
        else:
            found = part.codes(column)
            translated = {code: interned.code(column.values[code]) for code in dict.fromkeys(found) if code >= 0}
            translated[-1] = -1
            codes.extend(map(translated.__getitem__, found))
            present += rows - found.count(-1)
    return interned.column(codes, present), present


def of_records(records: Iterable[Mapping[str, Value]]) -> Iterator[tuple[ColumnTable, Sequence[int]]]:
    """Tables of at most `ROWS` rows, with the numbers of their rows in the order of the records."""
    builder = Builder()
    for record in records:
        builder.add(record)
        if len(builder) == ROWS:
            yield builder.table(), builder.order()
            builder = Builder()
    if len(builder):
        yield builder.table(), builder.order()
