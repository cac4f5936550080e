"""Trends, tags and machines of a store; histories by words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.results.keys import quantity_of
from dlbs.results.page.history import History
from dlbs.results.page.summary import tiles_of
from dlbs.results.plots.history import trends_of as plotted
from dlbs.results.read.query import words_of
from dlbs.results.runs import Runs
from dlbs.results.store.store import Store
from dlbs.results.trends import history_of, machines_in, tags_in, trends_of
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

TIME = "results.time"


def nightly(
    model: str = "alexnet", days: int = 20, *, slower_from: int = 99, repeats: int = 3, **more: Any
) -> list[dict[str, Any]]:
    """Runs of one experiment on successive days; from one day on they take 10 % longer."""
    return [
        {
            **make_record(model, repeat=repeat, time=11.0 if day >= slower_from else 10.0, noise=0.01, seed=(model, day), **more),
            "exp.start_time": f"2026-{10 + day // 28:02}-{day % 28 + 1:02}T0{repeat}:00:00",
            "exp.framework_version": f"2.{day // 5}",
        }
        for day in range(days)
        for repeat in range(1, repeats + 1)
    ]  # fmt: skip


def runs_of(records: list[dict[str, Any]]) -> Runs:
    return declared({"db.tags": [], **record} for record in records)


def trends(records: list[dict[str, Any]]) -> list[Any]:
    return trends_of(runs_of(records), TIME)


def test_a_change_is_marked_where_it_is() -> None:
    (trend,) = trends(nightly(days=24, slower_from=14))
    assert trend.label == "alexnet, training, float32, gpu, batch 16"
    assert trend.machine == "node1, Imaginary GPU"
    assert [len(point.values) for point in trend.points] == [3] * 24
    (change,) = trend.changes
    assert (change.at, change.is_worse) == (14, True)
    assert change.ratio == pytest.approx(1.1, abs=0.01)


def test_what_becomes_faster_is_no_regression() -> None:
    (trend,) = trends_of(runs_of(nightly(days=24, slower_from=14)), "results.throughput")
    (worse,) = trend.changes
    assert (worse.ratio < 1, worse.is_worse) == (True, True)


def test_a_steady_trend_has_no_change() -> None:
    (trend,) = trends(nightly(days=24))
    assert trend.changes == []


def test_versions_and_repeats_do_not_divide_a_trend_but_machines_and_parameters_do() -> None:
    records = nightly(days=6) + nightly(days=6, exp__dtype="float16") + nightly(days=6, exp__env__host="node2")
    found = trends(records)
    assert [len(trend.points) for trend in found] == [6, 6, 6]
    assert len({trend.key for trend in found}) == 3
    assert {trend.machine for trend in found} == {"node1, Imaginary GPU", "node2, Imaginary GPU"}


def test_points_are_days_and_tags() -> None:
    records = nightly(days=2, repeats=2)
    records[0]["db.tags"] = ["v1"]
    (trend,) = trends(records)
    assert [(point.name, point.day, len(point.runs)) for point in trend.points] == [
        ("v1", "2026-10-01", 1),
        ("2026-10-01", "2026-10-01", 1),
        ("2026-10-02", "2026-10-02", 2),
    ]
    assert trend.points[2].interval is not None


def test_failures_and_doubts_are_counted_at_their_point() -> None:
    records = nightly(days=1, repeats=3)
    records[0] = {**make_record(status="failure", repeat=1), "exp.start_time": records[0]["exp.start_time"]}
    records[1]["results.warnings"] = ["drift: times rose by 9 %"]
    (trend,) = trends(records)
    (point,) = trend.points
    assert (point.failed, point.doubtful, len(point.values)) == (1, 1, 2)


def test_tags_and_machines() -> None:
    records = [
        make_record(repeat=1),
        make_record(repeat=2),
        make_record(repeat=3, exp__env__host="node2", status="failure"),
    ]
    records[0]["db.tags"], records[1]["db.tags"] = ["v1"], ["v1", "v2"]
    shares = {share.name: (share.runs, share.failed) for share in tags_in(runs_of(records))}
    assert shares == {"v1": (2, 0), "v2": (1, 0), "(no tag)": (1, 1)}
    first, second = machines_in(runs_of(records))
    assert (first.name, first.runs, list(first.others)) == ("node1, Imaginary GPU", 2, ["v1", "v2"])
    assert (second.name, second.first) == ("node2, Imaginary GPU", "2026-11-21 10:03")


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("", True), ("alexnet", True), ("ALEXNET training", True), ("alexnet, batch 16", True), ("alex", False), ("float32", True),
        ("dtype=float32", True), ("exp.dtype=float32", True), ("model=float32", False), ("alexnet 15", False), ("imaginary gpu", True),
        ("bfloat32", False), ("loat32", False), ("50", False), ("1", True), ("batch 1", False), ("alexnet batch 16", True), ("batch 16 repeat 2", False),
        ("é", True), ("v1", True), ("tags=v1 alexnet", True), ("v2", False), ("ä", False), ("results.unit=images", False), ('"', False),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, words: str, fits: bool) -> None:
    with Store(str(tmp_path / "r.db")) as store:
        store.add([make_record(my__place="É hall"), make_record("vgg16", 15, gpus=2, exp__repeat=2)], tag="v1")
        store.add([make_record("vgg19", 15, gpus=2, exp__repeat=2)], tag="Ä 2")
        assert (1 in store.search(words_of(words))) == fits


@pytest.fixture
def two(dlbs: RunDlbs, tmp_path: Path) -> Path:
    """A store with two experiments, each of which ran twice."""
    for tag, day in (("v1", 20), ("v2", 21)):
        records = [
            {**make_record(model, repeat=repeat, seed=day), "exp.start_time": f"2026-11-{day}T0{repeat}:00:00"}
            for model in ("alexnet", "resnet18")
            for repeat in (1, 2)
        ]
        dlbs("db", "add", str(make_logs(tmp_path / tag, records)), "--tag", tag, check=True)
    return tmp_path


@pytest.mark.integration
def test_a_history_is_found_by_words(dlbs: RunDlbs, two: Path) -> None:
    records = json.loads(dlbs("db", "query", "--history", "resnet18 batch 16", "--json", check=True).stdout)
    assert [(one["exp.model"], one["exp.start_time"][8:10]) for one in records] == [
        ("resnet18", "20"), ("resnet18", "20"), ("resnet18", "21"), ("resnet18", "21"),
    ]  # fmt: skip
    by_id = json.loads(dlbs("db", "query", "--history", "alexnet-16-1-1", "--json", check=True).stdout)
    assert len(by_id) == 2
    several = dlbs("db", "query", "--history", "training")
    assert several.returncode == 2
    assert "2 experiments match" in several.stderr
    assert "\n  alexnet, training" in several.stderr
    assert "no such experiment" in dlbs("db", "query", "--history", "vgg16").stderr
    said = dlbs("db", "query", "--history", "resnet18 batch 16", check=True).stderr
    assert said == "Throughput: no change exceeds the noise of 2 points; 10 are needed to detect one\n"


@pytest.mark.integration
def test_tags_list_and_rm(dlbs: RunDlbs, two: Path) -> None:
    tags = json.loads(dlbs("db", "tags", "--json", check=True).stdout)
    assert [(one["tag"], one["runs"], one["first"]) for one in tags] == [
        ("v1", 4, "2026-11-20 01:00"),
        ("v2", 4, "2026-11-21 01:00"),
    ]
    experiments = json.loads(dlbs("db", "list", "--json", check=True).stdout)
    assert [(one["experiment"].split(",")[0], one["runs"], one["tags"]) for one in experiments] == [
        ("alexnet", 4, ["v1", "v2"]), ("resnet18", 4, ["v1", "v2"]),
    ]  # fmt: skip
    assert "resnet18" not in dlbs("db", "list", "alexnet", check=True).stdout
    asked = dlbs("db", "rm", "--tag", "v1")
    assert (asked.returncode, "would remove 4 runs" in asked.stderr) == (2, True)
    assert "would remove 4 runs" in dlbs("db", "rm", "--tag", "v1", "--dry-run", check=True).stderr
    assert (
        "removed the tag 'v1' from 4 runs" in dlbs("db", "rm", "--tag", "v1", "--only-tag", "--yes", check=True).stderr
    )
    assert [one["tag"] for one in json.loads(dlbs("db", "tags", "--json").stdout)] == ["(no tag)", "v2"]
    assert "removed 2 runs" in dlbs("db", "rm", "--tag", "v2", '{"exp.model": "alexnet"}', "-y", check=True).stderr
    assert len(json.loads(dlbs("db", "query", "--json").stdout)) == 6
    assert dlbs("db", "rm", "--yes").returncode == 2
    assert "no such runs" in dlbs("db", "rm", "--tag", "v9", "--yes").stderr


def test_a_replaced_run_and_a_replaced_tag_are_shown(tmp_path: Path) -> None:
    """The number of a run that was removed is not used again."""
    url = str(tmp_path / "results.db")
    history = History(url)

    def shown() -> list[tuple[float, list[str]]]:
        return [(run["results.time"], run["db.tags"]) for run in history.index().runs]

    with Store(url) as store:
        old, new = make_record(time=90.0), make_record(time=10.0)
        store.add([make_record("vgg16"), old], tag="v1")
        assert shown()[1] == (old["results.time"], ["v1"])
        store.remove([2])
        store.add([new], tag="v1")
        assert shown()[1] == (new["results.time"], ["v1"])
        store.remove([3], tag="v1")
        store.add([new], tag="v1.0")
        assert shown()[1] == (new["results.time"], ["v1.0"])


def test_a_store_that_is_read_changes_nothing(tmp_path: Path) -> None:
    from dlbs.core.errors import LogError

    url = str(tmp_path / "results.db")
    with Store(url) as store:
        store.add([make_record()], tag="v1")
        before = store.version()
        store.add([make_record()], tag="v2")
        assert store.version() != before
    with Store(url, read_only=True) as store, pytest.raises(LogError, match=r"readonly|read-only"):
        store.remove([1])
    with pytest.raises(LogError, match="no such store"):
        Store(str(tmp_path / "nothing.db"), read_only=True)


def test_orders_are_chronological_across_time_zones(tmp_path: Path) -> None:
    """Tokyo, four hours before London, has the later local time."""
    london = {**make_record(), TIME: 10.0, "exp.start_time": "2026-11-21T05:00:00+0000", "db.tags": ["london"]}
    tokyo = {**make_record(), TIME: 11.0, "exp.start_time": "2026-11-21T10:00:00+0900", "db.tags": ["tokyo"]}
    records = [london, tokyo]
    (trend,) = trends(records)
    assert [point.name for point in trend.points] == ["tokyo", "london"]
    shares = tags_in(runs_of(records))
    assert [share.name for share in shares] == ["tokyo", "london"]
    (machine,) = machines_in(runs_of(records))
    assert (machine.first, machine.last) == ("2026-11-21 10:00", "2026-11-21 05:00")
    drawn = plotted(declared(records), "db.tags", TIME, quantity_of(TIME, Runs.of(records)))
    assert [point.value for point in drawn[0].points] == [11.0, 10.0]
    assert {name: value for name, value, _ in tiles_of(Runs.of(records))}["started"] == "2026-11-21 10:00 – 05:00"
    with Store(str(tmp_path / "results.db"), declarations=load_config().declarations) as store:
        store.add([{**record, "exp.id": "x" * n} for n, record in enumerate(records, 1)])
        found = history_of(store, make_record()["exp.model"])
        assert [record["results.time"] for record in found] == [11.0, 10.0]
