"""Who gets what of this machine."""

from __future__ import annotations

import pytest

from dlbs.errors import LaunchError
from dlbs.executors.slots import Grant, Slots
from dlbs.machine.resources import Request


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
    [
        Request(any_gpus=2),
        Request(gpus=frozenset({0, 3})),
        Request(any_cpus=3),
        Request(cpus=frozenset({9})),
        Request(memory=101),
    ],
)
def test_what_no_machine_like_this_has_is_an_error(request_: Request) -> None:
    with pytest.raises(LaunchError, match="requests"):
        Slots(gpus=(0,), cpus=(0, 1), memory=100).check(request_)
