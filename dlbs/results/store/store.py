"""A database of results: SQLite, or whatever SQLAlchemy knows. Adding an experiment twice changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.files import make_parent
from dlbs.jsonio import load_json
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.text import text

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.engine import Connection

__all__ = ["Added", "Store"]

_TOGETHER = 500  # experiments that one statement adds
_NOT_CONTENT = ("exp.log_file", "db.tags", "db.added", "db.id")  # where a log lies does not make it another experiment


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
            if not create and not Path(url).is_file():
                raise LogError("no such store", where=url, hint=f"dlbs db add --db {url} LOGS makes one")
            make_parent(Path(url).absolute())
            url = f"sqlite:///{url}"
        try:
            self._engine = sqlalchemy.create_engine(url)
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

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        head = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self._engine.begin() as connection:
                # Two that add to a new store at once must not both make its tables.
                if connection.dialect.name == "postgresql":
                    connection.execute(self._sql.text("SELECT pg_advisory_xact_lock(7446278)"))
                revision = MigrationContext.configure(connection).get_current_revision()
                if revision is None and not create:
                    raise LogError("no results in this database", where=self._where, hint="dlbs db add puts some there")
                if revision is not None and revision not in known:
                    raise LogError(
                        f"made by a newer version of dlbs (revision {revision})", where=self._where, hint="update dlbs"
                    )
                if revision != head:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None

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
                    digest = _digest(record)
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

    def records(self, tests: Sequence[Callable[[Record], bool]] = (), *, exp_id: str | None = None) -> list[Record]:
        """Experiments in the order in which they ran, with `db.added` and `db.tags`.

        Args:
            tests: Queries; an experiment is taken if it fits any of them, or if there are none.
            exp_id: Only runs of this experiment.

        Raises:
            LogError: The database refuses.
        """
        table = self._experiments
        asked = self._sql.select(table.c.id, table.c.added, table.c.data).order_by(table.c.started, table.c.id)
        if exp_id is not None:
            asked = asked.where(table.c.exp_id == exp_id)
        found = []
        try:
            with self._engine.connect() as connection:
                tags: dict[int, list[str]] = {}
                for one, tag in connection.execute(self._sql.select(self._tags.c.experiment, self._tags.c.tag)):
                    tags.setdefault(one, []).append(tag)
                for one, added, data in connection.execution_options(yield_per=1000).execute(asked):
                    record = load_json(data)
                    record["db.added"] = added.isoformat(timespec="seconds")
                    record["db.tags"] = sorted(tags.get(one, []))
                    if not tests or any(fits(record) for fits in tests):
                        found.append(record)
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        return found


def _digest(record: Record) -> str:
    """What makes a run another one: all it logged."""
    content = {name: value for name, value in record.items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _row(digest: str, record: Record, now: datetime) -> dict[str, Any]:
    content = {name: value for name, value in record.items() if not name.startswith("db.")}
    return {
        "digest": digest,
        "exp_id": text(record.get("exp.id"))[:200] or None,
        "status": status_of(record),
        "model": text(record.get("exp.model"))[:200] or None,
        "host": text(record.get("exp.env.host") or record.get("exp.node_id"))[:200] or None,
        "device": text(record.get("exp.device_title"))[:200] or None,
        "started": _moment(record.get("exp.start_time")),
        "throughput": number(record, "results.throughput"),
        "time": number(record, "results.time"),
        "added": now,
        # NUL cannot stand in PostgreSQL's texts; in JSON it is always written as an escape, which can.
        "data": json.dumps(content),
    }


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:  # Python 3.10 reads no `+0100` in ISO format
        moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z") if "+" in value else datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment
