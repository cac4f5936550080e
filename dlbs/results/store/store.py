"""A database of results: SQLite, or any other that SQLAlchemy supports. Adding an experiment twice changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain, compress, groupby, repeat
from typing import TYPE_CHECKING, TypeVar

from dlbs.core.errors import LogError, require
from dlbs.results.columns import Column, ColumnTable, constant, joined, merged
from dlbs.results.read.query import Query, Word, check_keys
from dlbs.results.runs import Record, Runs, blocks_of
from dlbs.results.store import blocks as packing
from dlbs.results.store.blocks import ID, ROWS, TAGS, Block, Packed, Parts
from dlbs.results.store.opening import database_error, open_engine

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from dlbs.results.runs import Declared


_TOGETHER = 500  # experiments per statement

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Added:
    """Counts of adding records.

    Attributes:
        new: Experiments added to the store.
        known: Experiments that it already contained.
        unfinished: Experiments left out because they are still running or were interrupted.
    """

    new: int
    known: int
    unfinished: int


class Store:
    """An open store.

    Args:
        url: An SQLAlchemy URL, `postgresql+psycopg://user@host/name`, or the path of an SQLite file.
        create: Create a missing store; otherwise, a missing store is an error.
        read_only: Make the database reject every change, and migrate no tables.
        declarations: Declared parameters, which all runs that are read have.

    Raises:
        LogError: The store cannot be opened, does not exist, has a newer version, or SQLAlchemy or the database driver is not installed.
    """

    def __init__(
        self, url: str, *, create: bool = True, read_only: bool = False, declarations: Declared = None
    ) -> None:
        self._sql = require("sqlalchemy", "store")
        self._engine, self._where = open_engine(url, create=create and not read_only, read_only=read_only)
        from dlbs.results.store import schema

        self._declarations = declarations
        self._runs, self._tags, self._changes = schema.runs, schema.tags, schema.changes
        self._blocks, self._values = schema.blocks, schema.values

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Reports errors of the database, and what is damaged in the store."""
        try:
            yield
        except self._sql.exc.SQLAlchemyError as error:
            raise database_error(error, self._where) from None
        except (AttributeError, TypeError, ValueError, zlib.error) as error:
            # SQLite stores any type in any column, so any value may have an unexpected type.
            reason = " ".join(str(error).split())[:120]
            raise LogError(f"the store is damaged: {reason}", where=self._where, hint="restore a backup") from None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._checked(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that changes the store. Others wait for its end, so that it counts and tags what is there."""
        with self._checked(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # It has no statistics of rows that this transaction adds, and would search all of them for each digest.
                connection.execute(self._sql.text("SET LOCAL enable_seqscan = off"))
            number = self._changes.c.number
            connection.execute(self._sql.update(self._changes).values({number: number + 1}))
            yield connection

    def add(self, records: Iterable[Record], tag: str | None = None) -> Added:
        """Add records, as `add_blocks` does."""
        return self.add_blocks(blocks_of(records), tag)

    def add_blocks(self, blocks: Iterable[Runs], tag: str | None = None) -> Added:
        """Add finished experiments, and tag all of them, including those already known.

        Raises:
            LogError: The database reports an error.
        """
        new = known = unfinished = 0
        waiting: list[Runs] = []
        first = rows = 0
        with self._writing() as connection:
            first = self._next(connection)
            for block in blocks:
                runs = block.where([status != "unfinished" for status in block.statuses])
                unfinished += len(block) - len(runs)
                fresh = self._add_rows(connection, runs, first + rows, tag)
                new += len(fresh)
                known += len(runs) - len(fresh)
                rows += len(fresh)
                if len(fresh):
                    waiting.append(fresh)
                while rows >= ROWS:
                    whole = Runs.together(waiting)
                    packing.write_block(connection, first, Runs(merged([whole[:ROWS]])))
                    waiting = [whole[ROWS:]] if len(whole) > ROWS else []
                    first += ROWS
                    rows -= ROWS
            if rows:
                self._write_rest(connection, first, Runs(merged([Runs.together(waiting)])))
        return Added(new, known, unfinished)

    def _next(self, connection: Connection) -> int:
        """The number of the next run. Numbers are not used again, so that a page about a run never shows another."""
        last = self._stored(connection)[-1:]
        return sum(last[0]) if last else 1

    def _stored(self, connection: Connection) -> list[Block]:
        """All blocks, in order."""
        found = self._sql.select(self._blocks.c.first, self._blocks.c.rows).order_by(self._blocks.c.first)
        return [Block.of(*row) for row in connection.execute(found)]

    def _write_rest(self, connection: Connection, first: int, runs: Runs) -> None:
        """Write the last block, together with smaller ones before it: many small additions make few blocks."""
        for before in reversed(self._stored(connection)):
            if before.rows > 2 * len(runs) or before.rows + len(runs) > ROWS:
                break
            runs = Runs.together([packing.runs_of(*packing.take_block(connection, *before), before.rows), runs])
            first = before.first
        packing.write_block(connection, first, runs)

    def _add_rows(self, connection: Connection, runs: Runs, first: int, tag: str | None) -> Runs:
        """Add the rows of runs that the store does not have, numbered from `first`, and tag all; returns what is to be written into a block."""
        digests = runs.digests
        there = self._numbers(connection, digests)
        numbers = dict(there)
        flags = []
        for digest in digests:
            flags.append(digest not in numbers)
            numbers.setdefault(digest, first + len(numbers) - len(there))
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        fresh = runs.where(flags)
        if len(fresh):
            added = [now] * len(fresh)
            fresh = packing.without_added(fresh, [now.isoformat(timespec="seconds")] * len(fresh))
            rows = packing.rows_of(first, fresh, list(compress(digests, flags)), added)
            connection.execute(self._sql.insert(self._runs), rows)
        if tag is not None:
            self._tag(connection, sorted(set(numbers.values())), tag)
        return fresh

    def _numbers(self, connection: Connection, digests: Sequence[str]) -> dict[str, int]:
        """The numbers of those runs that the store has."""
        table, found = self._runs, {}
        for some in _several(digests):
            wanted = table.c.digest.in_(some)
            for digest, number in connection.execute(self._sql.select(table.c.digest, table.c.id).where(wanted)):
                found[digest] = int(number)
        return found

    def _tag(self, connection: Connection, ids: Sequence[int], tag: str) -> None:
        tagged = self._sql.select(self._tags.c.run).where(self._tags.c.tag == tag)
        for some in _several(ids):
            there = set(connection.scalars(tagged.where(self._tags.c.run.in_(some))).all())
            rows = [{"run": one, "tag": tag} for one in some if one not in there]
            if rows:
                connection.execute(self._sql.insert(self._tags), rows)

    def runs(
        self, tests: Sequence[Query] = (), *, exp_id: str | None = None, ids: Collection[int] | None = None
    ) -> Runs:
        """Read experiments in the order in which they were added (for one set of logs, the plan's); runs of one experiment in the order in which they ran.

        Each has `db.added` and `db.tags`, and its number in the store as `db.id`, which is not among its keys. A column is read when somebody asks for
        its key, also after the store is closed.

        Args:
            tests: Queries; an experiment is included if it matches any of them, or if there are none. Their keys are checked.
            exp_id: Only runs of this experiment.
            ids: Only experiments with these numbers.

        Raises:
            LogError: The database reports an error, its content is damaged, or a query has a key that no experiment has.
        """
        table = self._runs
        with self._reading() as connection:
            asked = self._sql.select(table.c.id).order_by(table.c.id)
            if exp_id is not None:
                asked = self._sql.select(table.c.id).where(table.c.exp_id == exp_id)
                chosen = list(map(int, connection.scalars(asked.order_by(table.c.started, table.c.id))))
            elif ids is not None:
                found = (connection.scalars(asked.where(table.c.id.in_(some))) for some in _several(sorted(ids)))
                chosen = list(map(int, chain.from_iterable(found)))
            else:
                chosen = self._all(connection) or list(map(int, connection.scalars(asked)))
            runs = self._table(connection, sorted(chosen))
            if exp_id is not None:
                place = {one: row for row, one in enumerate(sorted(chosen))}
                runs = runs.take([place[one] for one in chosen])
        if not tests:
            return runs
        known = runs.names
        flags = [any(fits) for fits in zip(*(runs.each(test.names, test.fits) for test in tests), strict=True)]
        for query in tests:
            check_keys(query.names, known, "query")
        if all(flags):
            return runs
        # A table of the chosen runs alone: its columns are read for no others.
        with self._reading() as connection:
            return self._table(connection, sorted(runs.where(flags).values(ID)))

    def _all(self, connection: Connection) -> list[int] | None:
        """The numbers of all runs as their blocks have them; None if some were removed."""
        blocks = self._stored(connection)
        count = self._sql.select(self._sql.func.count()).select_from(self._runs)
        if connection.scalar(count) != sum(block.rows for block in blocks):
            return None
        return list(chain.from_iterable(range(block.first, block.first + block.rows) for block in blocks))

    def search(self, words: Sequence[Word]) -> list[int]:
        """The numbers of the runs that have all words, ascending. Only values among which a word can be are read.

        Raises:
            LogError: The database reports an error, or its content is damaged.
        """
        blocks, values, tags = self._blocks, self._values, self._tags
        found: list[int] = []
        with self._reading() as connection:
            names = connection.scalars(self._sql.select(tags.c.tag).distinct()).all()
            tagged = []
            for word in words:
                chosen = [tag for tag in names if word.concerns(TAGS) and word.fits(TAGS, tag)]
                asked = self._sql.select(tags.c.run).where(tags.c.tag.in_(chosen))
                tagged.append(set(connection.scalars(asked)) if chosen else set())
            for row in connection.execute(self._sql.select(blocks).order_by(blocks.c.first)).all():
                block = Block.of(row.first, row.rows)
                keys = {
                    packing.stored_name(key): key
                    for shape in packing.shapes(row.keys, block.rows).values
                    for key in shape
                    if any(word.concerns(key) for word in words)
                }
                asked = self._sql.select(values.c.name, values.c.data).where(
                    values.c.first == block.first, values.c.name.not_like("results.%")
                )
                columns = {keys[name]: Packed.of(data) for name, data in connection.execute(asked) if name in keys}
                rows: Collection[int] = range(block.rows)
                for word, others in zip(words, tagged, strict=True):
                    with_tag = {place for one in others if (place := one - block.first) in rows}
                    rows = packing.rows_with(word, columns, block.rows, rows) | with_tag
                found += sorted(one + block.first for one in rows)
        return found

    def _table(self, connection: Connection, ids: Sequence[int]) -> Runs:
        """The runs with these numbers, which ascend."""
        blocks = self._blocks
        rows = connection.execute(self._sql.select(blocks).order_by(blocks.c.first)).all()
        data = {int(row.first): row.keys for row in rows}
        parts = packing.parts_of(ids, (Block.of(row.first, row.rows) for row in rows))
        if sum(len(part) for _, part in parts) != len(ids):
            raise ValueError("a block of runs is missing")
        keys = [packing.shapes(data[block.first], block.rows) for block, _ in parts]
        read = partial(self._column, ids, parts, self._number(connection))
        return Runs(
            packing.lazy_table(parts, keys, ids, read, {TAGS: partial(self._tags_of, ids)}), None, self._declarations
        )

    def _column(self, ids: Sequence[int], parts: Parts, version: int, name: str) -> Column:
        """Read the column of a key. Blocks may have been joined since the table was made, but the values of a run never change."""
        values = self._values
        with self._reading() as connection:
            if self._number(connection) != version:
                parts = packing.parts_of(ids, self._stored(connection))
                if not set(ids) <= set(connection.scalars(self._sql.select(self._runs.c.id))):
                    raise LogError("runs were removed while they were read", where=self._where, hint="try again")
            wanted = self._sql.select(values.c.first, values.c.data).where(values.c.name == packing.stored_name(name))
            if len(parts) == 1:
                wanted = wanted.where(values.c.first == parts[0][0].first)
            data = {int(first): one for first, one in connection.execute(wanted)}
            if not data:
                raise ValueError(f"the values of {name} are missing")
            try:  # codes are checked where they are looked up: few of them, if few runs are read
                return joined(
                    (
                        part,
                        packing.unpacked(data[block.first], block.rows, check=False) if block.first in data else None,
                    )
                    for block, part in parts
                )[0]
            except LookupError:
                raise ValueError(f"{name}: not a column of these runs") from None

    def _tags_of(self, ids: Sequence[int]) -> Column:
        """The tags of each run."""
        tags: dict[int, list[str]] = {}
        with self._reading() as connection:
            asked = self._sql.select(self._tags.c.run, self._tags.c.tag)
            if len(ids) <= _TOGETHER:
                asked = asked.where(self._tags.c.run.in_(ids))
            for one, tag in connection.execute(asked):
                tags.setdefault(one, []).append(tag)
            places: dict[tuple[str, ...], int] = {(): 0}
            codes = {one: places.setdefault(tuple(sorted(names)), len(places)) for one, names in tags.items()}
        return Column(list(map(list, places)), list(map(codes.get, ids, repeat(0))))

    def version(self) -> int:
        """A number that changes when experiments or tags are added or removed.

        Raises:
            LogError: The database reports an error.
        """
        with self._reading() as connection:
            return self._number(connection)

    def _number(self, connection: Connection) -> int:
        return int(connection.scalar(self._sql.select(self._changes.c.number)) or 0)

    def remove(self, ids: Collection[int], tag: str | None = None) -> int:
        """Remove experiments, or only one of their tags; returns the number of removed rows.

        Args:
            ids: Numbers of experiments.
            tag: Remove this tag and keep the experiments.

        Raises:
            LogError: The database reports an error.
        """
        table, tags = self._runs, self._tags
        removed = 0
        wanted = sorted(ids)
        with self._writing() as connection:
            for some in _several(wanted):
                labels = self._sql.delete(tags).where(tags.c.run.in_(some))
                if tag is not None:
                    removed += connection.execute(labels.where(tags.c.tag == tag)).rowcount
                    continue
                connection.execute(labels)
                removed += connection.execute(self._sql.delete(table).where(table.c.id.in_(some))).rowcount
            if tag is None:
                self._blank(connection, wanted)
        return removed

    def _blank(self, connection: Connection, ids: Sequence[int]) -> None:
        """Remove the values of runs from their blocks. The blocks keep their numbers."""
        for block, part in packing.parts_of(ids, self._stored(connection)):
            gone = set(part.rows)
            keys, columns = packing.take_block(connection, *block)
            none = Runs(ColumnTable({}, block.rows, constant((), block.rows)))
            whole = packing.runs_of(keys, columns, block.rows)
            left = groupby(range(block.rows), gone.__contains__)
            parts = [(none if is_gone else whole).take(list(rows)) for is_gone, rows in left]
            packing.write_block(connection, block.first, Runs(merged(parts)))


def _several(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as fit into a statement at a time."""
    return (things[start : start + _TOGETHER] for start in range(0, len(things), _TOGETHER))
