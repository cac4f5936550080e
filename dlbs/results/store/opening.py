"""Opening a store: what is refused, how its tables are brought up to date, and how a database is made to change nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError
from dlbs.extras import require
from dlbs.files import make_parent, open_regular

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["database_error", "open_engine"]

_SQLITE = b"SQLite format 3\0"  # how each file begins
_LONGEST_VALUE = 256 << 20  # bytes of the longest text that SQLite reads


def open_engine(url: str, *, create: bool, read_only: bool) -> tuple[Engine, str]:
    """SQLAlchemy's engine of a store, and how errors call it, without its password.

    Args:
        url: An SQLAlchemy URL, or the path of an SQLite file.
        create: Make the store if it is not there; else its absence is an error.
        read_only: Let the database refuse every change, and bring no tables up to date.

    Raises:
        LogError: It cannot be opened, is not there, is of another version, or SQLAlchemy or the database's driver is not installed.
    """
    sqlalchemy = require("sqlalchemy", "store")
    require("alembic", "store")
    if "://" not in url:
        _check_file(Path(url), create)
        if create:
            make_parent(Path(url).absolute())
        url = f"sqlite:///{url}"
    try:
        options = {"postgresql_readonly": True} if read_only and url.startswith("postgres") else {}
        engine = sqlalchemy.create_engine(url, execution_options=options)
        if engine.dialect.name == "sqlite":
            sqlalchemy.event.listen(engine, "connect", _refuse_changes if read_only else _distrust)
        where = engine.url.render_as_string(hide_password=True)
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
    _migrate(engine, where, create=create, read_only=read_only)
    return engine, where


def _migrate(engine: Engine, where: str, *, create: bool, read_only: bool) -> None:
    """Bring the tables up to this version, or refuse what is not."""
    import sqlalchemy
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
        with engine.begin() as connection:
            # Two that add to a new store at once must not both make its tables.
            if connection.dialect.name == "postgresql" and not read_only:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7446278)"))
            if connection.dialect.name == "sqlite":
                _check_sqlite(connection, where)
            revision = MigrationContext.configure(connection).get_current_revision()
            if revision is None and not create:
                raise LogError("no results in this database", where=where, hint="dlbs db add puts some there")
            if revision is not None and revision not in known:
                raise LogError(
                    f"made by a newer version of dlbs (revision {str(revision)[:40]}), or by another program",
                    where=where,
                    hint="update dlbs",
                )
            if revision != head and read_only:
                raise LogError(
                    "made by an older version of dlbs", where=where, hint="dlbs db tags brings its tables up to date"
                )
            if revision != head:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except (sqlalchemy.exc.SQLAlchemyError, CommandError) as error:
        raise database_error(error, where) from None


def _check_sqlite(connection: Connection, where: str) -> None:
    """Refuse a file of another program, and what would compute something while it is read: views, triggers, virtual tables.

    Raises:
        LogError: It is such a file.
    """
    from sqlalchemy import text

    found = connection.execute(text("SELECT type, name, sql FROM sqlite_master LIMIT 1000")).all()
    tables = {name for kind, name, _ in found if kind == "table"}
    if tables and "alembic_version" not in tables:
        raise LogError("the database of another program, which is left alone", where=where, hint="choose another --db")
    for kind, name, code in found:
        if kind not in {"table", "index"} or "VIRTUAL" in str(code).upper().split("(")[0].split():
            raise LogError(f"the database has a {kind} that dlbs did not make: {str(name)[:80]!r}", where=where)


def database_error(error: Exception, where: str) -> LogError:
    """What a database says of an error, in one line."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return LogError(f"the database says: {lines[0] if lines else type(error).__name__}", where=where)


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


def _refuse_changes(connection: Any, record: Any) -> None:
    """Let SQLite refuse to change the file, too."""
    _distrust(connection, record)
    connection.execute("PRAGMA query_only = ON")
