"""The function of one shape, as docs/engine.md shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dlbs.experiment import Experiment
from dlbs.plan.resolve import Processor, source_of_function

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def blocks(language: str) -> list[str]:
    return re.findall(f"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def example() -> list[Experiment]:
    """The experiments that the page begins with."""
    names: Experiment = {}
    exec(blocks("python")[0], names)
    experiments: list[Experiment] = names["experiments"]
    return experiments


def test_the_page_shows_the_function_that_is_made() -> None:
    shown = ast.unparse(ast.parse(blocks("python")[1]))  # whatever the formatter made of it
    assert shown == source_of_function(example(), varying=["model", "batch"])


def test_the_function_gives_what_the_page_says() -> None:
    processor = Processor(environ={})
    assert [processor.resolve(one)["title"] for one in example()] == blocks("text")[0].splitlines()


def test_what_the_fastest_parameter_does_not_touch_is_computed_when_another_changes() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    shared = {"token": "$([x for x in range(${slow})])$", "both": "${slow}-${fast}"}
    tokens = [
        processor.resolve({"slow": slow, "fast": fast, **shared})["token"] for slow in (100, 200) for fast in range(4)
    ]
    assert len(tokens[2]) == 100
    assert tokens[2] is tokens[3]
    assert tokens[5] is tokens[7]
    assert len(tokens[7]) == 200


def test_a_new_value_each_time_is_no_constant() -> None:
    processor = Processor(environ={}, varying=["n"])
    made = [processor.resolve({"n": n, "id": "$(uuid4())$", "copy": "x${id}"}) for n in (1, 1, 2, 2)]
    assert len({one["copy"] for one in made}) == 4
    assert all(one["copy"] == f"x{one['id']}" for one in made)


@pytest.mark.parametrize("values", [[1, "${b}", 2], ["x", ["${b}"], "y"], [1, 2, 3]])
def test_another_shape_in_between_changes_nothing(values: list[object]) -> None:
    processor = Processor(environ={}, varying=["a"])
    for value in values * 2:
        one = {"a": value, "b": "B", "c": "<${a}>"}
        assert processor.resolve(one) == Processor(environ={}).resolve_uncached(one)
