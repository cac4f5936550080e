"""Results of inference under load in tables, comparisons, units and doubts."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.doubts import doubts_of
from dlbs.results.keys import better_of, unit_of
from dlbs.results.statistics.compare import compare
from dlbs.results.statistics.rules import Rules
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.comparison import comparison_table
from dlbs.results.tables.default import default_tables, usual_values
from dlbs.results.underload import logged_interval, search_lines
from tests.made_logs import make_record
from tests.results.plots.test_latency import SEARCH, SWEEP, served

DECLARATIONS = load_config().declarations


def test_a_table_has_rates_percentiles_and_validity() -> None:
    (table,) = default_tables(SWEEP, DECLARATIONS)
    assert table.columns == ["Rate, queries/s", "Latency p50, ms", "Latency p99, ms", "Valid"]
    assert [row[-1] for row in table.rows] == ["10.0", "20.0", "40.0", "60.0", "80.0"]
    rate, middle, tail, valid = table.cells[0]
    assert (rate.value, middle.value, tail.value, valid.value) == (10.0, 5.0, 15.0, "true")
    assert (tail.low, tail.high) == (12.5, 20.0)
    assert table.cells[-1][-1].value == "false"
    assert "[low, high] 1 run: 95 % CI from its queries; ignores variation between runs" in table.legend


def test_a_table_shows_the_limits_of_the_processes_of_a_search() -> None:
    limits = {"results.serving.max_qps_per_process": [57.5, 66.25], "results.serving.max_qps_processes": 2}
    (table,) = default_tables([SEARCH | limits], DECLARATIONS)
    assert table.columns[0] == "Highest rate, queries/s"
    assert (table.cells[0][0].low, table.cells[0][0].high) == (60.0, 64.0)
    assert table.legend[:3] == [
        "[low, high] of the highest rate, 1 run: 95 % CI from its processes",
        "[low, high] 1 run: 95 % CI from its queries; ignores variation between runs",
        "Highest rate 62.00: 2 processes, 57.50, 66.25",
    ]


def test_how_a_highest_rate_was_computed() -> None:
    (table,) = default_tables([SEARCH], DECLARATIONS, explain=True)
    assert "62.00, a single run; [60.00, 64.00]: 95 % CI from its processes" in table.formulas[0]


@pytest.mark.parametrize("limits", [None, 3, [], ["x", None, True]])
def test_limits_that_are_no_numbers_are_not_shown(limits: object) -> None:
    assert search_lines([SEARCH | {"results.serving.max_qps_per_process": limits}]) == []


def test_only_some_of_many_searches_are_listed() -> None:
    searches = [
        SEARCH | {"results.serving.max_qps": float(rate), "results.serving.max_qps_per_process": [float(rate)]}
        for rate in range(1, 14)
    ]
    lines = search_lines(searches)
    assert lines[0] == "Highest rate 13.00: 1 process, 13.00"
    assert lines[-1] == "and 3 more searches"


def test_what_was_timed_keeps_its_columns_beside_what_was_served() -> None:
    assert usual_values([make_record()]) == ["results.throughput", "results.time"]
    assert usual_values([make_record(), SWEEP[0]])[:3] == ["results.throughput", "results.time", "results.serving.qps"]
    assert usual_values([SEARCH])[0] == "results.serving.max_qps"


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
    assert usual_metric(records) == metric


def test_two_single_runs_are_compared_by_the_intervals_that_they_logged() -> None:
    one, other = served(10.0, 5.0), served(10.0, 10.0)
    found = compare([one], [other], DECLARATIONS, Rules(metric="results.serving.latency_p99", trust_single_runs=True))
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
    assert unit_of("results.serving.max_qps") == unit_of("results.serving.max_qps_per_process") == "queries/s"
    assert better_of("results.serving.max_qps") == better_of("results.serving.tokens_per_second") == 1
    assert better_of("results.serving.latency_p99") == better_of("results.serving.queue_time") == -1


def test_warnings_of_serving_are_known_kinds() -> None:
    warnings = [
        "invalid result: LoadGen says: Reduce target QPS; see docs/serving.md",
        "rejected queries: 3 of 100, which count as too late; lower serving.target_qps",
        "late load generator: queries were issued 1 ms late; leave it a CPU",
        "imprecise limit: ±9 % after 20 trials; raise serving.find_trials",
        "limit not reached: all trials met the bounds; the limit is above",
        "one process: the interval ignores how processes differ; raise serving.find_processes",
        "server not restarted: the interval covers client processes; restart it and search again",
    ]
    kinds = doubts_of(served(1.0, 1.0) | {"results.warnings": warnings})
    assert list(kinds) == [warning.partition(":")[0] for warning in warnings]
