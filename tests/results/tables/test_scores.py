"""Scores: each number can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.results.tables.scores import Score, score_table, scores, total_score
from tests.made_logs import make_record

Records = list[dict[str, Any]]


def of(records: Records) -> list[Score]:
    return scores(records, load_config().declarations)


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
