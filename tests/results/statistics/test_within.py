"""Comparisons within one set of logs: which experiments are compared with which, and what is said of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import dlbs as package
from dlbs.core.errors import LogError
from dlbs.results.statistics.compare import MOST_VALUES, ComparisonBy, compare, compare_by
from dlbs.results.statistics.ratio import ESTIMATORS, METHODS, Rules
from dlbs.results.store.store import Store
from dlbs.results.tables.comparison import as_document, comparison_table, sentences, summary
from dlbs.results.tables.report import default_tables
from dlbs.results.tables.terminal import print_table
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

Records = list[dict[str, Any]]
TIMES = {"system": 13.0, "keep": 10.0, "arena": 20.0}


def runs(value: Any, time: float, *, count: int = 5, minute: int = 0, **options: Any) -> Records:
    """Repeats with one value of runtime.malloc."""
    made = [
        make_record(**{"time": time * (1 + 0.01 * (n % 3)), **options}, repeat=n + 1, seed=value) for n in range(count)
    ]
    start = {"exp.start_time": f"2026-11-21T10:{minute:02}:00"}
    return [{**one, **start, "runtime.malloc": value, "my.command": f"run --malloc {value}"} for one in made]


def test_combinations_of_parameters_are_compared() -> None:
    records = [
        {**one, "exp.dtype": dtype}
        for value, time in (("system", 13.0), ("keep", 10.0))
        for dtype, factor in (("float32", 1.0), ("float16", 0.5))
        for model in ("alexnet", "vgg16")
        for one in runs(value, factor * time, model=model, noise=0.001)
    ]
    records.append(make_record(repeat=9))
    found = compare_by(declared(records), Rules(by="runtime.malloc, exp.dtype"))
    assert found.baseline == "system + float32"
    assert found.left_out == 1
    assert not {"runtime.malloc", "exp.dtype"} & found.differences.keys()
    other = compare_by(declared(records), Rules(by="runtime.malloc,exp.dtype", baseline="keep, float16"))
    assert other.baseline == "keep + float16"
    ratios = {
        value: round(one.matches[0].estimate.ratio, 1)
        for value, one in zip(other.values, other.comparisons, strict=True)
    }  # type: ignore[union-attr]
    assert ratios == {"system + float32": 0.4, "system + float16": 0.8, "keep + float32": 0.5}
    assert as_document(other)["by"] == "runtime.malloc,exp.dtype"
    assert "by malloc + dtype" in comparison_table(other).title
    with pytest.raises(LogError, match=r"no experiment has 'exp\.dtyp'"):
        compare_by(declared(records), Rules(by="runtime.malloc,exp.dtyp"))
    with pytest.raises(LogError, match="no experiment has malloc \\+ dtype = keep,int8"):
        compare_by(declared(records), Rules(by="runtime.malloc,exp.dtype", baseline="keep,int8"))


def sweep(*, models: tuple[str, ...] = ("alexnet",), batches: tuple[int, ...] = (16,), **options: Any) -> Records:
    """A sweep over allocators in the order of TIMES. They ran in another one, as with `--order random`."""
    return [
        one
        for minute, (value, time) in enumerate(TIMES.items())
        for model in models
        for batch in batches
        for one in runs(value, time, minute=9 - minute, model=model, batch=batch, **options)
    ]


def by(records: Records, name: str = "runtime.malloc", *, baseline: Any = None, **rules: Any) -> ComparisonBy:
    return compare_by(declared(records), Rules(by=name, baseline=baseline, **rules))


def test_values_are_compared_with_the_first_one_in_the_plan() -> None:
    made = by(sweep())
    assert made.baseline == "system"
    assert made.values == ["keep", "arena"]
    assert made.counts == {"keep": {"faster": 1}, "arena": {"slower": 1}}
    assert [match.verdict for match in made.regressions] == ["slower"]


def test_the_baseline_may_be_chosen_and_the_others_keep_their_order() -> None:
    made = by(sweep(), baseline="arena")
    assert made.values == ["system", "keep"]
    assert made.counts == {"system": {"faster": 1}, "keep": {"faster": 1}}
    assert not made.regressions


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
@pytest.mark.parametrize("metric", ["results.throughput", "results.time", "results.memory_host"])
def test_numbers_and_verdicts_are_those_of_two_filtered_sets(estimator: str, metric: str) -> None:
    records = sweep(models=("a", "b"), batches=(1, 2))
    for value, one in zip(("keep", "arena"), by(records, metric=metric, estimator=estimator).comparisons, strict=True):
        base, other = (
            declared(record for record in records if record["runtime.malloc"] == side) for side in ("system", value)
        )
        apart = compare(base, other, Rules(metric=metric, estimator=estimator))
        inside = {match.label: (match.values, match.estimate, match.verdict) for match in one.matches}
        assert inside == {match.label: (match.values, match.estimate, match.verdict) for match in apart.matches}
        assert len(inside) == 4


def test_what_follows_from_the_parameter_is_not_matched_by_and_is_named() -> None:
    made = by(sweep(batches=(1, 2)))
    assert made.experiments == ["batch 1", "batch 2"]
    assert list(made.differences) == ["my.command"]
    assert "also differs: my.command: run --malloc system, run --malloc keep, run --malloc arena" in (
        comparison_table(made).legend
    )


def test_a_group_without_the_baseline_is_new_and_one_without_a_value_is_missing() -> None:
    records = [
        one
        for one in sweep(batches=(1, 2))
        if (one["runtime.malloc"], one["exp.replica_batch"]) not in {("system", 1), ("keep", 2)}
    ]
    made = by(records)
    assert made.counts == {"keep": {"missing": 1, "new": 1}, "arena": {"slower": 1, "new": 1}}
    rows = [(row[0], row[1], row[-1]) for row in comparison_table(made).texts()]
    assert rows == [
        ("batch 1", "keep", "new"),
        ("batch 1", "arena", "new"),
        ("batch 2", "system", "baseline"),
        ("batch 2", "keep", "missing"),
        ("batch 2", "arena", "slower"),
    ]


def test_experiments_without_the_parameter_are_left_out_and_counted() -> None:
    records = [*sweep(), make_record(), make_record("other")]
    made = by(records)
    assert made.left_out == 2
    assert "2 experiments have no runtime.malloc and are left out" in comparison_table(made).legend
    assert made.counts == by(sweep()).counts


def test_doubtful_runs_and_single_runs_are_judged_as_between_two_sets() -> None:
    records = [*runs("system", 13.0), *runs("keep", 10.0, minute=1)]
    records[-1]["results.warnings"] = ["CPU contention: 69 %"]
    table = comparison_table(by(records))
    assert [row[4] for row in table.texts()] == ["5", "4 of 5"]
    assert any("keep: 1 of 5 runs is doubtful (CPU contention) and left out" in line for line in table.formulas)
    few = [*runs("system", 13.0, count=1), *runs("keep", 10.0, count=1, minute=1)]
    assert by(few).counts == {"keep": {"inconclusive": 1}}
    assert by(few, trust_single_runs=True).counts == {"keep": {"faster": 1}}


def test_a_note_about_the_baseline_is_given_once() -> None:
    records = sweep()
    next(one for one in records if one["runtime.malloc"] == "system")["results.warnings"] = ["CPU contention: 69 %"]
    notes = comparison_table(by(records)).formulas
    assert [line for line in notes if "doubtful" in line] == [
        "system: 1 of 5 runs is doubtful (CPU contention) and left out"
    ]


def test_simultaneous_intervals_count_all_values_and_groups() -> None:
    made = by(sweep(batches=(1, 2)), simultaneous=True)
    assert [one.confidence for one in made.comparisons] == [pytest.approx(1 - 0.05 / 4)] * 2


def test_ignored_parameters_make_repeats_and_matching_ones_groups() -> None:
    records = [{**one, "my.seed": one["exp.repeat"]} for one in sweep()]
    assert len(by(records).experiments) == 5
    assert by(records, ignore=["my.seed"]).counts == {"keep": {"faster": 1}, "arena": {"slower": 1}}
    assert by(records, match=["exp.model"]).experiments == ["alexnet, training, float32, gpu, batch 16"]


def test_sentences_have_the_ratio_of_the_table() -> None:
    exact = {"batches": 1, "noise": 0.0}
    records = [*runs("system", 13.0, **exact), *runs("keep", 10.0, minute=1, **exact)]
    (faster,) = sentences(by(records))
    assert faster.startswith("keep ran 1.30 ± 0.0")
    assert faster.endswith(" times as fast as system")
    (slower,) = sentences(by(records, baseline="keep"))
    assert slower.startswith("system ran 0.77 ± 0.0")
    assert slower.endswith(" times as fast as keep")
    (in_time,) = sentences(by(records, metric="results.time"))
    assert in_time.startswith("keep took 0.77 ± 0.0")
    assert in_time.endswith(" times as long as system")


@pytest.mark.parametrize(
    ("time", "more", "metric", "said"),
    [
        (13.0, {}, "results.throughput", "keep ran as fast as system, within 3 % (1.00 ± 0.0"),
        (13.35, {}, "results.throughput", "keep against system: inconclusive (0.97 ± 0.0"),
        (13.0, {"status": "failure"}, "results.throughput", "keep against system: broken"),
        (
            13.0,
            {"results__memory_host": 3 << 24},
            "results.memory_host",
            "results.memory_host with keep is 3.000 ± 0.000 times that with system: worse",
        ),
        (
            13.0,
            {},
            "results.memory_host",
            "results.memory_host with keep is the same as with system, within 3 % (1.000 ± 0.000 times)",
        ),
    ],
)
def test_sentences_of_other_verdicts(time: float, more: dict[str, Any], metric: str, said: str) -> None:
    exact = {"batches": 1, "noise": 0.0}
    (found,) = sentences(
        by([*runs("system", 13.0, **exact), *runs("keep", time, minute=1, **exact, **more)], metric=metric)
    )
    assert found.startswith(said)


def test_sentences_name_the_experiment_where_there_are_several_and_the_parameter_where_a_value_needs_it() -> None:
    assert [line.partition(": ")[0] for line in sentences(by(sweep(batches=(1, 2))))] == [
        *["batch 1"] * 2,
        *["batch 2"] * 2,
    ]
    flags = [*runs(False, 13.0), *runs(True, 10.0, minute=1)]
    assert " as fast as malloc=false" in sentences(by(flags))[0]
    assert by(flags, baseline="true").baseline is True
    assert by(flags, baseline=False).baseline is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "runtime.maloc"}, "no experiment has 'runtime.maloc'.*did you mean 'runtime.malloc'"),
        ({"name": "exp.dtype"}, "all 15 experiments have 'float32'.*-Vexp.dtype="),
        ({"baseline": "kep"}, "no experiment has runtime.malloc = kep.*did you mean 'keep'"),
        ({"ignore": ["runtime.malloc"]}, "cannot be in --match or --ignore"),
        ({"match": ["runtime.malloc"]}, "cannot be in --match or --ignore"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(LogError, match=said):
        by(sweep(), **options)


def test_a_measured_quantity_is_not_a_parameter() -> None:
    records = [make_record(repeat=n, time=n) for n in range(1, MOST_VALUES + 2)]
    with pytest.raises(LogError, match=f"has {MOST_VALUES + 1} values, more than {MOST_VALUES}"):
        by(records, "results.time")
    assert len(by(records[:-1], "results.time").values) == MOST_VALUES - 1


def test_other_software_is_not_compared_by_accident() -> None:
    records = [
        make_record(model, batch, repeat=n) for model, batch in (("alexnet", 1), ("vgg16", 2)) for n in (1, 2, 3)
    ]
    with pytest.raises(LogError, match=r"they also differ in exp\.model.*--ignore exp\.model"):
        by(records, "exp.replica_batch")
    assert by(records, "exp.model").experiments == ["training, float32, gpu"]


def test_experiments_that_all_differ_in_something_else_are_not_compared() -> None:
    records = [
        {**one, "my.step": number} for number, one in enumerate([*runs("system", 13.0), *runs("keep", 10.0, minute=1)])
    ]
    with pytest.raises(LogError, match=r"they also differ in my\.step.*--ignore my\.step"):
        by(records)
    assert by(records, ignore=["my.step"]).counts == {"keep": {"faster": 1}}


def test_the_table_fits_80_columns_and_loses_nothing() -> None:
    out = io.StringIO()
    table = comparison_table(by(sweep(models=("resnet18",), batches=(2, 4))))
    print_table(table, Console(width=80, file=out, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for word in ("batch 2", "system", "keep", "arena", "baseline", "faster", "slower"):
        assert word in out.getvalue()
    assert "…" not in out.getvalue()


def test_the_api_takes_one_set_with_a_parameter_or_two_sets(tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", sweep())
    made = package.compare(str(tmp_path / "logs"), by="runtime.malloc", baseline="system")
    assert made.counts == {"keep": {"faster": 1}, "arena": {"slower": 1}}
    wrong: list[dict[str, Any]] = [{}, {"b": [], "by": "x"}, {"b": [], "baseline": "x"}]
    for arguments in wrong:
        with pytest.raises(TypeError, match="two sets of results, or one with by=NAME"):
            package.compare([], **arguments)


def test_the_command_prints_all_formats(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", sweep(batches=(1, 2)))
    command = ("compare", "logs", "--by", "runtime.malloc")
    done = dlbs(*command)
    assert done.returncode == 0, done.stderr
    assert " times as fast as system" in done.stdout
    assert done.stderr.startswith("keep over system: 2 experiments: 2 faster; geometric mean 1.3")
    document = json.loads(dlbs(*command, "--format", "json").stdout)
    assert (document["by"], document["baseline"], document["regressions"]) == ("runtime.malloc", "system", 2)
    assert [one["value"] for one in document["comparisons"]] == ["keep", "arena"]
    assert [one["verdict"] for one in document["comparisons"][0]["experiments"]] == ["faster", "faster"]
    assert len(document["summary"]) == 4
    rows = list(csv.DictReader(io.StringIO(dlbs(*command, "--format", "csv").stdout)))
    ratios = [row for row in rows if row["column"] == "over system" and row["malloc"] == "keep"]
    assert len(ratios) == 2
    assert all(1.2 < float(row["low"]) < float(row["value"]) < float(row["high"]) < 1.4 for row in ratios)
    for form, beginning in (("markdown", "**"), ("latex", r"\begin{table}"), ("html", "<table>")):
        written = dlbs(*command, "--format", form).stdout
        assert written.startswith(beginning)
        assert " times as fast as system" in written
    dlbs(*command, "-o", "by.md", check=True)
    assert (tmp_path / "by.md").read_text().startswith("**")


def test_a_gate_needs_a_baseline(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", sweep())
    command = ("compare", "logs", "--by", "runtime.malloc", "--fail-on-regression")
    done = dlbs(*command)
    assert done.returncode == 2
    assert "requires --baseline" in done.stderr
    assert dlbs(*command, "--baseline", "system").returncode == 3
    assert dlbs(*command, "--baseline", "arena").returncode == 0


def test_several_paths_and_a_store_are_one_set(dlbs: RunDlbs, tmp_path: Path) -> None:
    for value, time in TIMES.items():
        make_logs(tmp_path / value, runs(value, time))
    done = dlbs("compare", *TIMES, "--by", "runtime.malloc", "--baseline", "system")
    assert "keep over system: 1 experiment: 1 faster; ratio 1.2" in done.stderr
    with Store(str(tmp_path / "results.db")) as store:
        store.add(sweep())
    from_store = dlbs("compare", "--db", "results.db", "--by", "runtime.malloc", "--baseline", "system")
    assert from_store.returncode == 0, from_store.stderr
    assert "keep over system: 1 experiment: 1 faster; ratio 1.2" in from_store.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'A'"),
        (["logs"], "Missing argument 'B'"),
        (["logs"] * 3, "--by NAME compares within"),
        (["logs", "logs", "--baseline", "keep"], "--baseline requires --by"),
        (["--by", "runtime.malloc"], "no logs or results given"),
        (["logs", "--by", "exp.nope"], "--by exp.nope: no experiment has 'exp.nope'"),
    ],
)
def test_usage(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    make_logs(tmp_path / "logs", sweep())
    done = dlbs("compare", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_summary_has_a_line_for_each_value() -> None:
    assert [line.split()[0] for line in summary(by(sweep())).splitlines()] == ["keep", "arena"]


def test_the_notes_name_the_method_of_each_interval() -> None:
    def methods(*counts: int, estimator: str = "rank") -> list[str]:
        records = [
            one
            for minute, (value, count) in enumerate(zip(TIMES, counts, strict=False))
            for one in runs(value, TIMES[value], count=count, minute=minute)
        ]
        return [line for line in comparison_table(by(records, estimator=estimator)).notes if "interval:" in line or line.startswith("interval of")]  # fmt: skip

    ratio = "over system: median of the ratios of all pairs of runs (Hodges-Lehmann)"
    assert methods(5, 5) == [f"{ratio}; interval: {METHODS['ranks']}"]
    assert methods(3, 3) == [f"{ratio}; interval: {METHODS['student']}"]
    assert methods(3, 3, estimator="mean") == [
        f"over system: ratio of the means of the runs; interval: {METHODS['bootstrap']}"
    ]
    assert methods(3, 8, 3) == [
        f"interval of keep: {METHODS['ranks']}",
        f"interval of arena: {METHODS['student']}",
    ]


def test_the_method_is_named_for_two_sets_too() -> None:
    table = comparison_table(compare(declared(runs("system", 13.0, count=3)), runs("keep", 10.0, count=3)))
    assert any(line.endswith(f"interval: {METHODS['student']}") for line in table.legend)
    assert "Mann-Whitney" not in " ".join(table.notes)


def test_software_that_changed_besides_what_is_compared_is_listed() -> None:
    old, new = {"exp__env__driver": "570.86"}, {"exp__env__driver": "580.65"}
    records = runs("system", 13.0, **old) + runs("keep", 10.0, **new)
    line = "also differs: exp.env.driver: 570.86 with system, 580.65 with keep"
    assert line in comparison_table(by(records)).legend
    legend = comparison_table(by([*runs("keep", 13.0, **old), *runs("keep", 10.0, **new)], "exp.env.driver")).legend
    assert not any("also differs" in line for line in legend)


def test_an_allocator_that_differs_besides_what_is_compared_is_pointed_out() -> None:
    cpu = {"exp__device_type": "cpu"}
    records = runs("system", 13.0, results__malloc="system", **cpu) + runs("keep", 10.0, results__malloc="keep", **cpu)
    kept = "memory freed by a batch was kept"
    assert not any(line.startswith(kept) for line in comparison_table(by(records)).legend)
    renamed = [{**one, "my.version": one.pop("runtime.malloc")} for one in map(dict, records)]
    assert any(line.startswith(kept) for line in comparison_table(by(renamed, "my.version")).legend)


def test_a_command_is_an_identity_of_its_own() -> None:
    records = [
        {
            "exp.framework": "command",
            "command.line": f"{program} {{file}}",
            "command.argv": [program, file],
            "file": file,
        }
        | {"exp.repeat": repeat, "exp.status": "ok", "results.time": time * length + 0.01 * repeat}
        for program, time in (("sort", 30.0), ("wc", 2.0))
        for file, length in (("a", 1), ("b", 3))
        for repeat in (1, 2, 3)
    ]
    records += [
        {"exp.framework": "command", "command.line": "sleep {n}", "command.argv": ["sleep", "1"], "n": 1}
        | {"exp.repeat": repeat, "exp.status": "ok", "results.time": 1000.0 + repeat}
        for repeat in (1, 2, 3)
    ]
    made = by(records, "file")
    assert made.experiments == ["sort {file}", "wc {file}"]
    assert made.counts == {"b": {"slower": 2}}
    assert made.differences == {}
    (table,) = default_tables(declared(records))
    assert table.header[:2] == ["command", "file"]
    by_command = by(records, "command.line")
    assert comparison_table(by_command).header[1] == "command"
    old, new = ([one for one in records if one["command.line"] == line] for line in ("sort {file}", "sleep {n}"))
    (match,) = compare(declared([one for one in old if one["file"] == "a"]), new).matches
    assert match.label == "sort {file} → sleep {n}"


def test_units_of_throughput_are_told_apart() -> None:
    units = {"alexnet": "images", "bert": "sequences"}
    records = [{**one, "results.unit": units[one["exp.model"]]} for one in sweep(models=("alexnet", "bert"))]
    table = default_tables(declared(records))[0]
    assert table.columns[0] == "Throughput, images/s or sequences/s"
    assert {"images/s: alexnet", "sequences/s: bert"} <= set(table.legend)
    (comparison,) = by(records, "exp.model").comparisons
    assert comparison.cautions == [
        "throughput counts images in alexnet and sequences in bert: ratios between them mean little"
    ]
