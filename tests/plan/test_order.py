"""In which order a plan runs."""

from __future__ import annotations

from dlbs.plan.order import ordered


def test_orders() -> None:
    plan = [{"n": n, "exp.repeat": repeat} for n in (1, 2) for repeat in (1, 2)]
    assert list(ordered(plan, "plan", 0)) == plan
    assert [one["n"] for one in ordered(plan, "round-robin", 0)] == [1, 2, 1, 2]
    assert sorted(one["n"] for one in ordered(plan, "random", 5)) == [1, 1, 2, 2]
