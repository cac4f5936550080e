"""Repeats that are made as they are wanted: the same experiments that `exp.repeats` makes."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError
from dlbs.plan.pipeline import Repeats, resolved_plan

DUMMY = {"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""}
SEEDS = {"exp.seed": [1, 2]}


def test_any_repeat_is_that_of_a_plan_with_so_many() -> None:
    repeats = Repeats(load_config(parameters=DUMMY, variables=SEEDS))
    assert len(repeats) == 2
    planned = list(resolved_plan(load_config(parameters={**DUMMY, "exp.repeats": 3}, variables=SEEDS), None)())
    made = [repeats.experiment(number, repeat) for number in range(2) for repeat in (1, 2, 3)]
    assert [{**one, "exp.repeats": 1} for one in planned] == made
    assert len({one["exp.id"] for one in made}) == 6


def test_experiments_that_do_not_run_are_left_out() -> None:
    config = load_config(parameters=DUMMY, variables={**SEEDS, "exp.status": ["", "inactive"]})
    assert len(Repeats(config)) == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"exp.repeats": 5}, "exp.repeats must be 1"),
        ({"exp.log_file": "${exp.seed}.log"}, "all repeats of an experiment would write to the same log file: 1.log"),
        ({"exp.log_file": "${exp.repeat}.log"}, "two experiments would write to the same log file: 1.log"),
    ],
)
def test_runs_that_cannot_be_told_apart_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Repeats(load_config(parameters={**DUMMY, **parameters}, variables=SEEDS))
