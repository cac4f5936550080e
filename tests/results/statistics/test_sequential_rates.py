"""The promise of `--until-known`, by simulation: all looks together are wrong in at most 5 % of the sequences."""

from __future__ import annotations

import pytest

from tests.results.statistics.real_runs import configurations
from tests.results.statistics.sequential_simulation import CASES, DRAWS, NOISES, REAL, outcomes, real_outcomes

pytestmark = pytest.mark.integration

SEQUENCES, ROUNDS = 100, 30


@pytest.mark.parametrize("noise", NOISES)
def test_noise_becomes_a_verdict_no_more_often_than_promised(noise: str) -> None:
    for (slowdown, threshold), found in zip(CASES, outcomes(noise, "sequential", SEQUENCES, ROUNDS), strict=True):
        wrong = "slower" if not slowdown else "faster"
        false = sum(len(rounds) for verdict, rounds in found.items() if verdict in {wrong, "faster"})
        assert false <= 0.05 * SEQUENCES, (slowdown, threshold, found)


@pytest.mark.parametrize("noise", NOISES)
def test_a_real_difference_beyond_the_threshold_is_never_called_the_same(noise: str) -> None:
    for (slowdown, threshold), found in zip(CASES, outcomes(noise, "sequential", SEQUENCES, ROUNDS), strict=True):
        if slowdown > threshold:
            assert len(found.get("same", [])) <= 0.05 * SEQUENCES


@pytest.mark.parametrize("condition", REAL)
@pytest.mark.parametrize("configuration", configurations())
def test_real_runs_of_the_same_code_become_a_verdict_no_more_often_than_promised(
    configuration: str, condition: str
) -> None:
    outcomes_of = real_outcomes(configuration, "sequential", in_order=False, condition=condition)
    for (slowdown, _), found in zip(CASES, outcomes_of, strict=True):
        if not slowdown:
            assert found.get("slower", 0) + found.get("faster", 0) <= 0.05 * DRAWS


def test_large_differences_take_few_rounds() -> None:
    found = dict(zip(CASES, outcomes("quiet", "sequential", SEQUENCES, ROUNDS), strict=True))
    assert found[0.10, 0.03] == {"slower": [5] * SEQUENCES}
    assert len(found[0.0, 0.03]["same"]) == SEQUENCES


@pytest.mark.parametrize("noise", ["slow changes", "load that comes and goes"])
def test_what_changes_from_round_to_round_hides_a_difference_from_all_runs_and_not_from_rounds(noise: str) -> None:
    at = CASES.index((0.05, 0.03))
    of_rounds, of_runs = (
        outcomes(noise, look, SEQUENCES, ROUNDS)[at].get("slower", []) for look in ("sequential", "all runs alone")
    )
    assert len(of_rounds) > 2 * len(of_runs)


@pytest.mark.parametrize("noise", ["quiet", "skewed", "disturbed", "two modes"])
def test_looking_at_the_usual_interval_after_each_round_would_break_the_promise(noise: str) -> None:
    found = outcomes(noise, "95 % at each look", SEQUENCES, ROUNDS)[CASES.index((0.0, 0.0))]
    assert sum(map(len, found.values())) > 0.1 * SEQUENCES
