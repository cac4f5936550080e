"""What experiments ask for of a machine."""

from __future__ import annotations

import pytest

from dlbs.core.errors import LaunchError
from dlbs.machine.resources import Request, cpu_list, memory_size


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


@pytest.mark.parametrize(("gpus", "count"), [("", 0), ("3", 1), ("0:1,2:3", 4), ("any:2", 2)])
def test_a_scheduler_selects_the_gpus(gpus: str, count: int) -> None:
    assert Request.of({"exp.gpus": gpus}, allocated=True) == Request(any_gpus=count)


@pytest.mark.parametrize(
    ("size", "expected"), [("", 0), ("12", 12), ("8G", 8 << 30), ("2 MiB", 2 << 20), ("1kb", 1024)]
)
def test_sizes(size: str, expected: int) -> None:
    assert memory_size(size) == expected


def test_malformed_requests() -> None:
    for experiment in ({"exp.gpus": "a"}, {"runtime.cpus": "0-x"}, {"runtime.memory": "much"}):
        with pytest.raises(LaunchError, match="is not a"):
            Request.of(experiment)
    assert cpu_list("3,0-1") == [3, 0, 1]


@pytest.mark.parametrize(
    "experiment",
    [
        {"runtime.cpus": "0-9999999999"},
        {"runtime.cpus": "9999999999"},
        {"runtime.cpus": "0-65000," * 9},
        {"runtime.cpus": "0-" + "9" * 1000},
        {"runtime.cpus": "9" * 9000},
        {"runtime.cpus": "²"},
        {"runtime.memory": "9" * 400 + "G"},
        {"exp.gpus": "any:" + "9" * 9000},
        {"exp.gpus": "9" * 9000},
    ],
)
def test_numbers_beyond_any_machine_are_malformed(experiment: dict[str, object]) -> None:
    with pytest.raises(LaunchError, match=r"is not a|names more CPUs than any machine has") as caught:
        Request.of(experiment)
    assert len(str(caught.value)) < 300
