"""What is logged of a command: what it says of itself, and what was measured."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from benchmark_core.doubts import drifted, outliers
from benchmark_core.intervals import drift
from benchmark_core.text import short_number
from command_runner.__main__ import Invocation, Report, reason, results


def runs(*seconds: float) -> list[Invocation]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [Invocation(0, one, usage) for one in seconds]


def said(*outputs: str) -> dict[str, Any]:
    report = Report()
    for output in outputs:
        report.take(output)
    return report.values()


def test_lines_that_are_no_results_are_left() -> None:
    report = Report()
    output = 'hello\n__results.throughput__= 12.5\n  __exp.model__ = "mine"\n__results.bad__= nonsense\nbye\n'
    assert report.take(output) == ["hello", "__results.bad__= nonsense", "bye"]
    assert report.values() == {"results.throughput": 12.5, "exp.model": "mine"}


@pytest.mark.parametrize(
    ("outputs", "values"),
    [
        (["__results.x__= 1", "__results.x__= 2"], {"results.x": 1.5}),
        (["__results.x__= 7", "__results.x__= 7"], {"results.x": 7}),
        (["__results.x__= 1\n__results.x__= 3"], {"results.x": 3}),
        (["__exp.n__= 1", "__exp.n__= 2"], {"exp.n": 2}),
        (['__results.w__= "a"', "__results.w__= 1"], {"results.w": 1}),
        (["__results.ok__= true", "__results.ok__= true"], {"results.ok": True}),
        (["__results.time_data__= [1, 2]", "__results.time_data__= [3]"], {"results.time_data": [1, 2, 3]}),
        (
            ["__results.throughput__= 10", "__results.throughput__= 20"],
            {"results.throughput": 15, "results.throughput_data": [10, 20]},
        ),
        (["__results.time__= 10", "__results.time__= 20"], {"results.time": 15, "results.time_data": [10, 20]}),
    ],
)
def test_values_of_several_runs_become_one(outputs: list[str], values: dict[str, Any]) -> None:
    assert said(*outputs) == values


def test_times_are_milliseconds_of_the_timed_runs() -> None:
    found = results(runs(0.5), runs(0.1, 0.2, 0.3), {}, None, 0)
    assert found["results.time_data"] == pytest.approx([100, 200, 300])
    assert found["results.time_warmup_data"] == [500]
    assert found["results.time_first_batch"] == 500
    assert found["results.time"] == pytest.approx(200)
    assert found["results.time_std"] == pytest.approx(100)
    assert found["results.time_p90"] == pytest.approx(280)
    assert found["results.invocations"] == 3
    assert "results.throughput" not in found
    assert "results.warnings" not in found


def test_a_single_run_has_no_deviation() -> None:
    assert results([], runs(0.1), {}, None, 0)["results.time_std"] is None


def test_what_the_command_says_wins() -> None:
    own = {"results.time": 5.0, "results.throughput": 200.0}
    found = results([], runs(0.1, 0.1), own, None, 0)
    assert (found["results.time"], found["results.throughput"]) == (5.0, 200.0)
    assert "results.time_data" not in found  # ours are times of something else


def test_batch_times_of_the_command_make_its_time() -> None:
    found = results([], runs(1.0, 1.0), {"results.time_data": [1.0, 2.0, 6.0]}, None, 0)
    assert (found["results.time"], found["results.time_max"], found["results.time_data"]) == (3.0, 6.0, [1.0, 2.0, 6.0])


def test_long_lists_stand_before_short_values() -> None:
    keys = list(results(runs(1.0), runs(*[1.0] * 9), {"results.throughput_data": [1, 2]}, None, 0))
    assert keys.index("results.throughput_data") < keys.index("results.time")
    assert keys.index("results.time_data") < keys.index("results.time")


def test_memory_below_that_of_the_timer_is_not_known() -> None:
    assert results([], runs(1.0), {}, None, 0)["results.memory_host"] is None


def test_warnings_of_both_are_kept() -> None:
    found = results([], runs(1.0), {"results.warnings": ["own: 1; do"]}, 0.5, 0)
    assert [line.partition(":")[0] for line in found["results.warnings"]] == ["CPU contention", "own"]
    assert results([], runs(1.0), {"results.warnings": ["own: 1; do"]}, 0.0, 0)["results.warnings"] == ["own: 1; do"]


STEADY = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0, 100.2, 99.8, 100.1]


@pytest.mark.parametrize(
    ("times", "load", "ignored", "kinds"),
    [
        (STEADY, 0.01, 0, []),
        (STEADY, None, 0, []),
        (STEADY, 0.4, 0, ["CPU contention"]),
        (STEADY, 0.0, 2, ["failures"]),
        ([100.0, 101.0, 100.0, 105.0, 106.0, 105.0, 110.0, 111.0, 110.0], 0.0, 0, ["drift"]),
        ([900.0, *STEADY], 0.0, 0, ["slow first run"]),
        ([*STEADY, 900.0], 0.0, 0, ["outliers"]),
        ([*STEADY, 104.0], 0.0, 0, []),  # far out among such steady times, but by little
        ([], 0.0, 0, []),
        ([100.0, 900.0], 0.0, 0, []),
    ],
)
def test_what_makes_times_doubtful(times: list[float], load: float | None, ignored: int, kinds: list[str]) -> None:
    found = results([], runs(1.0), {"results.time_data": times}, load, ignored).get("results.warnings", [])
    assert [line.partition(":")[0] for line in found] == kinds
    assert all("; " in line or "(" in line for line in found)  # what to do


def test_noise_is_no_drift() -> None:
    moved = drift([100.0, 140.0, 90.0, 100.0, 120.0, 90.0, 130.0, 100.0, 115.0])
    assert moved is not None
    assert abs(moved) > 0.03
    assert drifted([100.0, 140.0, 90.0, 100.0, 120.0, 90.0, 130.0, 100.0, 115.0]) == []


def test_equal_times_have_no_outliers() -> None:
    assert outliers([1.0] * 10) == []


@pytest.mark.parametrize(
    ("code", "output", "why"),
    [
        (3, "first\nlast\n\n", "exit code 3: last"),
        (1, "", "exit code 1"),
        (137, "", "ended by SIGKILL"),
        (255, "x", "exit code 255: x"),
        (1, "real\n__results.x__= 1\n", "exit code 1: real"),
        (1, "real\n=====\n - \n", "exit code 1: real"),
        (1, "x: invalid option\nTry 'x --help' for more information.", "exit code 1: x: invalid option"),
        (1, "Try 'x --help'", "exit code 1: Try 'x --help'"),
        (1, "\x1b[31mred", "exit code 1: ?[31mred"),
        (1, "a" * 1000, f"exit code 1: {'a' * 300}"),
    ],
)
def test_why_a_command_failed(code: int, output: str, why: str) -> None:
    assert reason(code, output) == why


def test_long_times_have_no_exponent() -> None:
    assert [short_number(value) for value in (0.01234, 12.345, 999.96, 123456.7)] == [
        "0.01234",
        "12.35",
        "1,000",
        "123,457",
    ]
