"""The store, in SQLite; tests/integration/test_postgres.py has the same with a server."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.read.query import compile_query
from dlbs.results.read.records import read_runs
from dlbs.results.runs import digest_of
from dlbs.results.store.store import Added, Store
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_logs, make_record


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "results.db")


def test_adding_twice_changes_nothing(url: str) -> None:
    records = [make_record(batch=batch) for batch in (1, 2)]
    with Store(url) as store:
        assert store.add(records) == Added(2, 0, 0)
        before = store.runs().records()
        assert store.add(records) == Added(0, 2, 0)
        assert store.add([{**record, "exp.log_file": "/moved/elsewhere.log"} for record in records]) == Added(0, 2, 0)
        assert store.add([*records, *records, make_record(batch=3)]) == Added(1, 4, 0)
        assert store.runs().records()[:2] == before


def test_what_comes_out_is_what_went_in(url: str) -> None:
    record = make_record(my__text="é\x00'\"; DROP TABLE experiments; --", my__list=[1, {"a": None}], my__big=2**70)
    with Store(url) as store:
        store.add([record])
        (found,) = store.runs().records()
    assert found.pop("db.added")
    assert found.pop("db.tags") == []
    assert found == record


def test_unfinished_experiments_wait(url: str) -> None:
    with Store(url) as store:
        assert store.add([make_record(status="unfinished"), make_record(status="failure")]) == Added(1, 0, 1)


def test_tags_and_queries(url: str) -> None:
    with Store(url) as store:
        store.add([make_record("a"), make_record("b")], tag="v1")
        store.add([make_record("b"), make_record("c")], tag="v2")
        assert [(record["exp.model"], record["db.tags"]) for record in store.runs()] == [
            ("a", ["v1"]),
            ("b", ["v1", "v2"]),
            ("c", ["v2"]),
        ]
        assert [record["exp.model"] for record in store.runs([compile_query('{"db.tags": ".*v2.*"}')])] == ["b", "c"]
        either = [compile_query('{"exp.model": "a"}'), compile_query("'${exp.model}' == 'c'")]
        assert [record["exp.model"] for record in store.runs(either)] == ["a", "c"]


@pytest.mark.parametrize(
    ("query", "models"),
    [
        ('{"db.tags": "v2"}', "bc"),
        ('{"db.tags": "v."}', "abc"),
        ('{"db.tags": ["v2"]}', "bc"),
        ('{"db.tags": ["v1", "v2"]}', "abc"),
        ('{"db.tags": "2"}', ""),
        ('{"db.tags": ""}', "d"),
        ('{"db.tags": ".*"}', "abcd"),
    ],
)
def test_a_run_is_selected_by_any_of_its_tags(url: str, query: str, models: str) -> None:
    with Store(url) as store:
        store.add([make_record("a"), make_record("b")], tag="v1")
        store.add([make_record("b"), make_record("c")], tag="v2")
        store.add([make_record("b"), make_record("c")], tag="candidate")
        store.add([make_record("d")])
        assert "".join(record["exp.model"] for record in store.runs([compile_query(query)])) == models


def test_history_is_in_the_order_of_time(url: str) -> None:
    runs = [
        {**make_record(seed=day), "exp.start_time": f"2026-11-{day:02}T08:00:00", "exp.id": "x"} for day in (20, 3, 11)
    ]
    with Store(url) as store:
        store.add([*runs, make_record("other")])
        assert [record["exp.start_time"][8:10] for record in store.runs(exp_id="x")] == ["03", "11", "20"]


def test_the_first_version_has_a_revision_and_newer_ones_are_refused(url: str) -> None:
    with Store(url) as store:
        store.add([make_record()])
    with sqlite3.connect(url) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0003",)]
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LogError, match=r"created by a newer version of dlbs \(revision 9999\)"):
        Store(url)


def test_the_tables_are_those_that_the_migrations_make(url: str) -> None:
    """A column that is added to one place and forgotten in the other is found here."""
    import sqlalchemy

    from dlbs.results.store.schema import blocks, changes, runs, tags, values

    Store(url).__exit__(None, None, None)
    engine = sqlalchemy.create_engine(f"sqlite:///{url}")
    inspector = sqlalchemy.inspect(engine)
    for table in (runs, blocks, values, tags, changes):
        made = {
            column["name"]: (str(column["type"]), column["nullable"]) for column in inspector.get_columns(table.name)
        }
        assert made == {column.name: (str(column.type), column.nullable) for column in table.columns}
    engine.dispose()


def old_store(url: str, records: list[dict[str, Any]], tag: str) -> None:
    """A store of version 0002, with a document for each run. Numbers have gaps, as where runs were removed."""
    with sqlite3.connect(url) as database:
        for statement in OLD_TABLES:
            database.execute(statement)
        for number, record in enumerate(records):
            row = (
                3 + 7 * number,
                digest_of(record),
                record["exp.id"],
                "2026-01-02 03:04:05.678901",
                json.dumps(record),
            )
            database.execute("INSERT INTO experiments (id, digest, exp_id, added, data, status) VALUES (?, ?, ?, ?, ?, 'ok')", row)  # fmt: skip
            database.execute("INSERT INTO tags VALUES (?, ?)", (row[0], tag))
    database.close()


OLD_TABLES = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)", "INSERT INTO alembic_version VALUES ('0002')",
    """CREATE TABLE experiments (id INTEGER PRIMARY KEY, digest VARCHAR(64) NOT NULL UNIQUE, exp_id VARCHAR(200), status VARCHAR(20) NOT NULL,
    model VARCHAR(200), host VARCHAR(200), device VARCHAR(200), started DATETIME, throughput FLOAT, time FLOAT, added DATETIME NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX experiments_by_id_and_time ON experiments (exp_id, started)",
    "CREATE TABLE tags (experiment INTEGER REFERENCES experiments(id) ON DELETE CASCADE, tag VARCHAR(200), PRIMARY KEY (experiment, tag))",
    "CREATE INDEX tags_by_tag ON tags (tag)", "CREATE TABLE changes (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)",
    "INSERT INTO changes VALUES (1, 5)",
)  # fmt: skip


def test_a_store_of_an_older_version_is_migrated(url: str) -> None:
    records = [make_record(f"m{n}", my__values=[n, 1.0, True, None, 2**70, {"a": float(n)}]) for n in range(2500)]
    old_store(url, records, "v1")
    update = f"dlbs db tags --db {shlex.quote(f'sqlite:///{url}')}"
    with pytest.raises(
        LogError, match=rf"created by an older version of dlbs \(update its tables: {re.escape(update)}\)"
    ):
        Store(url, read_only=True)
    with pytest.raises(
        LogError, match=r"cannot be updated \(.* as a user who may write to it: .*\?mode=ro&uri=true'\)"
    ):
        Store(f"sqlite:///file:{url}?mode=ro&uri=true", create=False)
    with Store(url, create=False) as store:
        before = store.version()
        found = store.runs().records()
        assert [json.dumps(one) for one in found] == [
            json.dumps({**record, "db.added": "2026-01-02T03:04:05", "db.tags": ["v1"]}) for record in records
        ]
        assert store.runs().digests == list(map(digest_of, records))
        assert store.add(records) == Added(0, 2500, 0)
        store.add([make_record("b")])
        assert store.version() != before


@pytest.mark.integration
def test_a_migration_that_is_killed_leaves_the_old_store(url: str) -> None:
    """The process ends without a word after the first runs are written."""
    old_store(url, [make_record(f"m{n}") for n in range(3000)], "v1")
    program = """
import os, sys
from dlbs.results.store import blocks
from dlbs.results.store.store import Store
write, calls = blocks.write_block, []
def killed(*given):
    write(*given)
    os.kill(os.getpid(), 9)
blocks.write_block = killed
Store(sys.argv[1])
"""
    assert subprocess.run([sys.executable, "-c", program, url], cwd=ROOT).returncode == -9
    with sqlite3.connect(url) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]
        assert database.execute("SELECT count(*) FROM experiments").fetchall() == [(3000,)]
        assert not database.execute("SELECT name FROM sqlite_master WHERE name = 'runs'").fetchall()
    database.close()
    with Store(url) as store:
        assert len(store.runs()) == 3000


@pytest.mark.integration
def test_an_addition_that_is_killed_leaves_a_store_that_can_be_read(url: str) -> None:
    with Store(url) as store:
        store.add([make_record("a")])
    program = """
import os, sys
from dlbs.results.store.store import Store
from tests.made_logs import make_record
def records():
    for number in range(5000):
        yield make_record(f"m{number}")
    os.kill(os.getpid(), 9)
with Store(sys.argv[1]) as store:
    store.add(records())
"""
    assert subprocess.run([sys.executable, "-c", program, url], cwd=ROOT).returncode == -9
    with Store(url) as store:
        assert store.runs().values("exp.model") == ["a"]
        assert store.add([make_record("b")]) == Added(1, 0, 0)


def test_many_small_additions_make_few_blocks(url: str) -> None:
    records = [make_record(f"m{n}", my__number=n) for n in range(40)]
    with Store(url) as store:
        for record in records:
            store.add([record])
        with store._engine.connect() as connection:
            assert len(connection.execute(store._blocks.select()).all()) < 8
        found = store.runs()
        assert found.values("my.number") == list(range(40))
        assert [{name: one[name] for name in record} for one, record in zip(found, records, strict=True)] == records


def test_runs_that_are_removed_leave_no_values_behind(url: str) -> None:
    with Store(url) as store:
        store.add([make_record(f"m{n}", my__secret=f"secret {n}") for n in range(5)], tag="x")
        read = store.runs()
        assert store.remove([2, 3]) == 2
        with pytest.raises(LogError, match="removed while they were read"):
            read.values("my.secret")
        assert store.runs().values("my.secret") == ["secret 0", "secret 3", "secret 4"]
        with store._engine.connect() as connection:
            (data,) = connection.scalars(
                store._sql.select(store._values.c.data).where(store._values.c.name == "my.secret")
            )
        assert b"secret 1" not in zlib.decompress(data)
        store.add([make_record("last")])
        assert store.runs().values("db.id") == [1, 4, 5, 6]


def test_the_database_searches_by_its_indexes(url: str) -> None:
    with Store(url) as store:
        store.add([make_record(f"m{n}") for n in range(50)], tag="v1")
    plans = {
        "SELECT id FROM runs WHERE exp_id = 'x' ORDER BY started, id": "runs_by_id_and_time (exp_id=?)",
        "SELECT digest, id FROM runs WHERE digest IN ('a', 'b')": "sqlite_autoindex_runs_1 (digest=?)",
        "SELECT first, data FROM block_values WHERE name = 'exp.model'": "sqlite_autoindex_block_values_1 (name=?)",
        "SELECT name, data FROM block_values WHERE first = 1 AND name NOT LIKE 'results.%'": "values_by_block (first=?)",
        "SELECT run FROM tags WHERE tag = 'v1'": "tags_by_tag (tag=?)",
    }
    with sqlite3.connect(url) as database:
        for query, index in plans.items():
            plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert any(index in step for step in plan), plan
            assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan), plan
    database.close()


def test_several_may_create_a_store_at_once_and_count_what_they_added(tmp_path: Path) -> None:
    records = [make_record(f"m{n}", batches=3) for n in range(40)]

    def add(url: str) -> Added:
        with Store(url) as store:
            return store.add(records, tag="together")

    with ThreadPoolExecutor(4) as pool:
        for turn in range(3):
            url = str(tmp_path / f"{turn}.db")
            added = list(pool.map(add, [url] * 4))
            assert sum(one.new for one in added) == 40
            assert sum(one.known for one in added) == 3 * 40
            with Store(url) as store:
                assert [record["db.tags"] for record in store.runs()] == [["together"]] * 40


def test_an_interrupted_creation_leaves_a_usable_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.op

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(alembic.op, "create_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Store(url)
    with Store(url) as store:
        assert store.add([make_record()]) == Added(1, 0, 0)


def test_a_writer_waits_longer_for_others_than_the_driver_does(url: str) -> None:
    with Store(url) as store, store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    with Store(f"sqlite:///{url}?timeout=2") as store, store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2_000


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("nothing of the kind, but long enough to be looked at " * 40)
    with pytest.raises(LogError, match="not a database"):
        Store(str(tmp_path / "x.db"))


@pytest.mark.integration
def test_the_commands(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "before", [make_record(repeat=n) for n in range(1, 5)])
    make_logs(tmp_path / "after", [make_record(repeat=n, time=15.0, seed=2) for n in range(1, 5)])
    assert "4 new, 0 already known" in dlbs("db", "add", "before", "--tag", "v1", check=True).stderr
    assert "0 new, 4 already known" in dlbs("db", "add", "before", "--tag", "v1", check=True).stderr
    dlbs("db", "add", "after", "--tag", "v2", check=True)
    done = dlbs("compare", "--db", "results.db", '{"db.tags": "v1"}', '{"db.tags": "v2"}', "--fail-on-regression")
    assert done.returncode == 3
    assert "slower" in done.stdout
    assert "alexnet" in dlbs("report", "--db", "results.db", check=True).stdout
    assert "median of 4 runs" in dlbs("report", "--db", "results.db", '{"db.tags": "v2"}', check=True).stdout
    shown = dlbs("db", "query", "--history", "alexnet-16-1-1", "--format", "csv", check=True).stdout
    assert len({line.split(",")[1] for line in shown.splitlines()[1:]}) == 1
    assert (
        json.loads(dlbs("db", "query", '{"exp.repeat": 2}', "--format", "json", check=True).stdout)[0]["exp.repeat"]
        == 2
    )
    dlbs("db", "export", "--output-file", "all.json", check=True)
    assert len(json.loads((tmp_path / "all.json").read_text())["data"]) == 8
    assert "0 new, 8 already known" in dlbs("db", "add", "all.json", check=True).stderr
    assert "8 experiments" in dlbs("db", "export", "--db", "results.db", check=True).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["db", "query"], "results.db: no such store"),
        (["db", "query", "--db", "none.db"], "none.db: no such store"),
        (["db", "add", "nope"], "nope: no such file"),
        (["db", "add", "logs", "--db", "nonsense://x"], "is not a database URL"),
        (["db", "add", "logs", "--db", "postgresql+psycopg://127.0.0.1:1/x"], "database error"),
        (["db", "add", "logs", "--tag", ""], "--tag"),
        (["db", "ad"], "No such verb 'ad'"),
        (["report", "--db", "none.db"], "none.db: no such store"),
        (["report"], "no logs or results given"),
    ],
)
def test_bad_input(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    make_logs(tmp_path / "logs", [make_record()])
    done = dlbs(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_passwords_are_not_printed(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", [make_record()])
    done = dlbs("db", "add", "logs", "--db", "postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert done.returncode == 2
    assert "secret" not in done.stderr


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "parquet"])
def test_an_export_has_what_the_store_has(dlbs: RunDlbs, tmp_path: Path, ending: str) -> None:
    url = str(tmp_path / "results.db")
    with Store(url) as store:
        store.add([make_record(batch=n, repeat=n, my__list=[n]) for n in range(1, 30)], tag="v1")
        store.add([make_record(batch=n, my__other=n) for n in range(1, 40)], tag="v2")
        expected = [dict(run) for run in store.runs([compile_query('{"exp.replica_batch": [1, 2, 35]}')])]
    path = str(tmp_path / f"r.{ending}")
    assert dlbs("db", "export", '{"exp.replica_batch": [1, 2, 35]}', "--db", url, "-o", path).returncode == 0
    assert len(expected) == 5
    assert read_runs([path]).records() == expected
