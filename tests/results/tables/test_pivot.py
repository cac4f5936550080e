"""Tables: cells never mix settings, and never are blank."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.results.read.records import write_records
from dlbs.results.tables.formats import FORMATS, parquet, write_tables
from dlbs.results.tables.report import custom_tables, default_tables, usual_axes
from dlbs.results.tables.scaling import scaling_tables
from dlbs.results.tables.table import Cell, Table
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_record


def record(
    model: str = "alexnet", batch: int = 1, time: float | None = 10.0, status: str = "ok", **more: Any
) -> dict[str, Any]:
    made = {"exp.model": model, "exp.replica_batch": batch, "exp.phase": "training", "exp.status": status}
    if time is not None:
        made |= {"results.time": time, "results.throughput": 1000 * batch / time}
    return {**made, **{key.replace("__", "."): value for key, value in more.items()}}


def tables(*records: dict[str, Any]) -> list[Table]:
    return default_tables(declared(records))


def test_models_against_batches() -> None:
    throughput, time = tables(
        record(batch=2, time=5), record(batch=16, time=8), record("vgg16", 2, 20), record("vgg16", 16, 1234)
    )
    assert throughput.header == ["model", "batch 2", "batch 16"]
    assert throughput.texts() == [["alexnet", "400.0", "2,000"], ["vgg16", "100.0", "12.97"]]
    assert time.texts() == [["alexnet", "5.000", "8.000"], ["vgg16", "20.00", "1,234"]]
    assert "instances/s" in throughput.title
    assert "ms" in time.title
    assert throughput.legend == ["all runs: training"]


def test_cells_without_a_number_say_why() -> None:
    table, _ = tables(
        record(batch=1),
        record(batch=2, time=None, status="failure"),
        record("b", 1, None, "timeout"),
        record("b", 4, None, ""),
        record("c", 1, None),
    )
    assert table.texts() == [
        ["alexnet", "100.0", "failure", "-"],
        ["b", "timeout", "-", "unfinished"],
        ["c", "no-result", "-", "-"],
    ]
    assert [line.split(":")[0] for line in table.legend] == [
        "-",
        "timeout",
        "unfinished",
        "no-result",
        "all runs",
    ]


def test_repeats_are_one_cell_the_median() -> None:
    (table,) = tables(*(record(time=time, exp__repeat=n) for n, time in enumerate([10, 30, 11], 1)))
    assert table.title == "Results; median of 3 runs with 75 % CI"
    assert table.texts() == [["alexnet", "90.91 [33.33, 100.0]", "11.00 [10.00, 30.00]"]]
    assert table.legend == ["[low, high]: 75 % confidence interval of the median", "all runs: training, batch 1"]


def test_cells_state_their_level_where_levels_differ() -> None:
    batches = [1] * 3 + [2] * 6
    (table, _) = tables(*(record(time=10.0 + n, exp__repeat=n, exp__replica_batch=b) for n, b in enumerate(batches)))
    assert table.title.endswith("median of up to 6 runs with CI")
    assert [" at 75 %]" in words for words in table.texts()[0][1:]] == [True, False]
    assert (
        table.legend[0] == "[low, high]: 95 % confidence interval of the median, or the lower level shown in the cell"
    )


def test_an_interval_without_a_level_holds_95_percent() -> None:
    (table,) = tables(*(record(time=10.0 + n, exp__repeat=n) for n in range(6)))
    assert table.title == "Results; median of 6 runs with 95 % CI"
    assert table.texts()[0][2] == "12.50 [10.00, 15.00]"
    assert table.legend[0] == "[low, high]: 95 % confidence interval of the median"


def test_a_single_run_has_the_interval_of_its_batches() -> None:
    (table,) = tables(record(time=10.0, results__throughput_ci95=[80.0, 125.0]))
    assert table.title == "Results; 1 run with 95 % CI"
    assert table.texts() == [["alexnet", "100.0 [80.00, 125.0]", "10.00 [8.000, 12.50]"]]
    assert table.legend[0] == "[low, high] 1 run: 95 % CI from its batches; ignores variation between runs"


@pytest.mark.parametrize("bounds", [None, [], [1.0], [None, None], ["a", "b"], [0, 5], [5, 1], [1, float("inf")], 7])
def test_an_interval_of_another_form_is_none(bounds: Any) -> None:
    (table,) = tables(record(results__throughput_ci95=bounds))
    assert table.texts() == [["alexnet", "100.0", "10.00"]]


def test_the_accuracy_of_a_training_stands_first() -> None:
    trained = record(time=20.0, results__accuracy_top1=71.2345, my__lr=0.1)
    (table,) = tables(trained, record(my__lr=0.2, status="failure", time=None, exp__status_msg="the loss is nan"))
    assert table.header == ["my.lr", "Top-1 accuracy, %", "Throughput, instances/s", "Batch time, ms"]
    assert table.texts() == [["0.1", "71.23", "50.00", "20.00"], ["0.2", "failure", "failure", "failure"]]
    assert "failure: the loss is nan (my.lr=0.2)" in table.legend


def test_reasons_of_failures_stand_below_the_first_table_each_once() -> None:
    failed = [
        record(batch=batch, status="failure", time=None, exp__status_msg="out of memory") for batch in (4, 8, 16, 32)
    ]
    late = record(batch=64, status="timeout", time=None, exp__status_msg="longer than 10 s")
    first, second = tables(record(batch=2), *failed, late)
    assert "failure: out of memory (batch 4; batch 8; batch 16 and 1 more)" in first.legend
    assert "timeout: longer than 10 s (batch 64)" in first.legend
    assert not any("out of memory" in line for line in second.legend)
    many = tables(*(record(batch=n, status="failure", time=None, exp__status_msg=f"no {n}") for n in range(1, 15)))[0]
    assert "and 4 other reasons" in many.legend


def test_doubtful_runs_are_marked() -> None:
    busy = ["CPU contention: 69 %, 5,231 preemptions; rerun on an idle machine"]
    table, _ = tables(
        record(batch=1, results__warnings=[]), record(batch=2, results__warnings=[*busy, "drift: +7 %"]),
        record(batch=4, results__warnings=busy), record(batch=8, time=None, status="failure", results__warnings=busy),
    )  # fmt: skip
    assert table.texts() == [["alexnet", "100.0", "200.0 ⚠", "400.0 ⚠", "failure"]]
    assert "⚠: 2 of 3 runs doubtful: CPU contention 2, drift 1" in table.legend
    assert [cell.tone for cell in table.cells[0]] == ["", "doubt", "doubt", ""]


def test_what_else_differs_makes_rows() -> None:
    (table,) = tables(
        record(exp__phase="training"), record("b", exp__phase="inference"), record(exp__phase="inference")
    )
    assert table.header[:2] == ["model", "exp.phase"]
    assert table.rows == [["alexnet", "training"], ["b", "inference"], ["alexnet", "inference"]]
    (table,) = tables(record(my__option=2, time=20), record(my__option=1))
    assert table.texts() == [["2", "50.00", "20.00"], ["1", "100.0", "10.00"]]


def test_what_differs_besides_rows_of_one_s_own_makes_tables() -> None:
    records = [record(exp__phase="training"), record(exp__phase="inference")]
    made = custom_tables(declared(records), ["exp.model"], [], ["results.throughput"])
    assert [table.title for table in made] == [
        "Throughput, instances/s (training)",
        "Throughput, instances/s (inference)",
    ]


def test_frameworks_that_ran_the_same_model_are_rows_of_one_table() -> None:
    table, _ = tables(*(record(batch=batch, exp__framework=name) for name in ("pytorch", "jax") for batch in (1, 2)))
    assert table.header == ["framework", "batch 1", "batch 2"]
    assert table.texts() == [["pytorch", "100.0", "200.0"], ["jax", "100.0", "200.0"]]


def test_versions_are_not_mixed() -> None:
    (table,) = tables(record(exp__framework_version="2.6"), record(exp__framework_version="2.7"))
    assert table.rows == [["2.6"], ["2.7"]]


def test_what_does_not_say_what_an_experiment_is_does_not_split() -> None:
    (table,) = tables(
        record(exp__log_file="a", exp__id="1", results__time_std=1, exp__start_time="x", exp__seconds=1.0),
        record(exp__log_file="b", exp__id="2", results__time_std=2, exp__start_time="y", exp__seconds=2.0),
    )
    assert len(table.rows) == 1


def test_a_parameter_that_goes_with_the_model_does_not_split() -> None:
    (table,) = tables(record("a", my__weights="w1"), record("b", my__weights="w2"))
    assert table.rows == [["a"], ["b"]]


def test_batch_sizes_that_go_with_the_model_are_rows() -> None:
    (table,) = tables(record("a", 512), record("b", 64))
    assert table.header[:2] == ["model", "batch"]
    assert table.rows == [["a", "512"], ["b", "64"]]


def own_script(**more: Any) -> dict[str, Any]:
    """What somebody's own script logs: it has no model, no phase, no batch."""
    return {"exp.framework": "mine", "exp.status": "ok", "results.throughput": 500.0, **more}


def test_what_an_experiment_does_not_have_is_blank() -> None:
    (table,) = tables(own_script())
    assert table.title == "Throughput, instances/s"
    assert table.header == ["framework", "value"]
    assert table.texts() == [["mine", "500.0"]]
    (table,) = tables({"results.throughput": 500.0})
    assert (table.title, table.texts()) == ("Throughput, instances/s", [["500.0"]])
    without_batch = {"exp.model": "b", "exp.phase": "training", "exp.status": "ok", "results.throughput": 5.0}
    (table,) = tables(record(batch=2), without_batch)
    assert [row[:3] for row in table.texts()] == [["alexnet", "2", "200.0"], ["b", "", "5.000"]]
    assert table.header[:2] == ["model", "batch"]
    table, _ = tables(record(batch=2), record(batch=4), without_batch)
    assert table.texts() == [["alexnet", "-", "200.0", "400.0"], ["b", "5.000", "-", "-"]]
    assert table.header == ["model", "batch -", "batch 2", "batch 4"]


def test_a_batch_time_that_nothing_logs_is_not_shown() -> None:
    (table,) = tables(own_script(), own_script(my__option=1))
    assert table.title == "Throughput, instances/s"
    (table,) = tables(record(), own_script())
    assert table.columns == ["Throughput, instances/s", "Batch time, ms"]


def test_the_batch_time_of_logged_batches_is_their_mean(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("__results.time_data__= [1.0, 2.0, 6.0]\n__results.throughput__= 500\n")
    done = dlbs("report", "a.log")
    assert done.returncode == 0, done.stderr
    assert "3.000" in done.stdout
    assert "no-result" not in done.stdout
    assert not {"alexnet", "training", "float32", "batch 16"} & set(done.stdout.replace("│", ",").split(","))


def test_report_prints_them(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(
        str(tmp_path / "r.json"),
        [record(batch=4, time=8), record("x\x1b[31m", 4, None, "failure", exp__status_msg="exit code 9")],
    )
    done = dlbs("report", "r.json", "--type", "regular")
    assert done.returncode == 0, done.stderr
    assert "batch 4" in done.stdout
    assert "500.0" in done.stdout
    assert "failure: exit code 9" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_status_that_explains_itself_has_no_legend() -> None:
    for status in ("failure", "skipped"):
        (table,) = tables(record(), record("b", 1, None, status))
        assert table.texts()[1] == ["b", status, status]
        assert not [line for line in table.legend if line.startswith(status)]


def test_explain_says_how_each_cell_was_computed(dlbs: RunDlbs, tmp_path: Path) -> None:
    runs = [record(batch=2, time=2000 / rate, exp__repeat=n) for n, rate in enumerate((10, 30, 11))]
    runs[1]["results.warnings"] = ["drift: +9 %"]
    single = record(batch=4, time=100, results__throughput_ci95=[39.0, 41.0])
    write_records(str(tmp_path / "r.json"), [*runs, single, record("b", 2, None, "failure")])
    said = dlbs("report", "r.json", "--explain", check=True, COLUMNS="200").stdout
    assert (
        "alexnet, batch 2: median of 10.00, 11.00, 30.00 ⚠ = 11.00; [10.00, 30.00]: minimum and maximum of 3, 1 - 2 · (1) / 2^3 = 75 %"
        in said
    )
    assert "alexnet, batch 4: 40.00, a single run; [39.00, 41.00]: 95 % CI from its batches" in said
    assert "b, batch 2:" not in said
    said = dlbs("report", "r.json", "--values", "results.throughput", "--aggregate", "max", "--explain").stdout
    assert "alexnet, batch 2: max of 10.00, 11.00, 30.00 ⚠ = 30.00\n" in said
    assert "median of 10.00" not in dlbs("report", "r.json").stdout


def test_explained_intervals_name_their_order_statistics() -> None:
    values = [record(time=1000 / rate, exp__repeat=rate) for rate in range(101, 110)]
    (formula, _) = default_tables(declared(values), explain=True)[0].formulas
    assert formula.endswith("[102.0, 108.0]: value 2 from either end of 9, 1 - 2 · (1 + 9) / 2^9 = 96.1 %")
    assert formula.startswith("alexnet, Throughput, instances/s: median of 101.0, 102.0,")


def test_explained_intervals_with_ties_are_the_computed_ones() -> None:
    """The lower bound is the minimum, because three values are equal; the interval is still that of the second values."""
    values = [record(time=1000 / rate, exp__repeat=n) for n, rate in enumerate([10, 10, 10, *range(11, 17)])]
    (formula, _) = default_tables(declared(values), explain=True)[0].formulas
    assert formula.endswith("[10.00, 15.00]: value 2 from either end of 9, 1 - 2 · (1 + 9) / 2^9 = 96.1 %")


def test_tables_of_more_than_a_thousand_runs() -> None:
    values = [record(time=1000 / (100 + n), exp__repeat=n) for n in range(1100)]
    table = default_tables(declared(values), explain=True)[0]
    assert table.texts()[0][1:] == ["649.5 [617.0, 682.0]", "1.540 [1.466, 1.621]"]
    said = "value 518 from either end of 1100, 1 - 2 · (1 + 1100 + 604450 + 221228700 + 60671970975 + 13299296037720"
    assert f"{said} + … + C(1100, 517)) / 2^1100 = 95 %" in table.formulas[0]


def test_report_of_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "r.json"), [])
    done = dlbs("report", "r.json")
    assert done.returncode == 2
    assert "no experiments to report" in done.stderr
    assert dlbs("report", "nope.json").returncode == 2


def scaled(**more: Any) -> list[dict[str, Any]]:
    """1, 2 and 4 GPUs; the batch time grows by 10 % with each doubling."""
    return [
        {
            **make_record("alexnet", 8, gpus=gpus, time=10 * 1.1**step, noise=0.0, **more),
            "results.time": 10 * 1.1**step,
            "results.throughput": 1000 * 8 * gpus / (10 * 1.1**step),
        }
        for step, gpus in enumerate((1, 2, 4))
    ]


def test_weak_scaling_keeps_the_replica_batch() -> None:
    throughput, time, speedup, efficiency = scaling_tables(declared(scaled()), "weak", explain=True)
    assert throughput.header == ["model", "batch", "devices 1", "devices 2", "devices 4"]
    assert throughput.texts() == [["alexnet", "8", "800.0", "1,455", "2,645"]]
    assert time.texts() == [["alexnet", "8", "10.00", "11.00", "12.10"]]
    assert speedup.texts() == [["alexnet", "8", "1.000", "1.818", "3.306"]]
    assert efficiency.texts() == [["alexnet", "8", "100.0", "90.91", "82.64"]]
    assert speedup.formulas[1] == "alexnet, 8, 2 devices: speed-up = 1,455 / 800.0 × 1 = 1.818"
    assert efficiency.formulas[2] == "alexnet, 8, 4 devices: efficiency = 3.306 / 4 = 82.64 %"


def laid_out(gpus: str, rate: float, nodes: int = 1, **more: Any) -> dict[str, Any]:
    """A run on these GPUs of each node; colons join those of a replica."""
    local, replicas = sum(map(str.isdigit, gpus)), gpus.count(",") + 1
    devices = {"exp.gpus": gpus, "exp.num_gpus": local * nodes, "exp.num_replicas": replicas * nodes}
    return record("alexnet", 8, 8000 / rate, **more) | devices | {"exp.num_nodes": nodes}


@pytest.mark.parametrize(
    ("records", "rows"),
    [
        pytest.param(
            [laid_out("0", 100), laid_out("0,1", 198), laid_out("0", 120, nodes=2)],
            [["nodes=1", "1.000", "1.980"], ["nodes=2", "-", "2.000"]],
            id="nodes",
        ),
        pytest.param(
            [
                *(laid_out(",".join("01234567"[:gpus]), 100 * gpus) for gpus in (1, 2, 4)),
                laid_out("0,1,2,3", 760, nodes=2),
                laid_out("0,1,2,3", 1440, nodes=4),
                laid_out("0,1", 380, nodes=2),
            ],
            [
                ["nodes=1 / 2 / 4", "1.000", "2.000", "4.000", "7.600", "14.40"],
                ["nodes=2", "-", "-", "4.000", "8.000", "-"],
            ],
            id="one mixed number",
        ),
        pytest.param(
            [laid_out("0,1", 200), laid_out("0,1,2,3", 400), laid_out("0:1", 110), laid_out("0:1,2:3", 210)],
            [["GPUs per replica=1", "2.000", "4.000"], ["GPUs per replica=2", "2.000", "3.818"]],
            id="replicas",
        ),
        pytest.param(
            [laid_out("0", 100), laid_out("1", 101), laid_out("0,1", 190), laid_out("0,2", 180)],
            [["GPUs=0 / 0,1", "1.000", "1.900"], ["GPUs=1", "1.000", "-"], ["GPUs=0,2", "-", "2.000"]],
            id="gpus",
        ),
        pytest.param(
            [laid_out("0,1", 200), laid_out("0,1", 380, nodes=2), laid_out("0,1", 381, nodes=2)],
            [["2.000", "3.805"]],
            id="none differ",
        ),
    ],
)
def test_scaling_separates_layouts_with_equal_numbers_of_devices(records: list[Any], rows: list[list[str]]) -> None:
    speedup = scaling_tables(declared(records), "weak")[2]
    assert [texts[2:] for texts in speedup.texts()] == rows


def test_the_only_number_of_a_row_has_no_efficiency() -> None:
    records = [laid_out("0", 100), laid_out("0,1", 198), laid_out("0", 120, nodes=2)]
    efficiency = scaling_tables(declared(records), "weak", explain=True)[3]
    assert [texts[2:] for texts in efficiency.texts()] == [["nodes=1", "100.0", "99.00"], ["nodes=2", "-", "no-base"]]
    assert "no-base: no baseline value to compare with" in efficiency.legend
    assert len(efficiency.formulas) == 2


def test_experiments_in_two_rows_count_once() -> None:
    warned: dict[str, Any] = {"results__warnings": ["drift: +9 %"]}
    records = [
        laid_out("0", 100),
        laid_out("0,1", 198),
        laid_out("0", 120, nodes=2),
        laid_out("0,1", 380, nodes=2, **warned),
    ]
    throughput, _, speedup, _ = scaling_tables(declared(records), "weak")
    rows = [["nodes=1 / 2", "1.000", "1.980", "3.800 ⚠"], ["nodes=2", "-", "2.000", "6.333 ⚠"]]
    assert [texts[2:] for texts in speedup.texts()] == rows
    for table in (throughput, speedup):
        assert any(line.startswith("⚠: 1 of 4 runs doubtful") for line in table.legend)


def test_speedups_of_doubtful_runs_are_marked() -> None:
    warned: dict[str, Any] = {"results__warnings": ["drift: +9 %"]}
    records = [laid_out("0", 100, **warned), laid_out("0,1", 190), laid_out("0,1,2", 280, **warned)]
    speedup, efficiency = scaling_tables(declared(records), "weak")[2:]
    assert speedup.texts()[0][2:] == ["1.000 ⚠", "1.900 ⚠", "2.800 ⚠"]
    assert efficiency.texts()[0][2:] == ["100.0 ⚠", "95.00 ⚠", "93.33 ⚠"]
    assert [cell.doubtful for cell in speedup.cells[0]] == [1, 1, 2]
    assert any(line.startswith("⚠: 2 of 3 runs doubtful") for line in speedup.legend)


def test_strong_scaling_keeps_the_effective_batch() -> None:
    records = [
        {**make_record("alexnet", 64 // gpus, gpus=gpus, noise=0.0, time=time), "results.throughput": 64000 / time}
        for gpus, time in ((1, 40.0), (2, 25.0), (4, 20.0))
    ]
    speedup, efficiency = scaling_tables(declared(records), "strong")[2:]
    assert speedup.header == ["model", "effective batch", "devices 1", "devices 2", "devices 4"]
    assert speedup.texts() == [["alexnet", "64", "1.000", "1.600", "2.000"]]
    assert efficiency.texts() == [["alexnet", "64", "100.0", "80.00", "50.00"]]
    assert not speedup.formulas


def test_scaling_from_two_devices_on_and_with_failures() -> None:
    one, two, four = scaled()
    failed = {**one, "exp.status": "failure"}
    speedup, efficiency = scaling_tables(declared([failed, two, four]), "weak")[2:]
    assert speedup.texts() == [["alexnet", "8", "failure", "2.000", "3.636"]]
    assert efficiency.texts() == [["alexnet", "8", "failure", "100.0", "90.91"]]
    assert "where the smallest device count is 2, its speed-up is 2 by definition" in speedup.legend
    (only, *_) = scaling_tables(declared([one]), "weak")[2:]
    assert only.legend[0].endswith(": nothing to scale")


def test_custom_tables() -> None:
    records = [
        record(model, batch, time=batch * 10, exp__dtype=kind)
        for model in "ab"
        for batch in (1, 2)
        for kind in ("x", "y")
    ]
    (table,) = custom_tables(declared(records), ["exp.model", "exp.dtype"], ["exp.replica_batch"], ["results.time"])
    assert table.header == ["model", "dtype", "batch 1", "batch 2"]
    assert table.texts()[:2] == [["a", "x", "10.00", "20.00"], ["a", "y", "10.00", "20.00"]]
    (flat,) = custom_tables(
        declared(records), ["exp.model"], [], ["results.time"], aggregate="max",
        without=["exp.dtype", "exp.replica_batch"],
    )  # fmt: skip
    assert flat.texts() == [["a", "20.00"], ["b", "20.00"]]
    (text,) = custom_tables(
        declared(records),
        ["exp.model"],
        [],
        ["exp.dtype"],
        without=["exp.replica_batch", "exp.dtype"],
    )
    assert text.texts() == [["a", "x, y"], ["b", "x, y"]]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("mean", 17.0), ("min", 10.0), ("max", 30.0), ("sum", 51.0), ("count", 3.0), ("std", 11.27)],
)
def test_aggregates(aggregate: str, expected: float) -> None:
    records = [record(time=time, exp__repeat=n) for n, time in enumerate([10, 30, 11], 1)]
    (table,) = custom_tables(declared(records), ["exp.model"], [], ["results.time"], aggregate=aggregate)
    assert table.cells[0][0].value == pytest.approx(expected, rel=1e-3)


def test_a_cell_some_of_whose_runs_failed_is_marked() -> None:
    table = tables(record(exp__repeat=1), record(exp__repeat=2, status="failure", time=None))[0]
    assert table.texts() == [["alexnet", "100.0*", "10.00*"]]
    assert "*: some runs of this cell have no value" in table.legend


HOSTILE = "a|b<script>alert(1)</script>\\input{x}%_$\x1b[31m"


@pytest.mark.parametrize("form", list(FORMATS))
def test_every_format_holds_all_cells_and_escapes(form: str) -> None:
    words = write_tables(tables(record(HOSTILE, time=8), record("x", 2, None, "failure")), form)
    assert "125.0" in words
    assert "failure" in words
    assert "\x1b" not in words or form == "csv"
    if form in {"html", "markdown"}:
        assert "<script" not in words
    if form == "latex":
        assert "\\input{" not in words
        assert r"\_" in words
    if form == "csv":
        rows = list(csv.DictReader(words.splitlines()))
        assert len(rows) == 4
        assert {row["status"] for row in rows} == {"ok", "failure"}
    if form == "json":
        assert json.loads(words)[0]["cells"][0][0]["value"] == 125.0
    if form == "jsonl":
        cells = list(map(json.loads, words.splitlines()))
        assert [cell["value"] for cell in cells] == [125.0, 8.0, None, None]
        assert cells[0]["model"] == HOSTILE
    if form == "markdown":
        body = [line for line in words.splitlines() if line.startswith("|")]
        assert {line.replace("\\|", "").count("|") for line in body} == {5}


def test_parquet_has_numbers_as_numbers_and_words_as_words() -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    made = tables(record(HOSTILE, time=8), record("x", 2, None, "failure"))
    texts = Table("a count", ["tag"], [["v1"]], ["runs"], [[Cell("2026-11-21")]])
    rows = pyarrow.read_table(io.BytesIO(parquet([*made, texts]))).to_pylist()
    assert [row["value"] for row in rows] == [125.0, 8.0, None, None, None]
    assert [row["status"] for row in rows] == ["ok", "ok", "failure", "failure", "ok"]
    assert [row["text"] for row in rows] == [None] * 4 + ["2026-11-21"]
    assert rows[0]["model"] == HOSTILE
    assert rows[0]["table"] == made[0].title


@pytest.mark.parametrize(
    "name", ["t.md", "t.csv", "t.csv.gz", "t.json", "t.jsonl", "t.html", "t.tex", "t.parquet", "t"]
)
def test_the_name_of_the_output_file_says_the_format(dlbs: RunDlbs, tmp_path: Path, name: str) -> None:
    write_records(str(tmp_path / "r.json"), scaled())
    dlbs("report", "r.json", "-o", f"out/{name}", check=True)
    written = (tmp_path / "out" / name).read_bytes()
    begins = {
        "t.md": b"**", "t": b"**", "t.csv": b"table,", "t.csv.gz": b"\x1f\x8b", "t.json": b"[", "t.jsonl": b'{"table"', "t.html": b"<",
        "t.tex": b"\\begin", "t.parquet": b"PAR1",
    }  # fmt: skip
    assert written.startswith(begins[name])


def test_parquet_goes_to_files_and_pipes(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "r.json"), scaled())
    dlbs("report", "r.json", "--format", "parquet", "-o", "named.txt", check=True)
    assert (tmp_path / "named.txt").read_bytes().startswith(b"PAR1")
    lines = dlbs("report", "r.json", "--format", "jsonl", check=True).stdout.splitlines()
    assert {json.loads(line)["status"] for line in lines} == {"ok"}


def test_spreadsheets_see_no_formulas() -> None:
    words = write_tables(tables(record("=cmd()")), "csv")
    assert "'=cmd()" in words


def test_the_options_of_report(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "r.json"), scaled())
    done = dlbs("report", "r.json", "--type", "weak", "--format", "markdown", "--explain", "--output-file", "out.md")
    assert done.returncode == 0, done.stderr
    assert "| alexnet | 8" in (tmp_path / "out.md").read_text()
    done = dlbs(
        "report",
        "r.json",
        "--rows",
        "exp.num_gpus",
        "--values",
        "results.time",
        "--format",
        "csv",
        "--over",
        "exp.gpus",
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert dlbs("report", "r.json", "--scores", "--explain").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "exp.modle"], "--rows: no experiment has 'exp.modle' (did you mean 'exp.model'"),
        (
            ["--type", "weak", "--rows", "exp.model"],
            "--type weak: prints fixed tables (remove --rows, or --type weak)",
        ),
        (["--type", "weak", "--values", "results.time"], "(remove --values, or --type weak)"),
        (["--series", "nope"], "--series: PATH would have no effect"),
        (["--summary", "--values", "exp.modle"], "did you mean 'exp.model'"),
        (["--output-file", "/proc/nope/x"], "cannot be written"),
        (["--output-file", "out.xlsx"], ".xlsx is no format of tables (write .csv)"),
        (["--filter-query", '{"exp.model": "x"}'], "no experiments to report"),
    ],
)
def test_bad_input(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_records(str(tmp_path / "r.json"), scaled())
    done = dlbs("report", "r.json", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_chosen_columns_make_one_table_of_everything_else() -> None:
    """exp.gpus and the effective batch follow from the number of GPUs: neither is a row."""
    records = [make_record(model, batch, gpus=gpus) for model in ("a", "b") for batch in (8, 16) for gpus in (1, 2, 4)]
    rows, columns = usual_axes(declared(records), cols=["exp.num_gpus"])
    assert (rows, columns) == (["exp.model", "exp.replica_batch"], ["exp.num_gpus"])
    (table,) = custom_tables(declared(records), rows, columns, ["results.throughput"], without=["exp.effective_batch"])
    assert table.columns == ["exp.num_gpus 1", "exp.num_gpus 2", "exp.num_gpus 4"]
    assert table.rows == [["a", "8"], ["a", "16"], ["b", "8"], ["b", "16"]]
    assert all(isinstance(cell.value, float) for row in table.cells for cell in row)
