"""Time series: when they came to rest, what stands out, what the machine did."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from dlbs.results.statistics.series import Series, series_of, smoothed, steady_from
from dlbs.results.tables.lists import series_lines
from tests.conftest import RunDlbs
from tests.made_logs import make_record, write_log


def steady(count: int, level: float = 10.0, seed: int = 1) -> list[float]:
    source = random.Random(seed)
    return [level * source.gauss(1, 0.02) for _ in range(count)]


def series(times: list[float], warmup: list[float] | None = None, **more: Any) -> Series:
    made = series_of(
        {
            "results.time_data": times,
            "results.time_warmup_data": warmup or [],
            "results.time_data_start": 1000.0,
            **more,
        }
    )
    assert made is not None
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_series_needs_no_warm_up(seed: int) -> None:
    assert steady_from(steady(100, seed=seed)) == 0


@pytest.mark.parametrize(("slow", "level"), [(5, 20.0), (20, 15.0), (40, 11.5)])
def test_slow_batches_at_the_beginning_are_warm_up(slow: int, level: float) -> None:
    assert abs(steady_from([*steady(slow, level), *steady(100, seed=2)]) - slow) <= 2


def test_a_single_slow_batch_later_on_is_none() -> None:
    times = steady(100)
    times[80] = 50.0
    assert steady_from(times) == 0


def test_short_series() -> None:
    assert steady_from([]) == 0
    assert steady_from([5.0, 1.0, 1.0]) == 0


def test_outliers_are_named_with_how_far_they_are_off() -> None:
    times = [10.0 + 0.1 * (n % 3) for n in range(60)]
    times[30] = 25.0
    (outlier,) = series(times).outliers
    assert outlier.batch == 31
    assert outlier.time == 25.0
    assert outlier.times_median == pytest.approx(2.5, rel=0.03)


def test_smoothing_is_a_running_median() -> None:
    assert smoothed([1, 1, 9, 1, 1], 3) == [1, 1, 1, 1, 1]
    assert smoothed([], 3) == []


def test_too_short_a_warm_up_is_warned_of_with_what_would_do() -> None:
    made = series([*steady(10, 15.0), *steady(100)], steady(5, 16.0))
    assert abs(made.steady - 15) <= 2
    assert "the warm-up was too short" in made.warnings[0]
    assert f"-Pexp.num_warmup_batches={made.steady}" in made.warnings[0]


def test_few_batches_settle_nothing() -> None:
    made = series([10.0, 10.0, 11.0, 10.0, 10.0], [30.0])
    assert not made.is_conclusive
    assert made.warnings == []
    lines = series_lines(made)
    assert lines[0].startswith("warm-up: 1 batch; timed: 5, median 10.00 ms")
    assert "too few batches to detect warm-up, steady part and outliers: 20 are needed (exp.num_batches)" in lines
    assert not any("steady from" in line or "was needed" in line for line in lines)


def test_enough_warm_up_is_no_warning() -> None:
    made = series(steady(100), [30.0, 20.0, 12.0, *steady(7)])
    assert 1 <= made.steady <= 4
    assert made.warnings == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"results.use.gpu_clock": [[1500.0] * 10 + [1200.0] * 10]}, "GPU clock, MHz drifted from 1,500 to 1,200"),
        ({"results.use.cpu_mhz": [3000.0 - 20 * n for n in range(20)]}, "CPU clock, MHz drifted"),
        ({"results.use.gpu_temp": [[40.0 + n for n in range(20)]]}, "GPU temperature, °C rose"),
        ({"results.competing_load": 0.3}, "CPU contention: 30 %"),
        ({"exp.neighbours": ["a", "b"]}, "2 other experiments of the plan ran at the same time"),
        ({"results.warnings": ["something else"]}, "something else"),
    ],
)
def test_warnings(more: dict[str, Any], said: str) -> None:
    moments = {"results.use.time": [1000 + n * 0.05 for n in range(20)]}
    assert series(steady(100), **moments, **more).warnings[0].startswith(said)


def test_what_was_watched_is_on_the_axis_of_the_batches() -> None:
    made = series(
        steady(10),
        **{
            "results.use.time": [999.0, 1000.0, 1001.0],
            "results.use.cpu": [1, 2, 3],
            "results.use.gpu_util": [[5, 6, None], [7, 8, 9]],
        },
    )
    assert made.monitor["CPU time, % of one core"] == ([-1.0, 0.0, 1.0], [1.0, 2.0, 3.0])
    assert made.monitor["GPU utilisation, % (GPU 0)"] == ([-1.0, 0.0], [5.0, 6.0])
    assert made.ends[-1] == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(("gpus", "names"), [("7,2", [7, 2]), ("4:5", [4, 5]), ("", [0, 1]), ("1", [0, 1])])
def test_gpus_have_their_numbers(gpus: str, names: list[int]) -> None:
    use: dict[str, Any] = {"results.use.time": [1000.0, 1001.0], "results.use.gpu_power": [[300, 310], [200, 210]]}
    made = series(steady(10), **use, **{"exp.gpu_ids": gpus})
    assert list(made.monitor) == [f"GPU power, W (GPU {name})" for name in names]


@pytest.mark.parametrize("times", [None, [], "x", [1, "x"], [1.0, float("nan")], [True]])
def test_records_without_usable_times_have_no_series(times: Any) -> None:
    assert series_of({"results.time_data": times}) is None


def test_a_directory_has_the_series_of_each_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    for model in ("alexnet", "resnet18"):
        for repeat in (1, 2):
            write_log(tmp_path / "logs" / f"{model}{repeat}.log", make_record(model, repeat=repeat))
    write_log(tmp_path / "logs" / "failed.log", make_record("vgg16", status="failure"))
    done = dlbs("report", "--series", "logs", check=True)
    assert done.stdout.count("timed: 50, median") == 4
    assert {"alexnet, repeat 1", "resnet18, repeat 2"} <= set(done.stdout.splitlines())
    assert "note: 1 of 5 experiments without batch times" in done.stderr
    documents = json.loads(dlbs("report", "--series", "logs", "--format", "json", check=True).stdout)
    assert [len(one["times"]) for one in documents] == [50] * 4
    assert documents[0]["experiment"] == "alexnet, repeat 1"


def test_the_command(dlbs: RunDlbs, tmp_path: Path) -> None:
    times = [*steady(10, 15.0), *steady(100)]
    times[60] = 40.0
    write_log(tmp_path / "a.log", {**make_record(), "results.time_data": times, "results.time_warmup_data": [30.0] * 5})
    done = dlbs("report", "--series", "a.log")
    assert done.returncode == 0, done.stderr
    assert "warm-up: 5 batches; timed: 110" in done.stdout
    assert "batch 61: 40.00 ms" in done.stdout
    assert "warning: the warm-up was too short" in done.stdout
    document = json.loads(dlbs("report", "--series", "a.log", "--format", "json").stdout)
    assert len(document["times"]) == len(document["smoothed"]) == 110
    rows = list(csv.DictReader(dlbs("report", "--series", "a.log", "--format", "csv", check=True).stdout.splitlines()))
    assert [row["batch"] for row in rows if row["column"] == "mark" and row["value"] == "outlier"] == ["61"]
    assert len({row["batch"] for row in rows}) == 115, "those of the warm-up, too"
    dlbs("report", "--series", "a.log", "-o", "batches.jsonl", check=True)
    assert json.loads((tmp_path / "batches.jsonl").read_text().splitlines()[0])["batch"] == "warm-up 1"
    dlbs("report", "--series", "a.log", "-o", "batches.txt", check=True)
    assert "batch 61: 40.00 ms" in (tmp_path / "batches.txt").read_text()
    write_log(tmp_path / "b.log", make_record(status="failure"))
    done = dlbs("report", "--series", "b.log")
    assert done.returncode == 2
    assert "b.log: has no batch times" in done.stderr
