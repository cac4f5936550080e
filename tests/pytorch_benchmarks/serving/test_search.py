"""The search for the limit of one process, with trials whose outcome is random near the limit."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean, stdev

import pytest

from pytorch_benchmarks.serving.search import Trial, find_limit, flat_prior, normal_prior


def server(limit: float, width: float, seed: int, accidents: float = 0.0) -> Callable[[float], Trial]:
    """Trials that meet the bounds with a probability that falls from 1 to 0 around a limit."""
    chance = random.Random(seed)

    def run(rate: float) -> Trial:
        passed = chance.gauss(0.0, width) < math.log(limit / rate)
        return Trial(rate, passed and chance.random() >= accidents, latency=1.0)

    return run


@pytest.mark.parametrize("limit", [1.0, 12.0, 90.0])
def test_a_limit_without_noise_is_found(limit: float) -> None:
    found = find_limit(server(limit, 1e-6, seed=1), flat_prior(100.0), precision=0.05, most_trials=30)
    assert found.low <= limit <= found.high
    assert found.rate == pytest.approx(limit, rel=0.05)
    assert found.precision <= 0.05
    assert len(found.trials) < 25


@pytest.mark.parametrize(("width", "accidents"), [(0.01, 0.0), (0.05, 0.0), (0.02, 0.03)])
def test_the_interval_holds_the_limit_as_often_as_it_says(width: float, accidents: float) -> None:
    held = 0
    for seed in range(40):
        found = find_limit(server(50.0, width, seed, accidents), flat_prior(80.0), precision=0.02, most_trials=12)
        held += found.low <= 50.0 <= found.high
    assert held >= 34  # 38 are expected; fewer than 34 have a probability of 1 %


def test_a_search_that_was_unlucky_early_finds_its_way() -> None:
    fine = server(50.0, 0.01, seed=3)
    trials = 0

    def run(rate: float) -> Trial:
        nonlocal trials
        trials += 1
        return Trial(rate, False, 99.0) if trials == 2 else fine(rate)

    found = find_limit(run, flat_prior(60.0), precision=0.03, most_trials=40)
    assert found.rate == pytest.approx(50.0, rel=0.05)


def test_trials_gather_near_the_limit() -> None:
    found = find_limit(server(50.0, 0.02, seed=1), flat_prior(100.0), precision=0.001, most_trials=20)
    near = [trial for trial in found.trials if 45 <= trial.rate <= 55]
    assert len(near) >= 12
    assert {trial.passed for trial in near} == {True, False}


@pytest.mark.parametrize("passed", [True, False])
def test_a_search_ends_without_a_limit(passed: bool) -> None:
    found = find_limit(lambda rate: Trial(rate, passed, 1.0), flat_prior(100.0), precision=0.02, most_trials=12)
    assert len(found.trials) == 12
    assert found.rate > 120 if passed else found.rate < 5


@pytest.mark.parametrize("limit", [30.0, 50.0, 80.0])
def test_a_normal_prior_saves_trials_and_does_not_decide(limit: float) -> None:
    found = find_limit(server(limit, 0.005, seed=2), normal_prior(50.0, 0.25), precision=0.02, most_trials=8)
    assert found.rate == pytest.approx(limit, rel=0.06)
    assert 4 <= len(found.trials) <= 8


@pytest.mark.integration
@pytest.mark.parametrize("start", [0.0, 50.0, 40.0])
def test_the_mean_of_repeated_searches_has_students_interval(start: float) -> None:
    """Limits of processes differ by 10 % and trials are random over 3 %; a prior that drew limits together would lose coverage."""
    held = 0
    for seed in range(100):
        chance = random.Random(seed)
        found = [
            find_limit(
                server(50.0 * math.exp(chance.gauss(0.0, 0.1)), 0.03, chance.randrange(1 << 30)),
                normal_prior(start, 0.25) if start else flat_prior(80.0),
                precision=0.1,
                most_trials=15,
            ).rate
            for _ in range(5)
        ]
        held += abs(fmean(found) - 50.0) <= 2.776 * stdev(found) / math.sqrt(5)
    assert held >= 89  # 95 are expected; fewer than 89 have a probability of 1 %
