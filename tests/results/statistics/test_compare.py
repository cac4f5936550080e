"""Comparisons: what is matched, what is said of it, and how often noise is taken for a change."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest

import dlbs as package
from dlbs.core.errors import LogError
from dlbs.results.statistics.compare import Comparison
from dlbs.results.statistics.compare import compare as compare_with
from dlbs.results.statistics.ratio import ESTIMATORS, Estimate, Rules
from dlbs.results.tables.comparison import as_document, comparison_table, summary
from dlbs.results.tables.report import default_tables
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

Records = list[dict[str, Any]]


def compare(a: Records, b: Records, **options: Any) -> Comparison:
    return compare_with(declared(a), b, Rules(**options))


@functools.cache
def repeats(count: int = 5, **options: Any) -> Records:
    return [make_record(**{"time": 10 + 0.05 * (n % 3), **options}, repeat=n + 1) for n in range(count)]


def verdicts(a: Records, b: Records, **options: Any) -> dict[str, str]:
    return {match.label: match.verdict for match in compare(a, b, **options).matches}


@pytest.mark.parametrize(
    ("time", "verdict"), [(9.0, "faster"), (11.0, "slower"), (10.05, "same"), (10.35, "inconclusive")]
)
@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_verdicts_come_from_the_interval_and_the_threshold(
    time: float, verdict: str, count: int, estimator: str
) -> None:
    a, b = repeats(count), repeats(count, time=time, seed=1)
    (match,) = compare(a, b, estimator=estimator, trust_single_runs=count < 3).matches
    assert match.estimate is not None
    assert match.verdict == verdict
    assert match.estimate.source == ("runs" if count > 1 else "batches")
    assert match.estimate.ratio == pytest.approx(10 / time, rel=0.02)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_runs_are_inconclusive_unless_the_caller_insists(count: int) -> None:
    a, b = repeats(count), repeats(count, time=20.0)
    (match,) = compare(a, b).matches
    assert match.verdict == "inconclusive"
    assert match.notes == (
        f"too few runs ({count} per side): run each at least 3 times (-Pexp.repeats=3 --order round-robin), or override with --trust-single-runs",
    )
    (match,) = compare(a, b, trust_single_runs=True).matches
    assert match.verdict == "slower"


@pytest.mark.parametrize("count", [1, 5])
def test_a_ratio_requires_positive_values(count: int) -> None:
    """More runs, which other notes advise, would not help."""
    waiting, idle = ([{**one, "results.time_data_wait": value} for one in repeats(count)] for value in (5.0, 0.0))
    for a, b, sides in ((waiting, idle, "B has"), (idle, waiting, "A has"), (idle, idle, "A and B have")):
        (match,) = compare(a, b, metric="results.time_data_wait").matches
        assert (match.verdict, match.estimate) == ("inconclusive", None)
        assert match.notes == (f"no ratio: {sides} values that are not positive",)


BUSY = "CPU contention: 69 %, 5,231 preemptions; rerun on an idle machine"


def doubtful(records: Records, *numbers: int, warning: str = BUSY) -> Records:
    """The same records; those with these numbers logged a warning."""
    return [{**one, "results.warnings": [warning] if n in numbers else []} for n, one in enumerate(records)]


def test_doubtful_runs_are_left_out_where_three_others_remain_and_that_is_said() -> None:
    a = repeats(5)
    b = doubtful([*repeats(4, seed=1), *repeats(1, time=40.0)], 4)
    comparison = compare(a, b)
    (match,) = comparison.matches
    assert match.verdict == "same"
    assert match.used == (5, 4)
    assert match.doubtful == (0, 1)
    assert match.notes == ("B: 1 of 5 runs is doubtful (CPU contention) and left out",)
    assert comparison_table(comparison).texts()[0][4] == "5, 4 of 5"
    assert summary(comparison).endswith("; 1 doubtful run left out")


def test_where_too_few_clean_runs_remain_doubtful_ones_make_it_inconclusive() -> None:
    a, b = repeats(4), doubtful(repeats(4, time=20.0), 0, 1)
    (match,) = compare(a, b).matches
    assert match.verdict == "inconclusive"
    assert match.used == (4, 4)
    assert match.notes == (
        "B: 2 of 4 runs are doubtful (CPU contention)",
        "rerun on an idle machine until 3 runs per side have no warnings, or override with --trust-doubtful",
    )
    assert compare(a, b, trust_single_runs=True).matches[0].verdict == "inconclusive"
    (match,) = compare(a, b, trust_doubtful=True).matches
    assert match.verdict == "slower"
    assert match.notes[0].startswith("B: 2 of 4 runs are doubtful")


def test_doubtful_runs_are_left_out_on_both_sides_or_on_neither() -> None:
    """Clean runs beside disturbed ones of the same code would be faster."""
    a, b = doubtful([*repeats(4), *repeats(3, time=20.0)], 4, 5, 6), doubtful(repeats(7, time=20.0), 0, 1, 2, 3, 4, 5)
    (match,) = compare(a, b, trust_doubtful=True).matches
    assert match.used == (7, 7)
    assert match.doubtful == (0, 0)
    assert match.notes[:2] == (
        "A: 3 of 7 runs are doubtful (CPU contention)",
        "B: 6 of 7 runs are doubtful (CPU contention)",
    )


def test_few_doubtful_runs_have_one_remedy_that_names_both_options() -> None:
    a, b = repeats(1), doubtful(repeats(1, time=20.0), 0)
    (match,) = compare(a, b).matches
    assert match.notes == (
        "B: 1 of 1 run is doubtful (CPU contention)",
        "too few runs (1 per side), with warnings: run each at least 3 times on an idle machine (-Pexp.repeats=3 --order round-robin), "
        "or override with --trust-single-runs --trust-doubtful",
    )
    legend = comparison_table(compare(a, b)).legend
    assert "⚠: includes doubtful runs (CPU contention 1)" in legend
    assert not any(line.startswith("inconclusive:") for line in legend)  # the note says why
    trusts: list[dict[str, bool]] = [{"trust_single_runs": True}, {"trust_doubtful": True}]
    assert [compare(a, b, **trust).matches[0].verdict for trust in trusts] == ["inconclusive"] * 2
    assert compare(a, b, trust_single_runs=True, trust_doubtful=True).matches[0].verdict == "slower"


def test_the_values_are_the_statistic_of_the_estimator() -> None:
    a = [*repeats(4), *repeats(1, time=20.0)]
    by_rank, by_mean = (compare(a, a, estimator=name).matches[0].values[0] for name in ("rank", "mean"))
    throughputs = sorted(record["results.throughput"] for record in a)
    assert by_rank == pytest.approx(throughputs[2])
    assert by_mean == pytest.approx(len(a) / sum(1 / value for value in throughputs))
    titles = [comparison_table(compare(a, a, estimator=name)).columns[0] for name in ("rank", "mean")]
    assert titles == ["A, median", "A, mean"]


def test_the_table_shows_what_dlbs_report_shows() -> None:
    """The same runs have the same number in both: the median."""
    a = [*repeats(4), *repeats(1, time=20.0)]
    (reported,) = default_tables(declared(a))
    assert reported.texts()[0][1].split(" ")[0] == comparison_table(compare(a, a)).texts()[0][1]


def test_the_threshold_decides_what_counts() -> None:
    a, b = repeats(), repeats(time=11.0)
    assert compare(a, b, threshold=0.2).matches[0].verdict == "same"
    assert compare(a, b, threshold=0.0).matches[0].verdict == "slower"


def test_experiments_are_matched_by_what_tells_them_apart() -> None:
    times = (1, 2, 3)
    a = [make_record(model, batch, time=batch, repeat=n) for model in "ab" for batch in (1, 2, 4) for n in times]
    b = [make_record(model, batch, time=2 * batch, repeat=n) for model in "ba" for batch in (2, 4, 8) for n in times]
    assert verdicts(a, b) == {
        "a, batch 1": "missing",
        "a, batch 2": "slower",
        "a, batch 4": "slower",
        "a, batch 8": "new",
        "b, batch 1": "missing",
        "b, batch 2": "slower",
        "b, batch 4": "slower",
        "b, batch 8": "new",
    }


def test_experiments_whose_parameter_is_not_a_number_are_matched() -> None:
    sides = [
        [{**run, "my.limit": float(limit)} for limit in ("nan", "1") for run in repeats(seed=seed)] for seed in range(2)
    ]
    assert set(verdicts(*sides)) == {"my.limit=nan", "my.limit=1.0"}
    assert all(match.a and match.b for match in compare(*sides).matches)


@pytest.mark.parametrize(("counts", "source"), [((2, 3), "batches"), ((3, 2), "batches"), ((3, 4), "runs")])
def test_batches_are_used_where_one_side_has_too_few_runs(counts: tuple[int, int], source: str) -> None:
    (match,) = compare(repeats(counts[0]), repeats(counts[1]), trust_single_runs=True).matches
    assert match.estimate is not None
    assert match.estimate.source == source


def test_what_differs_between_all_of_a_and_all_of_b_is_what_is_compared() -> None:
    a = [make_record(m, exp__framework_version="2.12", pytorch__args=f"--model {m} --dtype float32") for m in "xy"]
    b = [
        {
            **make_record(m, exp__framework_version="2.13", pytorch__args=f"--model {m} --dtype float16"),
            "exp.dtype": "float16",
        }
        for m in "xy"
    ]
    comparison = compare(a, b)
    assert [match.label for match in comparison.matches] == ["x, batch 16", "y, batch 16"] or len(
        comparison.matches
    ) == 2
    assert comparison.differences["exp.dtype"] == ("float32", "float16")
    assert comparison.differences["exp.framework_version"] == ("2.12", "2.13")
    assert "missing" not in comparison.counts


_KEPT = "memory freed by a batch was kept for the next one in "


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({"results__malloc": "system"}, {"results__malloc": "keep"}, f"{_KEPT}B (results.malloc), but not in A"),
        ({"results__malloc": "keep"}, {"results__malloc": "system"}, f"{_KEPT}A (results.malloc), but not in B"),
        ({"results__malloc": "keep"}, {}, f"{_KEPT}A (results.malloc), and B does not log the setting"),
        ({"results__malloc": "keep"}, {"results__malloc": "keep"}, ""),
        ({"results__malloc": "system"}, {}, ""),
        ({"results__malloc": "keep"}, {"exp__device_type": "gpu"}, ""),
    ],
)
def test_sides_that_treat_freed_memory_differently_are_pointed_out(a: Any, b: Any, said: str) -> None:
    sides = [{"exp__device_type": "cpu", **a}, {"exp__device_type": "cpu", "time": 11, **b}]
    made = compare(*[repeats(3, **side) for side in sides])
    assert [caution.partition(":")[0] for caution in made.cautions] == ([said] if said else [])
    assert made.cautions == [line for line in comparison_table(made).legend if line.startswith("memory")]
    assert as_document(made)["cautions"] == made.cautions


def test_changed_environment_is_listed_but_not_used_for_matching() -> None:
    old = {"exp__env__driver": "570.86", "exp__env__torch": "2.12", "exp__framework_version": "2.12"}
    new = {"exp__env__driver": "580.65", "exp__env__torch": "2.13", "exp__framework_version": "2.13"}
    same = {"exp__env__python": "3.12.3", "exp__env__gpu_clock_mhz": 345}
    made = compare(
        repeats(3, **old, **same), [*repeats(2, **new, **same), *repeats(1, **{**new, "exp__env__driver": "581.1"})]
    )
    assert len(made.matches) == 1
    assert made.environment == {
        "exp.env.driver": ("570.86", "580.65, 581.1")
    }  # PyTorch's version is a difference anyway
    assert "exp.env.driver: 570.86 in A, 580.65, 581.1 in B" in comparison_table(made).legend
    assert as_document(made)["environment"] == {"exp.env.driver": ["570.86", "580.65, 581.1"]}


def test_many_versions_and_settings_are_a_short_line() -> None:
    new = [
        {**run, "exp.env.kernel": f"6.{number}", "exp.env.gpu_power_limit": 300.0 + number}
        for number, run in enumerate(repeats(1000))
    ]
    made = compare(repeats(2, **{"exp.env.kernel": "5.1", "exp.env.gpu_power_limit": 700.0}), new)
    assert made.environment == {"exp.env.kernel": ("5.1", "6.0, 6.1, 6.2 and 997 more")}
    assert (
        f"{_LIMITS}700.0 in A, 1000.0 or 1001.0 or 1002.0 and 997 more in B; this alone may change times"
        in made.cautions
    )


def test_facts_that_one_side_does_not_log_are_not_listed() -> None:
    assert compare(repeats(3, exp__env__driver="570.86"), repeats(3)).environment == {}


_LIMITS = "power limit of the GPU in W (exp.env.gpu_power_limit): "
_SYS = "exp.sys.gpu.settings"


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({"exp.env.gpu_power_limit": 700.0}, {"exp.env.gpu_power_limit": 400.0}, f"{_LIMITS}700.0 in A, 400.0 in B;"),
        (
            {_SYS: ["ECC Enabled"] * 8},
            {_SYS: ["ECC Disabled"] * 8},
            f"settings of the GPUs ({_SYS}): ECC Enabled in A,",
        ),
        ({_SYS: ["ECC Enabled"] * 8}, {_SYS: ["ECC Enabled"] * 4}, ""),
        ({"exp.env.gpu_power_limit": 700.0}, {"exp.env.gpu_power_limit": 700.0}, ""),
        ({"exp.env.gpu_power_limit": 700.0}, {}, ""),
        ({"exp.env.gpu_power_limit": 700.0}, {"exp.env.gpu_power_limit": 400.0, "exp.device_title": "A100"}, ""),
    ],
)
def test_gpus_of_one_kind_with_other_settings_are_pointed_out(a: Any, b: Any, said: str) -> None:
    sides = [[{**run, "exp.device_title": "H100", **facts} for run in repeats(3)] for facts in (a, b)]
    cautions = [line for line in compare(*sides).cautions if "both in A and in B" not in line]
    assert len(cautions) == bool(said)
    assert not said or cautions[0].startswith(said)


def test_runs_that_are_on_both_sides_are_pointed_out() -> None:
    a = [
        {**run, "exp.start_time": f"2026-11-23T04:33:1{n}+0000"} for n, run in enumerate(repeats(3, exp__id="1fbc275e"))
    ]
    again = {**a[0], "exp.start_time": "2026-11-24T04:33:10+0000"}
    assert compare(a[:2], [*a[1:], again]).cautions == [
        "1 run is both in A and in B, which hides differences: give paths without common logs"
    ]
    assert compare(a, [again]).cautions == []


def test_runs_without_a_start_time_are_not_taken_for_the_same() -> None:
    runs = [{name: run[name] for name in run if name != "exp.start_time"} for run in repeats(3)]
    assert compare(runs, runs).cautions == []


def test_other_settings_are_not_mixed() -> None:
    a = [make_record(my__option=option, time=10 * option, repeat=n) for option in (1, 2) for n in (1, 2, 3)]
    assert verdicts(a, a) == {"my.option=1": "same", "my.option=2": "same"}


def test_changes_of_status() -> None:
    good, bad = repeats(3), repeats(3, status="failure")
    assert list(verdicts(good, bad).values()) == ["broken"]
    assert list(verdicts(bad, good).values()) == ["fixed"]
    assert list(verdicts(bad, bad).values()) == ["failed"]
    (match,) = compare(good, bad).matches
    assert match.notes == ("ok → failure", "exit code 1")
    (match,) = compare(good, [*repeats(3, seed=1), make_record(repeat=4, status="timeout")]).matches
    assert match.notes[0] == "B: 1 of 4 runs has no value"


def test_other_quantities_have_their_own_direction() -> None:
    a = repeats(results__memory_host=100.0)
    b = repeats(results__memory_host=200.0)
    assert list(verdicts(a, b, metric="results.memory_host").values()) == ["worse"]
    assert list(verdicts(b, a, metric="results.memory_host").values()) == ["better"]
    assert list(verdicts(repeats(), repeats(time=12.0), metric="results.time").values()) == ["slower"]
    assert compare(repeats(), repeats(time=12.0), metric="results.time").matches[0].estimate.ratio == pytest.approx(
        1.2, rel=0.02
    )


def test_without_repeats_or_batch_times_nothing_is_claimed() -> None:
    a, b = ({"exp.model": "m", "results.throughput": value} for value in (100.0, 50.0))
    for trust in (False, True):
        (match,) = compare([a], [b], trust_single_runs=trust).matches
        assert match.verdict == "inconclusive"
        assert match.estimate == Estimate(0.5)
        assert "exp.repeats" in match.notes[0]


@pytest.mark.integration
def test_noise_is_rarely_taken_for_a_change() -> None:
    """A/A: at threshold 0, at most 5 % of comparisons may say faster or slower; with the usual threshold next to none does."""
    rounds = 200
    told = {0.0: 0, 0.03: 0}
    source = random.Random(11)
    for index in range(rounds):
        a, b = (
            [make_record(time=source.gauss(10, 0.1), repeat=n, seed=(index, side), batches=20) for n in range(1, 6)]
            for side in "ab"
        )
        for threshold in told:
            told[threshold] += compare(a, b, threshold=threshold).matches[0].verdict in {"faster", "slower"}
    assert told[0.0] <= 0.09 * rounds
    assert told[0.03] <= 0.01 * rounds


def test_simultaneous_intervals_are_wider() -> None:
    a = [make_record(f"m{n}", repeat=r) for n in range(20) for r in range(1, 5)]
    b = [make_record(f"m{n}", repeat=r, seed=1) for n in range(20) for r in range(1, 5)]
    one, all_together = compare(a, b), compare(a, b, simultaneous=True)
    assert all_together.confidence == pytest.approx(1 - 0.05 / 20)
    for narrow, wide in zip(one.matches, all_together.matches, strict=True):
        inside, outside = narrow.estimate and narrow.estimate.interval, wide.estimate and wide.estimate.interval
        assert inside is not None and outside is not None  # noqa: PT018
        assert outside.low < inside.low < inside.high < outside.high


def test_where_nothing_ended_well_that_is_the_error(dlbs: RunDlbs, tmp_path: Path) -> None:
    failed = [one | {"exp.status": "failure"} for one in repeats(2)]
    for one in failed:
        del one["results.throughput"], one["results.time"]
    for number, one in enumerate(failed, 1):
        make_logs(tmp_path / "a" / str(number), [one])
    for command in (
        ["compare", "a/1", "a/2"],
        ["compare", "a", "--by", "exp.replica_batch"],
        ["plot", "a", "-o", "a.png"],
        ["plot", "a", "--type", "strong", "-o", "a.png"],
    ):
        done = dlbs(*command)
        assert done.returncode == 2
        assert done.stderr.startswith("error: no experiment succeeded: 2 failure")
        assert "--metric" not in done.stderr
    reported = dlbs("report", "a", check=True).stdout
    assert reported.startswith("No experiment succeeded: 2 failure")
    with pytest.raises(LogError, match="no experiment succeeded: 4 failure"):
        package.compare(failed, failed)


def test_match_and_ignore() -> None:
    a = [make_record(my__seed=n, repeat=1) for n in range(4)]
    assert len(compare(a, a).matches) == 4
    assert len(compare(a, a, ignore=["my.seed"]).matches) == 1
    assert len(compare(a, a, match=["exp.model"]).matches) == 1


def test_table_and_summary() -> None:
    comparison = compare([*repeats(), *repeats(model="gone")], repeats(time=12.0))
    table = comparison_table(comparison)
    assert [(row[0], row[-1]) for row in table.texts()] == [
        ("alexnet", "slower"),
        ("gone", "missing"),
    ]
    assert any(line.startswith("missing:") for line in table.legend)
    assert summary(comparison).startswith("2 experiments: 1 slower, 1 missing")


def test_the_command(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "a", repeats())
    make_logs(tmp_path / "b", repeats(time=12.0))
    done = dlbs("compare", "a", "b")
    assert done.returncode == 0, done.stderr
    assert "slower" in done.stdout
    assert "1 slower" in done.stderr
    assert dlbs("compare", "a", "b", "--fail-on-regression").returncode == 3
    assert dlbs("compare", "b", "a", "--fail-on-regression").returncode == 0
    assert dlbs("compare", "a", "b", "--fail-on-regression", "--threshold", "30%").returncode == 0
    document = json.loads(dlbs("compare", "a", "b", "--format", "json").stdout)
    (one,) = document["experiments"]
    assert one["verdict"] == "slower"
    assert one["interval"][0] < one["ratio"] < one["interval"][1] < 0.97
    assert document["regressions"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "Missing argument"),
        (["a", "nope"], "nope: no such file"),
        (["a", "a", "--threshold", "x"], "--threshold: 'x' is not a share"),
        (["a", "a", "--threshold", "3"], "--threshold: must be a number from 0.0 to below 1"),
        (["a", "a", "--confidence", "10%"], "--confidence: must be a number from 0.5 to below 1"),
        (["a", "a", "--metric", "results.nope"], "--metric: no experiment has 'results.nope'"),
        (["a", "a", "--match", "exp.nope"], "--match: no experiment has 'exp.nope'"),
    ],
)
def test_bad_input(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    make_logs(tmp_path / "a", repeats(1))
    done = dlbs("compare", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
