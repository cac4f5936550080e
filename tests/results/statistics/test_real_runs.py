"""How often real noise becomes a verdict, and how often a planted slowdown is found, by drawing from recorded runs of the same code."""

from __future__ import annotations

from itertools import islice

import pytest

from dlbs.results.runs import Record
from dlbs.results.statistics.compare import compare
from dlbs.results.statistics.ratio import INCONCLUSIVE, verdict_of
from tests.conftest import ROOT
from tests.made_logs import declared
from tests.results.statistics.real_runs import (
    CANDIDATES,
    COLUMNS,
    CONDITIONS,
    DATA,
    EACH_SIDE,
    EVERY_DRIFT,
    METHODS,
    ROUNDS,
    configurations,
    counts,
    default,
    disturbed,
    draws,
    found_in_every_tenth,
    pool,
    rates,
    summary,
)

pytestmark = pytest.mark.integration  # takes seconds

AT_REST = CONDITIONS[0]
TITLES = list(COLUMNS)
FALSE_AT_0, FALSE_AT_3, FOUND_10 = map(TITLES.index, ("false at 0 %", "false at 3 %", "10 % found"))


def table(*heading: str) -> list[tuple[str, list[str]]]:
    """The rows of the table with that heading in error_rates.md, each with the condition above it."""
    page = (ROOT / "tests" / "results" / "statistics" / "error_rates.md").read_text().splitlines()
    rows, condition = [], ""
    for line in page[page.index(f"| {' | '.join(heading)} |") + 2 :]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(heading):
            break
        if cells[0].startswith("**"):
            condition = cells[0].strip("*")
        else:
            rows.append((condition, cells))
    return rows


def shown(shares: tuple[float, ...]) -> list[str]:
    return [f"{100 * share:.1f} %" for share in shares]


def test_the_manual_has_these_numbers_of_the_program() -> None:
    rows = table("runs", "method", *TITLES)
    assert [(condition, int(cells[0]), cells[1]) for condition, cells in rows] == [
        (condition, count, method) for condition in CONDITIONS for count in counts(condition) for method in METHODS
    ]
    for condition, (count, method, *cells) in rows:
        if method != "8c0f0d6":  # its thousands of resamples are drawn for three runs only, below
            assert cells == shown(rates(method, condition, int(count))), (condition, count, method)


@pytest.mark.parametrize("count", [1, 3])
def test_the_manual_has_these_numbers_of_8c0f0d6(count: int) -> None:
    (cells,) = (
        cells[2:]
        for condition, cells in table("runs", "method", *TITLES)
        if (condition, cells[0], cells[1]) == (AT_REST, str(count), "8c0f0d6")
    )
    found = rates("8c0f0d6", AT_REST, count)
    # Random numbers of numpy may change with its version.
    assert [float(cell.removesuffix("%")) for cell in cells] == pytest.approx([100 * share for share in found], abs=0.5)


def test_the_manual_has_these_numbers_of_the_estimators() -> None:
    rows = table("runs per side", "estimator", *TITLES, "10 % found in every tenth batch")
    assert {cells[1] for _, cells in rows} == set(CANDIDATES)
    for condition, (count, method, *cells) in rows:
        if method != "mean" and count == "5":
            found = *rates(method, condition, 5), found_in_every_tenth(method, condition, 5)
            assert cells == shown(found), (condition, method)


def test_the_manual_has_this_summary_of_the_runs() -> None:
    rows = [
        cells for _, cells in table("configuration", "condition", "runs", "doubtful", "why", "CV", "CV of the others")
    ]
    assert rows == [
        [name, condition, str(runs), str(doubtful), why, f"{spread:.1f} %", f"{clean:.1f} %" if clean == clean else "-"]
        for name, condition, runs, doubtful, why, spread, clean in summary()
    ]


def test_the_data_are_small_enough_for_a_repository() -> None:
    assert DATA.stat().st_size < 200_000


def test_the_same_code_is_rarely_called_faster_or_slower() -> None:
    """5 % are promised, and splits of one set of runs are what the Mann-Whitney test is exact for; 600 comparisons show 7.5 % once in 200 times."""
    assert ROUNDS * len(configurations()) == 600
    for condition in CONDITIONS:
        for count in counts(condition):
            found = rates("`compare`", condition, count)
            assert found[FALSE_AT_0] <= 0.075
            assert found[FALSE_AT_3] <= 0.05


def test_single_runs_no_longer_have_verdicts() -> None:
    for count in (1, 2):
        assert rates("8c0f0d6", AT_REST, count)[FALSE_AT_3] > 0.25
        assert not any(rates("`compare`", AT_REST, count))


def test_ranks_find_more_of_twenty_runs_than_means_do() -> None:
    by_rank, by_mean = (rates(name, AT_REST, 20)[FOUND_10] for name in ("rank", "mean"))
    assert by_rank > by_mean + 0.05


def test_medians_of_batches_do_not_see_what_slows_every_tenth_batch() -> None:
    assert found_in_every_tenth("rank", AT_REST, 20) > 0.5
    for name in ("rank of block medians", "rank of lower quartiles of batches"):
        assert found_in_every_tenth(name, AT_REST, 20) < 0.1


def test_a_drift_that_is_no_more_than_noise_is_no_reason_to_leave_a_run_out() -> None:
    assert rates(EVERY_DRIFT, AT_REST, 20)[FOUND_10] < 0.5 * rates("`compare`", AT_REST, 20)[FOUND_10]


def test_doubtful_runs_are_left_out_on_both_sides_or_on_neither() -> None:
    """Clean runs beside disturbed ones of the same code are faster: 5 % are promised."""
    changing = CONDITIONS[1]
    assert rates(EACH_SIDE, changing, 10)[FALSE_AT_0] > 0.15
    assert rates("`--trust-single-runs`", changing, 10)[FALSE_AT_0] <= 0.075


def test_runs_that_others_disturbed_strongly_are_doubtful() -> None:
    """A load of a fifth of the CPUs and more; what the hypervisor's other guests take cannot be seen from here."""
    for configuration in configurations():
        for condition in CONDITIONS:
            slow, flagged = disturbed(configuration, condition)
            assert flagged <= slow
            if condition != AT_REST:
                assert flagged >= 0.9 * slow


def test_the_draws_are_judged_as_compare_judges_them() -> None:
    for condition in CONDITIONS:
        for count in (2, 5):
            for a, b in islice(draws(configurations()[0], condition, count), 10):
                one, other = ([_as_logged(record) for record in side] for side in (a, b))
                (match,) = compare(declared(one), other).matches
                interval = default(a, b)
                expected = INCONCLUSIVE if interval is None else verdict_of("results.throughput", interval, 0.03)
                assert match.verdict == expected


def _as_logged(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in ("exp.repeat", "noise.logged")}


def test_all_configurations_ran_under_all_conditions() -> None:
    assert len(configurations()) >= 3
    assert all(len(pool(name, condition)) >= 6 for name in configurations() for condition in CONDITIONS)
