"""A database of results: SQLite, or any other that SQLAlchemy supports. Adding an experiment twice changes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError, require
from dlbs.files import load_json
from dlbs.results.read.query import Query, check_keys
from dlbs.results.runs import Record, digest_of, number, status_of, utc
from dlbs.results.store.opening import database_error, open_engine
from dlbs.text import text

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.engine import Connection


_TOGETHER = 500  # experiments per statement


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

    Raises:
        LogError: The store cannot be opened, does not exist, has a newer version, or SQLAlchemy or the database driver is not installed.
    """

    def __init__(self, url: str, *, create: bool = True, read_only: bool = False) -> None:
        self._sql = require("sqlalchemy", "store")
        self._engine, self._where = open_engine(url, create=create and not read_only, read_only=read_only)
        from dlbs.results.store.schema import changes, experiments, tags

        self._experiments, self._tags, self._changes = experiments(), tags(), changes()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def _failed(self, error: Exception) -> LogError:
        return database_error(error, self._where)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that changes the store. Others wait for its end, so that it counts and tags what is there."""
        with self._engine.begin() as connection:
            number = self._changes.c.number
            connection.execute(self._sql.update(self._changes).values({number: number + 1}))
            yield connection

    def add(self, records: Iterable[Record], tag: str | None = None) -> Added:
        """Add finished experiments, and tag all of them, including those already known.

        Raises:
            LogError: The database reports an error.
        """
        new = known = unfinished = 0
        batch: dict[str, Record] = {}
        try:
            with self._writing() as connection:

                def flush() -> None:
                    nonlocal new, known
                    fresh = self._add_batch(connection, batch, tag)
                    new += fresh
                    known += len(batch) - fresh
                    batch.clear()

                for record in records:
                    if status_of(record) == "unfinished":
                        unfinished += 1
                        continue
                    digest = digest_of(record)
                    known += digest in batch
                    batch[digest] = record
                    if len(batch) == _TOGETHER:
                        flush()
                flush()
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        return Added(new, known, unfinished)

    def _add_batch(self, connection: Connection, batch: dict[str, Record], tag: str | None) -> int:
        if not batch:
            return 0
        table = self._experiments
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        # The database ignores existing rows, which also resolves concurrent additions.
        dialect = connection.dialect.name
        if dialect in {"sqlite", "postgresql"}:
            module = require(f"sqlalchemy.dialects.{dialect}", "store")
            statement = module.insert(table).on_conflict_do_nothing(index_elements=["digest"])
            rows = [_row(digest, record, now) for digest, record in batch.items()]
            before = self._count(connection)
            connection.execute(statement, rows)
            fresh = self._count(connection) - before
        else:
            there = set(
                connection.scalars(self._sql.select(table.c.digest).where(table.c.digest.in_(list(batch)))).all()
            )
            rows = [_row(digest, record, now) for digest, record in batch.items() if digest not in there]
            if rows:
                connection.execute(self._sql.insert(table), rows)
            fresh = len(rows)
        if tag is not None:
            self._tag(connection, list(batch), tag)
        return fresh

    def _count(self, connection: Connection) -> int:
        return int(connection.scalar(self._sql.select(self._sql.func.count()).select_from(self._experiments)) or 0)

    def _tag(self, connection: Connection, digests: list[str], tag: str) -> None:
        table = self._experiments
        ids = connection.scalars(self._sql.select(table.c.id).where(table.c.digest.in_(digests))).all()
        tagged = self._sql.select(self._tags.c.experiment).where(self._tags.c.tag == tag)
        there = set(connection.scalars(tagged.where(self._tags.c.experiment.in_(ids))).all())
        rows = [{"experiment": one, "tag": tag} for one in ids if one not in there]
        if rows:
            connection.execute(self._sql.insert(self._tags), rows)

    def records(self, tests: Sequence[Query] = (), *, exp_id: str | None = None) -> list[Record]:
        """Read experiments in the order in which they were added (for one set of logs, the plan's); runs of one experiment in the order in which they ran.

        Each has `db.added` and `db.tags`.

        Args:
            tests: Queries; an experiment is included if it matches any of them, or if there are none. Their keys are checked.
            exp_id: Only runs of this experiment.

        Raises:
            LogError: The database reports an error, or a query has a key that no experiment has.
        """
        known: dict[str, None] = {}
        found = []
        for _, record in self.rows(exp_id=exp_id):
            known.update(dict.fromkeys(record))
            if not tests or any(fits(record) for fits in tests):
                found.append(record)
        for query in tests:
            check_keys(query.names, known, "query")
        return found

    def rows(self, *, exp_id: str | None = None, ids: Collection[int] | None = None) -> Iterator[tuple[int, Record]]:
        """Yield the number of each experiment in this store and its record, in the order of `records`.

        Args:
            exp_id: Only runs of this experiment.
            ids: Only experiments with these numbers.

        Raises:
            LogError: The database reports an error, or its content is damaged.
        """
        table = self._experiments
        asked = self._sql.select(table.c.id, table.c.added, table.c.data)
        if exp_id is not None:
            asked = asked.where(table.c.exp_id == exp_id).order_by(table.c.started, table.c.id)
        else:
            asked = asked.order_by(table.c.id)
        if ids is not None:
            asked = asked.where(table.c.id.in_(sorted(ids)))
        count = 0
        try:
            with self._engine.connect() as connection:
                tags: dict[int, list[str]] = {}
                for one, tag in connection.execute(self._sql.select(self._tags.c.experiment, self._tags.c.tag)):
                    tags.setdefault(one, []).append(tag)
                for one, added, data in connection.execution_options(yield_per=1000).execute(asked):
                    record = _record(data)
                    record["db.added"] = added.isoformat(timespec="seconds")
                    record["db.tags"] = sorted(tags.get(one, []))
                    count += 1
                    yield int(one), record
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        except (AttributeError, TypeError, ValueError) as error:
            # SQLite stores any type in any column, so any value may have an unexpected type.
            reason = " ".join(str(error).split())[:120]
            raise LogError(
                f"experiment {count + 1} in the store is damaged: {reason}", where=self._where, hint="restore a backup"
            ) from None

    def version(self) -> int:
        """A number that changes when experiments or tags are added or removed.

        Raises:
            LogError: The database reports an error.
        """
        try:
            with self._engine.connect() as connection:
                return int(connection.scalar(self._sql.select(self._changes.c.number)) or 0)
        except (self._sql.exc.SQLAlchemyError, ValueError) as error:
            raise self._failed(error) from None

    def remove(self, ids: Collection[int], tag: str | None = None) -> int:
        """Remove experiments, or only one of their tags; returns the number of removed rows.

        Args:
            ids: Numbers of experiments.
            tag: Remove this tag and keep the experiments.

        Raises:
            LogError: The database reports an error.
        """
        table, tags = self._experiments, self._tags
        removed = 0
        wanted = sorted(ids)
        try:
            with self._writing() as connection:
                for first in range(0, len(wanted), _TOGETHER):
                    some = wanted[first : first + _TOGETHER]
                    labels = self._sql.delete(tags).where(tags.c.experiment.in_(some))
                    if tag is not None:
                        removed += connection.execute(labels.where(tags.c.tag == tag)).rowcount
                        continue
                    connection.execute(labels)
                    removed += connection.execute(self._sql.delete(table).where(table.c.id.in_(some))).rowcount
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        return removed


def _record(data: Any) -> dict[str, Any]:
    if not isinstance(data, str):
        raise TypeError("not a text")
    record = load_json(data)
    if not isinstance(record, dict):
        raise TypeError("not a JSON object")
    return record


def _row(digest: str, record: Record, now: datetime) -> dict[str, Any]:
    content = {name: value for name, value in record.items() if not name.startswith("db.")}
    return {
        "digest": digest,
        "exp_id": text(record.get("exp.id"))[:200] or None,
        "status": status_of(record),
        "model": text(record.get("exp.model"))[:200] or None,
        "host": text(record.get("exp.env.host") or record.get("exp.node_id"))[:200] or None,
        "device": text(record.get("exp.device_title"))[:200] or None,
        "started": utc(record.get("exp.start_time")),
        "throughput": number(record, "results.throughput"),
        "time": number(record, "results.time"),
        "added": now,
        # PostgreSQL's texts cannot contain NUL; JSON always escapes it.
        "data": json.dumps(content),
    }
