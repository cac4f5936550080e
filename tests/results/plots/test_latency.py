"""The plot of latency against load."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.page.report import figures_of
from dlbs.results.plots.draw import Point
from dlbs.results.plots.kinds import draw
from dlbs.results.plots.limits import knee_of, loads_of
from dlbs.results.plots.plot import Options
from dlbs.results.runs import Runs
from dlbs.results.tables.table import Cell
from tests.made_logs import declared, make_record

Records = list[dict[str, Any]]


def served(rate: float, latency: float, repeat: int = 1, model: str = "a", **more: Any) -> dict[str, Any]:
    """A run of the server scenario."""
    record = make_record(model, 4, repeat=repeat)
    return record | {
        "exp.phase": "serving", "exp.id": f"{model}-{rate}-{repeat}", "serving.scenario": "server", "serving.target_qps": rate,
        "serving.target_latency": 50.0, "results.serving.qps": rate, "results.serving.offered_qps": rate,
        "results.serving.latency_p50": latency, "results.serving.latency_p90": 2 * latency, "results.serving.latency_p99": 3 * latency,
        "results.serving.latency_p99_ci95": [2.5 * latency, 4 * latency], "results.serving.scenario": "server",
        "results.serving.valid": 3 * latency <= 50, "results.serving.latency_target": 3 * latency, **more,
    }  # fmt: skip


CURVE = [(10.0, 5.0), (20.0, 5.5), (40.0, 7.0), (60.0, 11.0), (80.0, 90.0)]
SWEEP = [served(rate, latency) for rate, latency in CURVE]
SEARCH = served(61.0, 12.0) | {
    "results.serving.max_qps": 62.0, "results.serving.max_qps_ci95": [60.0, 64.0], "results.serving.percentile": 99.0,
    "results.serving.trials": [{"qps": 70.0, "latency": 80.0, "kept": False}, {"qps": 60.0, "latency": 40.0, "kept": True},
                               {"qps": 90.0, "latency": None, "kept": False}],
}  # fmt: skip


def plotted(records: Records, **options: Any) -> Any:
    return draw("latency-load", declared(records), Options(**options))


def knees(axes: Any) -> list[str]:
    return [words.get_text() for words in axes.texts if "knee" in words.get_text()]


def test_a_line_for_each_percentile_over_the_rate_with_bound_and_knee() -> None:
    (axes,) = plotted(SWEEP).axes
    assert axes.get_xlabel() == "offered load, queries/s"
    assert axes.get_ylabel() == "latency, ms"
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["bound: 50 ms", "p50", "p90", "p99"]
    line = axes.containers[2].lines[0]
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [
        (rate, 3 * latency) for rate, latency in CURVE
    ]
    assert knees(axes) == ["knee: 60 queries/s"]
    assert axes.get_yscale() == "log"


def test_runs_at_one_rate_are_one_point() -> None:
    records = [served(10.0, latency, repeat) for repeat, latency in enumerate((4.0, 5.0, 9.0))]
    loads = loads_of(Runs.of(records))
    assert [(load.x, load.value) for load in loads["p50"]] == [(10.0, 5.0)]


def test_models_have_lines_of_their_own() -> None:
    (axes,) = plotted([*SWEEP, *(served(rate, latency, model="b") for rate, latency in CURVE)]).axes
    assert {"a, p50", "a, p99", "b, p50", "b, p99"} <= set(axes.get_legend_handles_labels()[1])


def test_the_trials_of_a_search_and_its_limit_are_drawn() -> None:
    (axes,) = plotted([SEARCH]).axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["bound: 50 ms", "max: 62 queries/s", "p99, trials"]
    line = axes.containers[0].lines[0]
    assert list(line.get_xdata()) == [60.0, 70.0], "a trial without an answer has no place"
    assert line.get_linestyle() == "None", "trials are points, and no curve with a knee"
    assert not knees(axes)


@pytest.mark.parametrize(
    ("latencies", "knee"),
    [
        ([5, 5, 6, 90], 30.0),
        ([5, 6, 7, 8], None),
        ([9, 8, 7, 6], None),
        ([5, 5, 90], None),
        ([5, 80, 90, 90], None),
        ([5, 4, 6, 5, 200], 40.0),
        ([89, 504, 577, 1472, 2072, 1217, 1801], None),
    ],
)
def test_a_knee_needs_a_curve_that_rises_late_whatever_noise_does(latencies: list[float], knee: float | None) -> None:
    found = knee_of([Point(10.0 * place, latency, Cell(None)) for place, latency in enumerate(latencies, 1)])
    assert (found.x if found else None) == knee


def test_results_without_rates_cannot_be_drawn_and_the_error_says_what_to_run() -> None:
    with pytest.raises(LogError, match="no experiment has latencies of queries that arrive at a given rate") as raised:
        plotted([make_record()])
    assert "serving.target_qps" in raised.value.hint
    with pytest.raises(LogError, match="no experiment succeeded"):
        plotted([make_record(status="failure")])


@pytest.mark.parametrize("trials", [7, ["x", None, {}], [{"qps": "a", "latency": True}], {"qps": 1}])
def test_a_log_may_hold_anything(trials: object) -> None:
    plotted([served(10.0, 5.0) | {"results.serving.trials": trials}])


@pytest.mark.integration
def test_the_page_draws_it_where_there_are_several_rates() -> None:
    assert "Latency against offered load" in [one.title for one in figures_of(declared(SWEEP))]
    assert "Latency against offered load" in [one.title for one in figures_of(declared([SEARCH]))]
    assert "Latency against offered load" not in [one.title for one in figures_of(declared(SWEEP[:1]))]
