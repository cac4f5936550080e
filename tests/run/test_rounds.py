"""Rounds: what the driver may draw, and when the next round is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from dlbs.executors.base import Outcome
from dlbs.experiment import Experiment
from dlbs.run.events import Callback
from dlbs.run.rounds import Rounds


class Pairwise:
    """A source of rounds of two experiments."""

    def __init__(self, rounds: int, allowed: int = 100) -> None:
        self.rounds, self.allowed = rounds, allowed
        self.ended: list[tuple[str, bool]] = []
        self.asked = 0

    def next_round(self) -> Iterable[Experiment]:
        assert len(self.ended) == 2 * self.asked
        if self.asked == self.rounds:
            return []
        self.asked += 1
        return [{"exp.log_file": f"{self.asked}{side}"} for side in "ab"]

    def may_start(self, experiment: Experiment) -> bool:
        self.allowed -= 1
        return self.allowed >= 0

    def has_ended(self, experiment: Experiment, outcome: Outcome | None) -> None:
        self.ended.append((str(experiment["exp.log_file"]), outcome is not None))

    def expected_total(self) -> int:
        return 2 * max(2, self.asked)


def test_the_next_round_is_drawn_when_all_of_the_last_one_have_ended() -> None:
    source, seen = Pairwise(3), Callback()
    rounds = Rounds(source, seen)
    rounds.begin(1)
    assert seen.total == 4
    for number in range(1, 4):
        a, b = next(rounds), next(rounds)
        assert a is not None
        assert b is not None
        assert next(rounds) is None
        rounds.started(a, Path("log"))
        rounds.ended(b, Outcome("ok"))
        rounds.again(a, Outcome("failure"), 1)
        assert next(rounds) is None
        assert source.asked == number
        rounds.ended({**a, "exp.attempt": 2}, Outcome("ok"))
    assert seen.total == 6
    with pytest.raises(StopIteration):
        next(rounds)
    assert seen.counts == {"ok": 6}


def test_what_was_finished_before_counts_as_ended() -> None:
    source = Pairwise(1)
    rounds = Rounds(source, Callback())
    next(rounds)
    rounds.skipped("finished")
    next(rounds)
    rounds.skipped("finished")
    assert source.ended == [("1a", False), ("1b", False)]
    with pytest.raises(StopIteration):
        next(rounds)


def test_nothing_is_drawn_that_may_not_start() -> None:
    source = Pairwise(3, allowed=1)
    rounds = Rounds(source, Callback())
    assert next(rounds) is not None
    with pytest.raises(StopIteration):
        next(rounds)
