"""Rounds: what the driver may draw, and when the next round begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_core.log import key_line
from dlbs import load_config
from dlbs.adaptive.until_known import UntilKnown
from dlbs.core.experiment import Experiment
from dlbs.executors.base import Outcome
from dlbs.executors.local import LocalExecutor
from dlbs.results.statistics.ratio import Rules
from dlbs.run.driver import Event, Summary


@pytest.fixture
def rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UntilKnown:
    """A comparison of two experiments of the dummy framework, each of which takes part in every round."""
    monkeypatch.chdir(tmp_path)
    config = load_config(
        parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": "", "exp.log_dir": "logs"},
        variables={"exp.replica_batch": [1, 2]},
    )
    made = UntilKnown(config, Rules(by="exp.replica_batch"), max_repeats=3)
    made.look_through(LocalExecutor(tmp_path), validate=False)
    return made


def end(rounds: UntilKnown, experiment: Experiment, kind: str = "ended") -> None:
    """The experiment ends, and takes as long as in every round."""
    path = Path(str(experiment["exp.log_file"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {**experiment, "results.time": 2.0, "exp.seconds": 1.0, "exp.status": "ok"}
    path.write_text("".join(f"{key_line(key, value)}\n" for key, value in results.items()))
    rounds.notify(Event(kind, experiment, 0, 0, Outcome("ok") if kind == "ended" else None))


def draw(rounds: UntilKnown) -> Experiment:
    drawn = next(rounds)
    assert isinstance(drawn, dict)
    return drawn


def test_the_next_round_is_drawn_when_all_of_the_last_one_have_ended(rounds: UntilKnown) -> None:
    summary = Summary()
    rounds.begin(summary)
    least = summary.total
    assert least == 2 * rounds.pairs.first_round
    for number in range(1, 4):
        a, b = draw(rounds), draw(rounds)
        assert {a["exp.repeat"], b["exp.repeat"]} == {number}
        assert next(rounds) is None
        rounds.notify(Event("started", a, 0, 4))
        end(rounds, b)
        rounds.notify(Event("retried", a, 1, 4, Outcome("failure")))
        assert next(rounds) is None
        assert rounds.rounds == number - 1
        end(rounds, {**a, "exp.attempt": 2})
    with pytest.raises(StopIteration):
        next(rounds)
    assert rounds.rounds == 3
    assert rounds.stopped == "each experiment ran 3 times (--max-repeats)"


def test_experiments_that_ended_before_are_part_of_a_round(rounds: UntilKnown) -> None:
    for _ in range(2):
        end(rounds, draw(rounds), "skipped")
    assert draw(rounds)["exp.repeat"] == 2
    assert rounds.rounds == 1


def test_nothing_is_drawn_beyond_the_budget(rounds: UntilKnown) -> None:
    for _ in range(2):
        end(rounds, draw(rounds))
    rounds.budget = 0.5  # s; a run took 1 s
    with pytest.raises(StopIteration):
        next(rounds)
    assert "budget" in rounds.stopped
