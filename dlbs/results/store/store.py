"""A database of results: SQLite, or whatever SQLAlchemy knows. Adding an experiment twice changes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.files import make_parent, open_regular
from dlbs.jsonio import load_json
from dlbs.results.read.digest import digest_of
from dlbs.results.read.moments import utc
from dlbs.results.read.onelog import Record
from dlbs.results.read.query import Query, check_keys
from dlbs.results.read.records import number, status_of
from dlbs.text import text

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.engine import Connection

__all__ = ["Added", "Store"]

_SQLITE = b"SQLite format 3\0"  # how each file begins
_LONGEST_VALUE = 256 << 20  # bytes of the longest text that SQLite reads
_TOGETHER = 500  # experiments that one statement adds


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding records.

    Attributes:
        new: Experiments that the store did not have.
        known: Those it had already.
        unfinished: Those left out because they are still running, or were interrupted.
    """

    new: int
    known: int
    unfinished: int


class Store:
    """An open store.

    Args:
        url: An SQLAlchemy URL, `postgresql+psycopg://user@host/name`, or the path of an SQLite file.
        create: Make the store if it is not there; else its absence is an error.

    Raises:
        LogError: It cannot be opened, is not there, belongs to a newer version, or SQLAlchemy or the database's driver is not installed.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        sqlalchemy = require("sqlalchemy", "store")
        require("alembic", "store")
        self._sql = sqlalchemy
        if "://" not in url:
            _check_file(Path(url), create)
            make_parent(Path(url).absolute())
            url = f"sqlite:///{url}"
        try:
            self._engine = sqlalchemy.create_engine(url)
            if self._engine.dialect.name == "sqlite":
                sqlalchemy.event.listen(self._engine, "connect", _distrust)
            self._where = self._engine.url.render_as_string(hide_password=True)
        except sqlalchemy.exc.ArgumentError:
            raise LogError(
                f"{url.partition('://')[0] + '://…'!r} is no database URL",
                where="--db",
                hint="write results.db or postgresql+psycopg://host/name",
            ) from None
        except ModuleNotFoundError as error:
            raise LogError(
                f"this database needs the Python package {error.name!r}", where="--db", hint="pip install it"
            ) from None
        self._migrate(create)
        from dlbs.results.store.schema import experiments, tags

        self._experiments, self._tags = experiments(), tags()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def _migrate(self, create: bool) -> None:
        """Bring the tables up to this version."""
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        head = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self._engine.begin() as connection:
                # Two that add to a new store at once must not both make its tables.
                if connection.dialect.name == "postgresql":
                    connection.execute(self._sql.text("SELECT pg_advisory_xact_lock(7446278)"))
                if connection.dialect.name == "sqlite":
                    self._check_sqlite(connection)
                revision = MigrationContext.configure(connection).get_current_revision()
                if revision is None and not create:
                    raise LogError("no results in this database", where=self._where, hint="dlbs db add puts some there")
                if revision is not None and revision not in known:
                    raise LogError(
                        f"made by a newer version of dlbs (revision {str(revision)[:40]}), or by another program",
                        where=self._where,
                        hint="update dlbs",
                    )
                if revision != head:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except (self._sql.exc.SQLAlchemyError, CommandError) as error:
            raise self._failed(error) from None

    def _check_sqlite(self, connection: Connection) -> None:
        """Refuse a file of another program, and what would compute something while it is read: views, triggers, virtual tables.

        Raises:
            LogError: It is such a file.
        """
        found = connection.execute(self._sql.text("SELECT type, name, sql FROM sqlite_master LIMIT 1000")).all()
        tables = {name for kind, name, _ in found if kind == "table"}
        if tables and "alembic_version" not in tables:
            raise LogError(
                "the database of another program, which is left alone", where=self._where, hint="choose another --db"
            )
        for kind, name, code in found:
            if kind not in {"table", "index"} or "VIRTUAL" in str(code).upper().split("(")[0].split():
                raise LogError(
                    f"the database has a {kind} that dlbs did not make: {str(name)[:80]!r}", where=self._where
                )

    def _failed(self, error: Exception) -> LogError:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        return LogError(f"the database says: {lines[0] if lines else type(error).__name__}", where=self._where)

    def add(self, records: Iterable[Record], tag: str | None = None) -> Added:
        """Add experiments that have ended, and give all of them a tag, also those known already.

        Raises:
            LogError: The database refuses.
        """
        new = known = unfinished = 0
        batch: dict[str, Record] = {}
        try:
            with self._engine.begin() as connection:

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
        # Inserting what is there already is left to the database, which also settles who is first of two that add at once.
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
        """Experiments in the order in which they were added, which of one set of logs is the plan's; runs of one experiment in that in which they ran.

        Each has `db.added` and `db.tags`.

        Args:
            tests: Queries; an experiment is taken if it fits any of them, or if there are none. What they ask for is checked.
            exp_id: Only runs of this experiment.

        Raises:
            LogError: The database refuses, or a query has a key that no experiment has.
        """
        known: dict[str, None] = {}
        table = self._experiments
        asked = self._sql.select(table.c.id, table.c.added, table.c.data)
        if exp_id is None:
            asked = asked.order_by(table.c.id)
        else:
            asked = asked.where(table.c.exp_id == exp_id).order_by(table.c.started, table.c.id)
        found = []
        try:
            with self._engine.connect() as connection:
                tags: dict[int, list[str]] = {}
                for one, tag in connection.execute(self._sql.select(self._tags.c.experiment, self._tags.c.tag)):
                    tags.setdefault(one, []).append(tag)
                for one, added, data in connection.execution_options(yield_per=1000).execute(asked):
                    record = _record(data)
                    record["db.added"] = added.isoformat(timespec="seconds")
                    record["db.tags"] = sorted(tags.get(one, []))
                    known.update(dict.fromkeys(record))
                    if not tests or any(fits(record) for fits in tests):
                        found.append(record)
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        except (AttributeError, TypeError, ValueError) as error:
            # SQLite keeps any value in any column, so any of them can be something else than what was written.
            reason = " ".join(str(error).split())[:120]
            raise LogError(
                f"experiment {len(found) + 1} in it is damaged: {reason}",
                where=self._where,
                hint="restore a copy of it",
            ) from None
        for query in tests:
            check_keys(query.names, known, "query")
        return found


def _check_file(path: Path, create: bool) -> None:
    """Raise a LogError if a database cannot be at a path: something else is there, or nothing and it is not to be made."""
    if path.exists() and not path.is_file():
        raise LogError("is not a regular file", where=str(path), hint="choose another --db")
    if path.exists():
        with open_regular(path, follow_links=True) as stream:
            head = stream.read(len(_SQLITE))
        if head and head != _SQLITE:  # SQLite takes a file of a few bytes for an empty one, and writes over it
            raise LogError("file is not a database", where=str(path), hint="choose another --db")
    elif not create:
        raise LogError("no such store", where=str(path), hint=f"dlbs db add --db {path} LOGS makes one")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"cannot be made: {error.strerror}", where=str(path)) from None


def _distrust(connection: Any, _: Any) -> None:
    """Let SQLite run no functions that the schema of a file names, and read no value that is too long."""
    connection.execute("PRAGMA trusted_schema = OFF")
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)  # type: ignore[attr-defined, unused-ignore]


def _record(data: Any) -> Record:
    if not isinstance(data, str):
        raise TypeError("it is no text")
    record = load_json(data)
    if not isinstance(record, dict):
        raise TypeError("it is no object")
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
        # NUL cannot stand in PostgreSQL's texts; in JSON it is always written as an escape, which can.
        "data": json.dumps(content),
    }
