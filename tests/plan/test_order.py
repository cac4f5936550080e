"""In which order a plan runs."""

from __future__ import annotations

import pytest

from dlbs.config.load import load_config
from dlbs.plan.pipeline import ordered, resolved_plan


def test_orders() -> None:
    plan = [{"n": n, "exp.repeat": repeat} for n in (1, 2) for repeat in (1, 2)]
    assert list(ordered(plan, "plan", 0)) == plan
    assert [one["n"] for one in ordered(plan, "round-robin", 0)] == [1, 2, 1, 2]
    assert sorted(one["n"] for one in ordered(plan, "random", 5)) == [1, 1, 2, 2]


@pytest.mark.parametrize("order", ["random", "round-robin"])
def test_another_order_changes_nothing_else(order: str) -> None:
    config = load_config(parameters=["exp.framework=dummy", "exp.docker=false", "exp.repeats=2"])
    config.variables.update({"exp.model": ["a", "b", "c"], "exp.replica_batch": [1, 2, 4, 8], "exp.gpus": ["", "0"]})
    expected = list(resolved_plan(config, None)())
    found = list(resolved_plan(config, None, order=order, seed=1)())
    assert [one["exp.id"] for one in found] != [one["exp.id"] for one in expected]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
