"""Results databases that are damaged, of other programs, or made by somebody who means ill. Each case is a line: what was done to it.

`db query` and `db add` answer each with one error, or with the records, and change no file that is not theirs.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.adversarial.bounded import Ask, ask_and_expect, children
from tests.made_logs import make_record

pytestmark = pytest.mark.integration

PROGRAM = """
import alembic.command, alembic.config, alembic.script, alembic.runtime.migration, sqlalchemy
from dlbs.results.read.records import write_records
from dlbs.results.store import blocks, opening
from dlbs.results.store.store import Store
from tests.adversarial.bounded import serve

opening._LONGEST_VALUE = blocks._LARGEST = 4 << 20  # instead of 256 MiB, which take seconds to be written

def work(given):
    with Store(given["url"], create=given["create"]) as store:
        if given["create"]:
            store.add([{"exp.model": "x", "exp.status": "ok", "results.time": 1.0}], "tag")
        records = store.runs().records()
    for ending in ("csv", "json"):
        write_records(f"{given['output']}/results.{ending}", records)
    return len(records)

serve(work)
"""

COUNT = 3


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with children(PROGRAM) as asked:
        yield asked


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from dlbs.results.store.store import Store

    path = tmp_path_factory.mktemp("store") / "results.db"
    with Store(str(path)) as store:
        store.add([make_record(seed=number) for number in range(COUNT)], "tag")
    return path.read_bytes()


def done(*statements: str) -> Callable[[Path], None]:
    """SQL is run in the sound database."""

    def change(path: Path) -> None:
        with sqlite3.connect(path, isolation_level=None) as database:
            database.execute("PRAGMA writable_schema = ON")
            for statement in statements:
                database.execute(statement)
        database.close()

    return change


def made(*statements: str) -> Callable[[Path], None]:
    """A new database, by SQL."""

    def change(path: Path) -> None:
        path.unlink()
        done(*statements)(path)

    return change


def holds(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def changed(at: int, content: bytes) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at : at + len(content)] = content
        path.write_bytes(data)

    return change


def instead(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


TABLES = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32))", "INSERT INTO alembic_version VALUES ('0001')",
    "CREATE TABLE tags (experiment INTEGER, tag TEXT)",
)  # fmt: skip
COLUMNS = "name, first, data"
IN_PLACE = "UPDATE block_values SET data ="


def holding(values: str, kind: bytes = b"1", codes: bytes = b"") -> Callable[[Path], None]:
    """The values of a key that all runs have are replaced."""
    content = values.encode()
    data = zlib.compress(kind + len(content).to_bytes(4, "big") + content + codes)
    return done(f"UPDATE block_values SET data = x'{data.hex()}' WHERE name = 'exp.model'")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
SAYS, DAMAGED, OTHERS = "database error", "is damaged", "this database belongs to another program"
NO_DATABASE = "not a database"

# What was done, and part of the error or how many records there are.
CASES: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "nothing was done": (lambda path: None, COUNT),
    "nothing in it": (holds(b""), "no results in this database"),
    "one byte": (holds(b"S"), NO_DATABASE),
    "text": (holds(b"results: none\n" * 200), NO_DATABASE),
    "zeros": (holds(bytes(8192)), NO_DATABASE),
    "noise": (holds(Random(1).randbytes(8192)), NO_DATABASE),
    "noise behind SQLite's beginning": (holds(b"SQLite format 3\0" + Random(1).randbytes(8192)), SAYS),
    "a beginning alone": (lambda path: path.write_bytes(path.read_bytes()[:100]), SAYS),
    "its first page alone": (lambda path: path.write_bytes(path.read_bytes()[:4096]), SAYS),
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]), None),
    "pages of another size": (changed(16, b"\x02\x00"), SAYS),
    "a version of SQLite to come": (changed(18, b"\x09\x09"), SAYS),
    "another encoding of texts": (changed(56, b"\0\0\0\2"), None),
    "a damaged list of tables": (changed(100, b"\xff" * 8), SAYS),
    "a damaged page": (changed(4096, b"\xff" * 4096), SAYS),
    "tables of a browser": (made("CREATE TABLE moz_places (url TEXT)", "INSERT INTO moz_places VALUES ('x')"), OTHERS),
    "tables with our names": (made("CREATE TABLE experiments (a)", "CREATE TABLE tags (b)"), OTHERS),
    "another program's migrations": (made("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('f00')"), "or by another program"),
    "migrations without a version": (made("CREATE TABLE alembic_version (version_num TEXT)"), "no results in this database"),
    "two versions": (done("INSERT INTO alembic_version VALUES ('0001')"), "or by another program"),
    "a version that is a number": (done("UPDATE alembic_version SET version_num = 1"), "or by another program"),
    "a version that is nothing": (done("CREATE TABLE v (version_num)", "INSERT INTO v VALUES (NULL)", "DROP TABLE alembic_version", "ALTER TABLE v RENAME TO alembic_version"), None),
    "a version with an escape sequence": (done("UPDATE alembic_version SET version_num = char(27) || '[2J'"), "or by another program"),
    "a version of a megabyte": (done("UPDATE alembic_version SET version_num = printf('%.*c', 1000000, 'x')"), "or by another program"),
    "no table of runs": (done("DROP TABLE runs"), SAYS),
    "no table of blocks": (done("DROP TABLE blocks"), SAYS),
    "no table of values": (done("DROP TABLE block_values"), SAYS),
    "no table of tags": (done("DROP TABLE tags"), SAYS),
    "a column less": (done("ALTER TABLE block_values DROP COLUMN data"), SAYS),
    "a column more": (done("ALTER TABLE runs ADD COLUMN more TEXT"), COUNT),
    "a column of another name": (done("ALTER TABLE block_values RENAME COLUMN data TO content"), SAYS),
    "another table beside": (done("CREATE TABLE notes (a)"), COUNT),
    "an endless view in the place of the table": (done("DROP TABLE block_values", f"CREATE VIEW block_values AS {ENDLESS} '' AS name, i AS first, x'' AS data FROM n"), "view that dlbs did not create"),
    "a view that reads files": (done("CREATE VIEW v AS SELECT readfile('/etc/passwd')"), "view that dlbs did not create"),
    "a trigger": (done("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM tags; END"), "trigger that dlbs did not create"),
    "a virtual table": (done("CREATE VIRTUAL TABLE v USING fts5(a)"), "that dlbs did not create"),
    "values that are text": (done(f"{IN_PLACE} 'text'"), DAMAGED),
    "values that are a number": (done(f"{IN_PLACE} 5"), DAMAGED),
    "values that are not compressed": (done(f"{IN_PLACE} x'00ff'"), DAMAGED),
    "values that are cut off": (done(f"{IN_PLACE} substr(data, 1, length(data) / 2)"), DAMAGED),
    "values that are nothing": (done(f"{IN_PLACE} x''"), DAMAGED),
    "keys that are text": (done("UPDATE blocks SET keys = 'x'"), DAMAGED),
    "keys that are values": (done("UPDATE blocks SET keys = (SELECT data FROM block_values LIMIT 1)"), DAMAGED),
    "values that are no JSON": (holding("text"), DAMAGED),
    "values that are an object": (holding("{}"), DAMAGED),
    "no value": (holding("[]"), DAMAGED),
    "a kind that is unknown": (holding("[1]", b"?"), DAMAGED),
    "too few values": (holding("[1]", b"n"), DAMAGED),
    "codes that are too few": (holding("[1]", b"c", bytes(4)), DAMAGED),
    "codes of half an integer": (holding("[1]", b"c", bytes(4 * COUNT + 1)), DAMAGED),
    "codes beyond the values": (holding("[1]", b"c", b"\7\0\0\0" * COUNT), DAMAGED),
    "codes below nothing": (holding("[1]", b"c", b"\0\0\0\x80" * COUNT), DAMAGED),
    "values of 100,000 lists": (holding("[" * 100_000), DAMAGED),
    "values with 5,000 digits": (holding(f"[{'9' * 5000}]"), DAMAGED),
    "values with half of a surrogate pair": (holding('["\\ud800"]'), COUNT),
    "other values": (holding('[{"b": [1, null]}]'), COUNT),
    "values of 3 MB": (holding(f'["{"x" * 3_000_000}"]'), COUNT),
    "values that grow beyond measure": (holding(f'["{"x" * 30_000_000}"]'), DAMAGED),
    "a block that is missing": (done("DELETE FROM blocks"), DAMAGED),
    "a block of no runs": (done("UPDATE blocks SET rows = 0"), DAMAGED),
    "a block of more runs": (done("UPDATE blocks SET rows = 5"), DAMAGED),
    "a block of endless runs": (done("UPDATE blocks SET rows = 9223372036854775807"), DAMAGED),
    "a block whose number is text": (done("CREATE TABLE b (first, rows, keys)", "INSERT INTO b SELECT 'x', rows, keys FROM blocks", "DROP TABLE blocks", "ALTER TABLE b RENAME TO blocks"), DAMAGED),
    "a beginning that is text": (done("UPDATE runs SET started = 'then'"), None),
    "a throughput that is text": (done("UPDATE runs SET throughput = 'fast', time = 'slow'"), COUNT),
    "a status that is bytes": (done("UPDATE runs SET status = x'ff'"), COUNT),
    "a tag that is nothing": (done("CREATE TABLE t AS SELECT * FROM tags", "DROP TABLE tags", "ALTER TABLE t RENAME TO tags", "UPDATE tags SET tag = NULL"), None),
    "a tag that is a number": (done("UPDATE tags SET tag = 5"), COUNT),
    "a tag of nobody": (done("INSERT INTO tags VALUES (999, 'x')"), COUNT),
    "a hundred thousand tags": (done("INSERT INTO tags WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT 1, 'tag ' || i FROM n"), COUNT),
    "a named pipe": (instead(os.mkfifo), "is not a regular file"),
    "a directory": (instead(Path.mkdir), "is not a regular file"),
    "an endless device": (instead(lambda path: path.symlink_to("/dev/zero")), "is not a regular file"),
    "a device without an end": (instead(lambda path: path.symlink_to("/dev/full")), "is not a regular file"),
    "a link to nowhere": (instead(lambda path: path.symlink_to("nowhere")), "no such store"),
    "a link to itself": (instead(lambda path: path.symlink_to(path.name)), None),
    "nothing there": (Path.unlink, "no such store"),
}  # fmt: skip

ADDS = {
    "a block that is missing": SAYS,
    "nothing in it": 1,
    "nothing there": 1,
    "migrations without a version": None,
    "a link to nowhere": None,
}


@pytest.mark.parametrize("create", [False, True], ids=["query", "add"])
@pytest.mark.parametrize("case", CASES)
def test_database(ask: Ask, tmp_path: Path, sound: bytes, case: str, create: bool) -> None:
    change, expected = CASES[case]
    path = tmp_path / "results.db"
    path.write_bytes(sound)
    change(path)
    before = path.read_bytes() if path.is_file() else None
    if create:
        expected = ADDS.get(case, expected + 1 if expected == COUNT else expected)
    ask_and_expect(ask, {"url": str(path), "create": create, "output": str(tmp_path)}, expected)
    if expected == OTHERS or not create:
        assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_were_changed_by_chance(ask: Ask, tmp_path: Path, sound: bytes, seed: int) -> None:
    random, data = Random(seed), bytearray(sound)
    for _ in range(random.choice([1, 10, 100])):
        page = random.randrange(len(data) // 4096) * 4096
        data[page + random.randrange(random.choice([16, 200, 4096]))] = random.choice([0, 1, 127, 128, 255])
    (tmp_path / "results.db").write_bytes(data)
    ask_and_expect(ask, {"url": str(tmp_path / "results.db"), "create": False, "output": str(tmp_path)}, None)
