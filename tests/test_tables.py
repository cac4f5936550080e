"""Tables: cells never mix settings, and never are blank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlbs.config import load_config
from dlbs.results.records import write_records
from dlbs.results.tables import Table, regular_tables
from tests.conftest import RunDlbs


def record(
    model: str = "alexnet", batch: int = 1, time: float | None = 10.0, status: str = "ok", **more: Any
) -> dict[str, Any]:
    made = {"exp.model": model, "exp.replica_batch": batch, "exp.phase": "training", "exp.status": status}
    if time is not None:
        made |= {"results.time": time, "results.throughput": 1000 * batch / time}
    return {**made, **{key.replace("__", "."): value for key, value in more.items()}}


def tables(*records: dict[str, Any]) -> list[Table]:
    return regular_tables(records, load_config().declarations)


def test_models_against_batches() -> None:
    throughput, time = tables(
        record(batch=2, time=5), record(batch=16, time=8), record("vgg16", 2, 20), record("vgg16", 16, 1234)
    )
    assert throughput.header == ["model", "batch 2", "batch 16"]
    assert throughput.rows == [["alexnet", "400.0", "2,000"], ["vgg16", "100.0", "12.97"]]
    assert time.rows == [["alexnet", "5.000", "8.000"], ["vgg16", "20.00", "1,234"]]
    assert "instances/s" in throughput.title
    assert "ms" in time.title
    assert throughput.legend == []


def test_cells_without_a_number_say_why() -> None:
    table, _ = tables(
        record(batch=1),
        record(batch=2, time=None, status="failure"),
        record("b", 1, None, "timeout"),
        record("b", 4, None, ""),
        record("c", 1, None),
    )
    assert table.rows == [
        ["alexnet", "100.0", "failure", "-"],
        ["b", "timeout", "-", "unfinished"],
        ["c", "no-result", "-", "-"],
    ]
    assert [line.split(":")[0] for line in table.legend] == ["-", "failure", "timeout", "unfinished", "no-result"]


def test_repeats_are_one_cell_the_median() -> None:
    table = tables(*(record(time=time, exp__repeat=n) for n, time in enumerate([10, 30, 11], 1)))[1]
    assert table.rows == [["alexnet", "11.00"]]
    assert table.legend == ["cells are medians of up to 3 runs"]


def test_what_else_differs_makes_tables_of_its_own() -> None:
    made = tables(record(exp__phase="training"), record(exp__phase="inference"), record("b", exp__phase="inference"))
    assert [table.title for table in made[::2]] == [
        "Throughput, instances/s (training)",
        "Throughput, instances/s (inference)",
    ]
    made = tables(record(my__option=1), record(my__option=2, time=20))
    assert ["my.option=1" in made[0].title, "my.option=2" in made[2].title] == [True, True]
    assert made[0].rows == [["alexnet", "100.0"]]
    assert made[2].rows == [["alexnet", "50.00"]]


def test_versions_are_not_mixed() -> None:
    made = tables(record(exp__framework_version="2.6"), record(exp__framework_version="2.7"))
    assert len(made) == 4


def test_what_does_not_say_what_an_experiment_is_does_not_split() -> None:
    made = tables(
        record(exp__log_file="a", exp__id="1", results__time_std=1, exp__start_time="x", exp__seconds=1.0),
        record(exp__log_file="b", exp__id="2", results__time_std=2, exp__start_time="y", exp__seconds=2.0),
    )
    assert len(made) == 2


def test_a_parameter_that_goes_with_the_model_does_not_split() -> None:
    made = tables(record("a", my__weights="w1"), record("b", my__weights="w2"))
    assert len(made) == 2


def test_report_prints_them(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "r.json"), [record(batch=4, time=8), record("x\x1b[31m", 4, None, "failure")])
    done = dlbs("report", "r.json", "--type", "regular")
    assert done.returncode == 0, done.stderr
    assert "batch 4" in done.stdout
    assert "500.0" in done.stdout
    assert "failure: the experiment failed" in done.stdout
    assert "\x1b" not in done.stdout


def test_report_of_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "r.json"), [])
    done = dlbs("report", "r.json")
    assert done.returncode == 2
    assert "no experiments to report" in done.stderr
    assert dlbs("report", "nope.json").returncode == 2
