"""Scores: each number can be worked out by hand."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from dlbs.results.runs import Runs
from dlbs.results.statistics.compare import best_of
from dlbs.results.tables.scores import Score, score_table, scores, total_score
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

Records = list[dict[str, Any]]


def of(records: Records) -> list[Score]:
    return scores(declared(records))


def runs(model: str, *throughputs: float | None, **more: Any) -> Records:
    return [
        {**make_record(model, repeat=n, status="ok" if value else "failure", **more), "results.throughput": value}
        for n, value in enumerate(throughputs, 1)
    ]


def test_a_benchmark_that_ran_three_times_and_failed_once() -> None:
    (score,) = of(runs("a", 90.0, 100.0, 110.0, None))
    assert (score.n, score.fail, score.ngpu, score.weight) == (4, 1, 1, 1.0)
    assert score.bench == "a, training, float32, gpu, batch 16"
    assert score.perf == pytest.approx(100)
    assert score.std == pytest.approx(0.1)
    assert score.sem == pytest.approx(0.1 / math.sqrt(3))
    assert score.score == pytest.approx(75)
    assert score.peak_memory == 16 << 20


def test_the_total_is_the_weighted_geometric_mean() -> None:
    made = of([*runs("a", 100.0, exp__weight=3.0), *runs("b", 10.0), *runs("ignored", 1e9, exp__weight=0)])
    assert total_score(made) == pytest.approx((100**3 * 10) ** (1 / 4))


def test_a_benchmark_that_always_fails_makes_the_total_zero_and_is_named() -> None:
    table = score_table(of([*runs("a", 100.0), *runs("b", None, None)]))
    assert table.legend[:3] == [
        "score: 0.0 (weighted geometric mean)",
        "no successful run: b",
        "score without them: 100.0",
    ]
    assert table.texts()[1] == ["b", "2", "2", "1", "0.0", "-", "-", "-", "0.0", "1.000"]


def test_one_run_has_the_deviation_of_its_batches() -> None:
    table = score_table(of([make_record(batches=100)]))
    assert any("batch times" in line for line in table.legend)
    assert float(table.texts()[0][6]) == pytest.approx(2.0, rel=0.01)  # std%
    assert float(table.texts()[0][5]) == pytest.approx(0.2, rel=0.01)  # sem%: a tenth of it


def test_skipped_experiments_do_not_count() -> None:
    (score,) = of([*runs("a", 100.0), make_record("a", repeat=9, status="skipped")])
    assert score.n == 1


def test_a_cpu_is_no_gpu_and_failures_and_doubts_are_explained() -> None:
    made = [
        make_record("a", exp__num_gpus=0, results__warnings=["drift: +7 %"]),
        make_record("b", exp__num_gpus=0, status="failure"),
    ]
    table = score_table(of(made))
    assert [row[3] for row in table.texts()] == ["0", "0"]
    assert table.texts()[0][4].endswith(" ⚠")
    assert "⚠: 1 of 1 run doubtful: drift 1" in table.legend
    assert "b: failure: exit code 1" in table.legend


def test_formulas_with_their_numbers() -> None:
    table = score_table(of([*runs("a", 90.0, 110.0), *runs("b", 25.0)]), explain=True)
    assert "a: perf = mean throughput of 2 runs = 100.0" in table.formulas
    assert "a: score = perf · (n - fail) / n = 100.0 · (2 - 0) / 2 = 100.0" in table.formulas
    assert table.formulas[-1] == "score without failed benchmarks = exp((1·ln(100.0) + 1·ln(25.00)) / (1 + 1)) = 50.00"


def test_batches_and_types_are_benchmarks_of_their_own() -> None:
    assert [score.bench for score in of([make_record(batch=batch) for batch in (16, 2)])] == [
        "batch 2",
        "batch 16",
    ]


def test_the_best_settings_and_those_that_are_not_worse(dlbs: RunDlbs, tmp_path: Path) -> None:
    """The throughput of alexnet is 100 at batch 1, and the same at batches 2 and 4, within 2 %."""
    records = [
        make_record("alexnet", batch, time=10 * max(1, batch / 2), repeat=repeat, noise=0.001, seed=batch)
        for batch in (1, 2, 4)
        for repeat in range(1, 6)
    ]
    records += [make_record("vgg16", batch) for batch in (1, 2)] + [make_record("lenet", 1, status="failure")]
    logs = str(make_logs(tmp_path / "logs", records))
    (table,) = json.loads(dlbs("report", logs, "--best", "--json", check=True).stdout)
    rows = [[*labels, cells[-1]["value"]] for labels, cells in zip(table["rows"], table["cells"], strict=True)]
    assert sorted(row[1] for row in rows[:2]) == ["batch 2", "batch 4"]
    assert [(row[0], row[2]) for row in rows] == [
        ("alexnet", "best of 3"), ("alexnet", "not worse"), ("vgg16", "best of 2"), ("vgg16", "too few runs"), ("lenet", "no value (failure)"),
    ]  # fmt: skip
    times = dlbs(
        "report", logs, "--best", "--values", "results.time", "--per", "exp.framework", "--format", "csv"
    ).stdout
    assert "pytorch" in times
    assert "best of 5" in times
    assert "--per requires --best" in dlbs("report", logs, "--per", "exp.model").stderr
    assert "--scores would have no effect" in dlbs("report", logs, "--best", "--scores").stderr
    assert "did you mean 'exp.model'" in dlbs("report", logs, "--best", "--per", "exp.modl").stderr


def test_many_settings_with_few_runs_are_counted(dlbs: RunDlbs, tmp_path: Path) -> None:
    logs = str(make_logs(tmp_path / "logs", [make_record("alexnet", 2**n, time=2.0**n + n) for n in range(7)]))
    (table,) = json.loads(dlbs("report", logs, "--best", "--json", check=True).stdout)
    assert [labels[1] for labels in table["rows"]][3:] == ["4 others"]
    assert [cells[-1]["value"] for cells in table["cells"]] == ["best of 7", *["too few runs"] * 3]
    assert " to " in table["cells"][-1][0]["value"]


def test_one_undisturbed_run_does_not_make_a_setting_the_best() -> None:
    records = [
        {
            "exp.replica_batch": batch,
            "exp.repeat": n,
            "exp.status": "ok",
            "results.time": time,
            "results.warnings": doubts,
        }
        for batch, times in {1: [10.0, 10.0, 10.0], 2: [1.0, 20.0, 20.0]}.items()
        for n, time in enumerate(times)
        for doubts in [["drift"] if time > 10 else []]
    ]
    records.append({"exp.replica_batch": 4, "exp.status": "failure"})
    found = best_of(Runs.of(records), ["exp.replica_batch"], "results.time")
    assert found is not None
    assert (found.runs[0]["exp.replica_batch"], found.settings, found.lost) == (1, 2, 1)


@pytest.mark.parametrize("runs", [3, 5])
def test_the_setting_that_is_truly_the_best_is_listed(runs: int) -> None:
    """Settings are all equal, so any may be the best one; at most 5 % may be missed (more than 8 of 60 would have a probability of 0.3 %)."""
    source = random.Random(7)
    missed = 0
    for _ in range(60):
        records = [
            {"exp.replica_batch": batch, "exp.repeat": n, "exp.status": "ok", "results.time": source.gauss(10, 0.2)}
            for batch in range(8)
            for n in range(runs)
        ]
        found = best_of(Runs.of(records), ["exp.replica_batch"], "results.time")
        assert found is not None
        listed = [found.runs, *(match.b for match in found.others)]
        missed += not any(one[0]["exp.replica_batch"] == 0 for one in listed)
    assert missed <= 8
    assert best_of(Runs.of([{"exp.status": "failure"}]), ["exp.replica_batch"], "results.time") is None
