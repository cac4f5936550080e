"""Results of inference under load in tables, comparisons, units and doubts."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark_core.doubts import doubts_of
from dlbs.results.keys import better_of, unit_of
from dlbs.results.runs import usual_metric
from dlbs.results.statistics.compare import compare
from dlbs.results.statistics.ratio import Rules, logged_interval
from dlbs.results.tables.comparison import comparison_table
from dlbs.results.tables.report import default_tables, usual_values
from tests.made_logs import declared, make_record
from tests.results.plots.test_latency import SEARCH, SWEEP, served


def test_a_table_has_rates_percentiles_and_validity() -> None:
    (table,) = default_tables(declared(SWEEP))
    assert table.columns == ["Rate, queries/s", "Latency p50, ms", "Latency p99, ms", "Valid"]
    assert [row[-1] for row in table.rows] == ["10.0", "20.0", "40.0", "60.0", "80.0"]
    rate, middle, tail, valid = table.cells[0]
    assert (rate.value, middle.value, tail.value, valid.value) == (10.0, 5.0, 15.0, "true")
    assert (tail.low, tail.high) == (12.5, 20.0)
    assert table.cells[-1][-1].value == "false"
    assert "[low, high] 1 run: 95 % CI from its queries; ignores variation between runs" in table.legend


def test_a_table_shows_the_highest_rate_of_a_search() -> None:
    (table,) = default_tables(declared([SEARCH]))
    assert table.columns[0] == "Highest rate, queries/s"
    assert (table.cells[0][0].low, table.cells[0][0].high) == (60.0, 64.0)
    assert table.legend[0] == "[low, high] 1 run: 95 % CI from its queries or trials; ignores variation between runs"


def test_how_a_highest_rate_was_computed() -> None:
    (table,) = default_tables(declared([SEARCH]), explain=True)
    assert "62.00, a single run; [60.00, 64.00]: 95 % CI from its trials" in table.formulas[0]


def test_what_was_timed_keeps_its_columns_beside_what_was_served() -> None:
    assert usual_values(declared([make_record()])) == ["results.throughput", "results.time"]
    assert usual_values(declared([make_record(), SWEEP[0]]))[:3] == [
        "results.throughput",
        "results.time",
        "results.serving.qps",
    ]
    assert usual_values(declared([SEARCH]))[0] == "results.serving.max_qps"


@pytest.mark.parametrize(
    ("records", "metric"),
    [
        ([SEARCH], "results.serving.max_qps"),
        (SWEEP, "results.serving.latency_target"),
        ([served(5.0, 5.0) | {"results.serving.scenario": "offline"}], "results.throughput"),
        ([SWEEP[0], make_record()], "results.throughput"),
    ],
)
def test_what_is_compared(records: list[dict[str, Any]], metric: str) -> None:
    assert usual_metric(declared(records)) == metric


def test_two_single_runs_are_compared_by_the_intervals_that_they_logged() -> None:
    one, other = served(10.0, 5.0), served(10.0, 10.0)
    found = compare(declared([one]), [other], Rules(metric="results.serving.latency_p99", trust_single_runs=True))
    (match,) = found.matches
    assert match.estimate is not None
    assert match.estimate.interval is not None
    assert match.estimate.ratio == pytest.approx(2.0)
    # Each interval is [value / 1.2, value * 1.333]: the ratio's is as wide as both together.
    assert 1.2 < match.estimate.interval.low < 1.5
    assert 2.6 < match.estimate.interval.high < 3.2
    assert match.verdict == "worse"
    assert any("both runs logged" in line for line in comparison_table(found).legend)


@pytest.mark.parametrize("bounds", [None, 3, [1.0], [1.0, None], [2.0, 1.0], [True, 2.0], ["1", "2"], [0.0, 1.0]])
def test_bounds_that_are_none_are_no_interval(bounds: object) -> None:
    assert logged_interval({"results.serving.latency_p99_ci95": bounds}, "results.serving.latency_p99") is None


def test_units_and_what_is_better() -> None:
    assert unit_of("results.serving.latency_p999") == unit_of("results.serving.ttft_p50_ci95") == "ms"
    assert unit_of("results.serving.max_qps") == unit_of("results.serving.offline_qps") == "queries/s"
    for name in (
        "max_qps",
        "qps_steady",
        "tokens_per_second",
        "tokens_per_second_user",
        "goodput",
        "goodput_share",
        "cache_hit_rate",
    ):
        assert better_of(f"results.serving.{name}") == 1
    assert better_of("results.serving.latency_p99") == better_of("results.serving.queue_time") == -1


def test_warnings_of_serving_are_known_kinds() -> None:
    warnings = [
        "invalid result: LoadGen says: Reduce target QPS; see docs/serving.md",
        "rejected queries: 3 of 100, which count as too late; lower serving.target_qps",
        "late load generator: queries were issued 1 ms late; leave it a CPU",
        "imprecise limit: ±9 % after 20 trials; raise serving.find_trials",
        "limit not reached: all trials met the bounds; the limit is above",
        "server not restarted: repeated searches have new clients of the same server; restart it between them",
    ]
    kinds = doubts_of(served(1.0, 1.0) | {"results.warnings": warnings})
    assert list(kinds) == [warning.partition(":")[0] for warning in warnings]
