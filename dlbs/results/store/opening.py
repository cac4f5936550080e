"""Open a store: checks of the database, migrations of its tables, read-only access."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.core.errors import LogError, require
from dlbs.core.files import open_regular
from dlbs.core.text import is_utf8

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


_SQLITE = b"SQLite format 3\0"  # header of each file
_LONGEST_VALUE = 256 << 20  # bytes of the longest text that SQLite reads
_LONGEST_WAIT = 60  # seconds that SQLite waits for the transactions of other processes
_BEGIN = "dlbs_begin"  # execution option of connections to SQLite: the statement that begins their transactions


def open_engine(url: str, *, create: bool, read_only: bool) -> tuple[Engine, str]:
    """Create SQLAlchemy's engine of a store; also returns its name for errors, without a password.

    Args:
        url: An SQLAlchemy URL, or the path of an SQLite file.
        create: Create a missing store; otherwise, a missing store is an error.
        read_only: Make the database reject every change, and migrate no tables.

    Raises:
        LogError: The store cannot be opened, does not exist, has another version, or SQLAlchemy or the database driver is not installed.
    """
    sqlalchemy = require("sqlalchemy", "store")
    if not is_utf8(url):
        raise LogError("is not UTF-8, as names of databases must be", where=url, hint="choose another --db")
    if "://" not in url:
        _check_file(Path(url), create)
        url = f"sqlite:///{url}"
    try:
        options = {"postgresql_readonly": True} if read_only and url.startswith("postgres") else {}
        parsed = sqlalchemy.make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        wait = {"timeout": _LONGEST_WAIT} if is_sqlite and "timeout" not in parsed.query else {}
        engine = sqlalchemy.create_engine(parsed, execution_options=options, connect_args=wait)
        if is_sqlite:
            sqlalchemy.event.listen(engine, "connect", _refuse_changes if read_only else _prepare)
            sqlalchemy.event.listen(engine, "begin", _begin)
        where = engine.url.render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise LogError(
            f"{url.partition('://')[0] + '://…'!r} is not a database URL",
            where="--db",
            hint="use results.db or postgresql+psycopg://host/name",
        ) from None
    except ModuleNotFoundError as error:
        raise LogError(
            f"this database needs the Python package {error.name!r}", where="--db", hint="pip install it"
        ) from None
    _migrate(engine, where, create=create, read_only=read_only)
    return engine, where


def _migrate(engine: Engine, where: str, *, create: bool, read_only: bool) -> None:
    """Migrate the tables to this version in one transaction, or reject a store of another version."""
    import sqlalchemy

    migrations = Path(__file__).parent / "migrations"
    known = {path.name[:4] for path in (migrations / "versions").glob("[0-9]*.py")}  # named by their revisions
    head = max(known)

    update = f"dlbs db tags --db {shlex.quote(where)}"
    older = LogError("created by an older version of dlbs", where=where, hint=f"update its tables: {update}")
    is_older = False

    def is_current(connection: Connection) -> bool:
        if connection.dialect.name == "sqlite":
            _check_sqlite(connection, where)
        is_ours = sqlalchemy.inspect(connection).has_table("alembic_version")
        asked = sqlalchemy.text("SELECT version_num FROM alembic_version")
        revision = ", ".join(map(str, connection.scalars(asked))) or None if is_ours else None
        if revision is None and not create:
            raise LogError(
                "no results in this database", where=where, hint=f"add some: dlbs db add --db {shlex.quote(where)} LOGS"
            )
        if revision is not None and revision not in known:
            raise LogError(
                f"created by a newer version of dlbs (revision {str(revision)[:40]}) or by another program",
                where=where,
                hint="update dlbs",
            )
        nonlocal is_older
        is_older = revision not in (None, head)
        if is_older and read_only:
            raise older
        return revision == head

    try:
        with engine.begin() as connection:
            if is_current(connection):  # usually, and Alembic takes a tenth of a second to import
                return
        require("alembic", "store")
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(migrations).replace("%", "%%"))
        # Two processes that open a new or older store at once must not both change its tables: only the first finds them as they were.
        with engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7446278)"))
            if not is_current(connection):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except sqlalchemy.exc.SQLAlchemyError as error:
        if is_older:
            reason = database_error(error, where).what
            hint = f"update its tables as a user who may write to it: {update}"
            raise LogError(f"{older.what}, and cannot be updated ({reason})", where=where, hint=hint) from None
        raise database_error(error, where) from None


def _check_sqlite(connection: Connection, where: str) -> None:
    """Reject files of other programs, and everything that executes code when it is read: views, triggers, virtual tables.

    Raises:
        LogError: The file is rejected.
    """
    from sqlalchemy import text

    found = connection.execute(text("SELECT type, name, sql FROM sqlite_master LIMIT 1000")).all()
    tables = {name for kind, name, _ in found if kind == "table"}
    if tables and "alembic_version" not in tables:
        raise LogError(
            "this database belongs to another program; it was not changed", where=where, hint="choose another --db"
        )
    for kind, name, code in found:
        if kind not in {"table", "index"} or "VIRTUAL" in str(code).upper().split("(")[0].split():
            raise LogError(f"the database contains a {kind} that dlbs did not create: {str(name)[:80]!r}", where=where)


def database_error(error: Exception, where: str) -> LogError:
    """Error message of a database, in one line."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    what = lines[0] if lines else type(error).__name__
    is_damaged = "malformed" in what or "not a database" in what
    hint = "the file is damaged or incomplete: restore a backup" if is_damaged else ""
    return LogError(f"database error: {what}", where=where, hint=hint)


def _check_file(path: Path, create: bool) -> None:
    """Raise a LogError if a path is not a database, or is missing and must not be created."""
    if path.exists() and not path.is_file():
        raise LogError("is not a regular file", where=str(path), hint="choose another --db")
    if path.exists():
        with open_regular(path, follow_links=True) as stream:
            head = stream.read(len(_SQLITE))
        if head and head != _SQLITE:  # SQLite treats a file of a few bytes as an empty database and overwrites it
            raise LogError("not a database", where=str(path), hint="choose another --db")
    elif not create:
        raise LogError("no such store", where=str(path), hint=f"create it: dlbs db add --db {path} LOGS")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"cannot be created: {error.strerror}", where=str(path)) from None


def _prepare(connection: Any, _: Any) -> None:
    """Forbid SQLite to run functions named in the schema of a file, and to read values that are too long."""
    # The driver begins no transaction before SELECT and CREATE TABLE, so `_begin` does it.
    connection.isolation_level = None
    connection.execute("PRAGMA trusted_schema = OFF")
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)  # type: ignore[attr-defined, unused-ignore]


def _refuse_changes(connection: Any, record: Any) -> None:
    """Make SQLite reject changes of the file as well."""
    _prepare(connection, record)
    connection.execute("PRAGMA query_only = ON")


def _begin(connection: Connection) -> None:
    """Begin a transaction of SQLite: all its statements take effect together, also those that create tables."""
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
