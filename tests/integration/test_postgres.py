"""The store in a real PostgreSQL."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlbs.core.errors import LogError
from dlbs.results.page.history import HistoryPages
from dlbs.results.runs import digest_of
from dlbs.results.store.store import Store
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_logs, make_record
from tests.services import POSTGRESQL

pytestmark = [pytest.mark.integration, pytest.mark.needs("PostgreSQL")]


@pytest.fixture
def url() -> Iterator[str]:
    """A new database."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    name = f"dlbs_test_{uuid.uuid4().hex[:12]}"
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    yield POSTGRESQL.rpartition("/")[0] + "/" + name
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def test_what_comes_out_is_what_went_in(url: str) -> None:
    record = make_record(my__text="é\x00'\"; DROP TABLE experiments; --", my__list=[1, {"a": None}])
    with Store(url) as store:
        assert store.add([record, make_record("b")], tag="v1").new == 2
        assert store.add([record], tag="v2").new == 0
        found, _ = store.runs().records()
    assert found.pop("db.tags") == ["v1", "v2"]
    assert found.pop("db.added")
    assert found == record


def test_several_may_add_the_same_to_a_new_store_at_once(url: str) -> None:
    records = [make_record(f"m{n}", batches=3) for n in range(300)]

    def add(_: int) -> int:
        with Store(url) as store:
            return store.add(records, tag="together").new

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(4))) == 300
        assert sum(pool.map(add, range(4))) == 0
    with Store(url) as store:
        found = store.runs()
    assert len(found) == 300
    assert all(record["db.tags"] == ["together"] for record in found)


def test_a_store_of_an_older_version_is_migrated(url: str) -> None:
    """Its tables are made by its migrations; its numbers have gaps."""
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "dlbs/results/store/migrations"))
    records = [make_record(f"m{n}", my__text="é\x00'", my__big=2**70) for n in range(2100)]
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        rows = [
            {"id": 5 * n + 2, "digest": digest_of(record), "data": json.dumps(record)}
            for n, record in enumerate(records)
        ]
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO experiments (id, digest, status, added, data) VALUES (:id, :digest, 'ok', '2026-01-02', :data)"
            ),
            rows,
        )
        connection.execute(sqlalchemy.text("INSERT INTO tags SELECT id, 'v1' FROM experiments"))
    engine.dispose()
    with Store(url, create=False) as store:
        assert store.runs().records() == [
            {**record, "db.added": "2026-01-02T00:00:00", "db.tags": ["v1"]} for record in records
        ]
        assert store.add([*records, make_record("new")]).new == 1
        assert store.remove([1]) == 1
        assert len(store.runs()) == 2100


def test_the_commands(dlbs: RunDlbs, tmp_path: object, url: str) -> None:
    from pathlib import Path

    logs = Path(str(tmp_path))
    make_logs(logs / "a", [make_record(repeat=n) for n in (1, 2, 3)])
    make_logs(logs / "b", [make_record(repeat=n, time=20.0) for n in (1, 2, 3)])
    assert "no results in this database" in dlbs("db", "query", "--db", url).stderr
    assert "3 new" in dlbs("db", "add", "a", "--db", url, "--tag", "a", check=True).stderr
    assert "3 new" in dlbs("db", "add", "b", "--tag", "b", check=True, DLBS_DB=url).stderr
    assert "alexnet" in dlbs("report", "--db", url, '{"db.tags": "a"}', check=True).stdout
    done = dlbs("compare", "--db", url, '{"db.tags": "a"}', '{"db.tags": "b"}', "--fail-on-regression")
    assert done.returncode == 3, done.stderr


def test_a_history_is_read_and_changes_nothing(url: str, tmp_path: Path) -> None:
    with Store(url) as store:
        store.add([make_record(repeat=n) for n in (1, 2, 3)], tag="v1")
    pages = HistoryPages(url, tmp_path)
    assert "alexnet" in pages.overview({})
    assert "<td>v1</td>" in pages.overview({})
    with Store(url) as store:
        store.add([make_record("resnet18")])
    assert "resnet18" in pages.overview({})
    assert "exp.model" in pages.run({"id": "1"})
    with Store(url) as store:
        store.remove([4])
        store.add([make_record("vgg16")])
    assert "resnet18" not in pages.overview({})
    assert "vgg16" in pages.overview({})
    with Store(url, read_only=True) as store, pytest.raises(LogError, match="read-only transaction"):
        store.remove([1])
    with Store(url) as store:
        assert store.remove([1, 2], tag="v1") == 2
        assert store.remove([3]) == 1
        assert [record["db.tags"] for record in store.runs()] == [[], [], []]
