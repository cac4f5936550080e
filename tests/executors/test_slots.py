"""What experiments ask for of a machine, and who gets it."""

from __future__ import annotations

import time

import pytest

from dlbs.errors import ConfigError, LaunchError
from dlbs.executors.base import Outcome
from dlbs.executors.slots import Grant, Slots
from dlbs.machine.resources import Request, cpu_list, memory_size
from dlbs.plan.order import ordered
from dlbs.run.policies import BatchLimits, Policies, parse_deadline


@pytest.mark.parametrize(
    ("experiment", "request_"),
    [
        ({}, Request()),
        ({"exp.gpus": "0,2"}, Request(gpus=frozenset({0, 2}))),
        ({"exp.gpus": "0:1,2:3"}, Request(gpus=frozenset(range(4)))),
        ({"exp.gpus": "any:2"}, Request(any_gpus=2)),
        ({"exp.gpus": 1}, Request(gpus=frozenset({1}))),
        ({"runtime.cpus": "4"}, Request(any_cpus=4)),
        ({"runtime.cpus": 4}, Request(any_cpus=4)),
        ({"runtime.cpus": "4-4"}, Request(cpus=frozenset({4}))),
        ({"runtime.cpus": "0-2,8"}, Request(cpus=frozenset({0, 1, 2, 8}))),
        ({"runtime.memory": "1.5G"}, Request(memory=3 << 29)),
    ],
)
def test_requests(experiment: dict[str, object], request_: Request) -> None:
    assert Request.of(experiment) == request_


@pytest.mark.parametrize(
    ("size", "expected"), [("", 0), ("12", 12), ("8G", 8 << 30), ("2 MiB", 2 << 20), ("1kb", 1024)]
)
def test_sizes(size: str, expected: int) -> None:
    assert memory_size(size) == expected


def test_malformed_requests() -> None:
    for experiment in ({"exp.gpus": "a"}, {"runtime.cpus": "0-x"}, {"runtime.memory": "much"}):
        with pytest.raises(LaunchError, match="which is no"):
            Request.of(experiment)
    assert cpu_list("3,0-1") == [3, 0, 1]


def test_what_is_taken_is_nobody_elses_until_it_is_given_back() -> None:
    slots = Slots(gpus=(0, 1, 2), cpus=(0, 1, 2, 3), memory=100)
    first = slots.take(Request(any_gpus=2, any_cpus=3, memory=60))
    assert first == Grant((0, 1), (0, 1, 2), 60)
    assert slots.take(Request(gpus=frozenset({1}))) is None
    assert slots.take(Request(any_gpus=2)) is None
    assert slots.take(Request(any_cpus=2)) is None
    assert slots.take(Request(memory=41)) is None
    second = slots.take(Request(gpus=frozenset({2}), any_cpus=1, memory=40))
    assert second == Grant((2,), (3,), 40)
    assert slots.take(Request()) == Grant()
    slots.give_back(first)
    assert slots.take(Request(gpus=frozenset({1}), cpus=frozenset({0}), memory=60)) == Grant((1,), (0,), 60)


@pytest.mark.parametrize(
    "request_",
    [Request(any_gpus=2), Request(any_cpus=3), Request(cpus=frozenset({9})), Request(memory=101)],
)
def test_what_no_machine_like_this_has_is_an_error(request_: Request) -> None:
    with pytest.raises(LaunchError, match="asks for"):
        Slots(gpus=(0,), cpus=(0, 1), memory=100).check(request_)


def test_deadlines() -> None:
    now = time.monotonic()
    assert parse_deadline("90m") - now == pytest.approx(5400, abs=1)
    assert parse_deadline("2h") - now == pytest.approx(7200, abs=1)
    assert parse_deadline("10") - now == pytest.approx(10, abs=1)
    assert 0 < parse_deadline("00:00") - now <= 86400
    assert parse_deadline("2999-01-01T00:00") > now
    for wrong in ("soon", "25:00", "2001-01-01", ""):
        with pytest.raises(ConfigError, match="--deadline"):
            parse_deadline(wrong)


def test_pauses_grow() -> None:
    assert [Policies().pause(attempt) for attempt in (1, 2, 3, 20)] == [1, 2, 4, 60]


def test_limits_are_those_of_the_same_thing() -> None:
    base = {"exp.framework": "pytorch", "exp.model": "a", "exp.phase": "training", "exp.dtype": "float32"}
    limits = BatchLimits()
    limits.learn({**base, "exp.replica_batch": 64}, Outcome("failure", "CUDA out of memory"))
    limits.learn({**base, "exp.replica_batch": 32}, Outcome("failure", "no", exit_code=3))
    limits.learn({**base, "exp.replica_batch": 2}, Outcome("failure", "exit code 1", exit_code=1))
    assert limits.reason_to_skip({**base, "exp.replica_batch": 33})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 32})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 33, "exp.dtype": "float16"})
    assert not limits.reason_to_skip({**base, "exp.replica_batch": 33, "exp.ignore_past_errors": True})


def test_orders() -> None:
    plan = [{"n": n, "exp.repeat": repeat} for n in (1, 2) for repeat in (1, 2)]
    assert list(ordered(plan, "plan", 0)) == plan
    assert [one["n"] for one in ordered(plan, "round-robin", 0)] == [1, 2, 1, 2]
    assert sorted(one["n"] for one in ordered(plan, "random", 5)) == [1, 1, 2, 2]
