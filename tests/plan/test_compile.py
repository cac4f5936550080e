"""The function of one shape, as dlbs/plan/engine.md shows it."""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path

import pytest

from dlbs.config.declarations import Parameter
from dlbs.core.errors import ExpressionError
from dlbs.core.experiment import Experiment
from dlbs.plan.compile import MAX_REMEMBERED, Processor

PAGE = Path(__file__).parents[2] / "dlbs" / "plan" / "engine.md"


def blocks(language: str) -> list[str]:
    return re.findall(f"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def example() -> list[Experiment]:
    """The experiments that the page begins with."""
    names: Experiment = {}
    exec(blocks("python")[0], names)
    experiments: list[Experiment] = names["experiments"]
    return experiments


def source(experiments: list[Experiment], varying: list[str]) -> str:
    processor = Processor(environ={}, varying=varying)
    for one in experiments:
        processor.resolve(one)
    assert processor.last is not None
    return processor.last.source


def test_the_page_shows_the_function_that_is_made() -> None:
    shown = ast.unparse(ast.parse(blocks("python")[1]))  # whatever the formatter made of it
    assert shown == source(example(), varying=["model", "batch"])


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


def test_parts_of_a_value_are_computed_when_they_change() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    shared = {
        "list": ["$([x for x in range(${slow})])$", "${fast}"],
        "dict": {"a": {"token": "$([x for x in range(${slow})])$"}, "b": "${fast}"},
        "text": "$(str(${slow}).upper())$/$('low' if ${fast} < 2 else 'high')$ of $(len(str(${slow})))$",
    }
    made = [{"slow": slow, "fast": fast, **shared} for slow in (100, 20) for fast in range(4)]
    resolved = [processor.resolve(one) for one in made]
    assert [one["text"] for one in resolved[2:6]] == ["100/high of 3", "100/high of 3", "20/low of 2", "20/low of 2"]
    for part in (lambda one: one["list"][0], lambda one: one["dict"]["a"]["token"]):
        assert part(resolved[2]) is part(resolved[3]) is not part(resolved[1])  # compiled at the second experiment
        assert part(resolved[5]) is part(resolved[7])
        assert len(part(resolved[7])) == 20
    assert resolved == [Processor(environ={}).resolve_uncached(one) for one in made]


def test_all_parts_of_a_value_share_its_budget() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    loop = "$(len([x + x for x in range(${%s}) for y in range(10)]))$"
    for slow, fast, is_in_budget in [(9, 1, 1), (9, 2, 1), (50_000, 1, 1), (50_000, 50_000, 0), (9, 50_000, 1)]:
        one = {"slow": slow, "fast": fast, "both": f"{loop % 'slow'}-{loop % 'fast'}"}
        for resolve in (processor.resolve, Processor(environ={}).resolve_uncached):
            if is_in_budget:
                assert resolve(one)["both"] == f"{10 * slow}-{10 * fast}"
            else:
                with pytest.raises(ExpressionError, match="more work than one value may take"):
                    resolve(one)


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


# What is remembered

BASE = {"token": "$([x for x in range(${slow})])$", "both": "${slow}-${fast}"}


def alike(a: object, b: object) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and True differ."""
    return repr(a) == repr(b)


def test_values_that_come_again_are_remembered_also_as_other_objects() -> None:
    processor = Processor(environ={}, varying=["word", "slow", "fast"])
    first = {"word": "a", "slow": 100, "fast": -1, **BASE}
    processor.resolve(first)
    processor.resolve({**first, "fast": -2})
    tokens = [
        processor.resolve({"word": json.loads(f'"word {word}"'), "slow": 100, "fast": fast, **BASE})["token"]
        for fast in range(4)
        for word in "ab"
    ]
    assert tokens[2] is tokens[4] is tokens[6]  # kept when it came again
    assert tokens[3] is tokens[5] is tokens[7]
    assert tokens[2] is not tokens[3]


def test_remembered_values_that_compare_equal_are_told_apart() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    values = [1, True, 1.0, "1", [1], [True], [1.0], {"k": 1}, {"k": True}, 0, False, 0.0, -0.0, None, "", "None"]
    processor.resolve({"slow": 1, "fast": -2, "copy": "${slow}", "text": "<${slow}>${fast}"})
    for fast, value in enumerate(values * 3):
        one = {"slow": value, "fast": fast, "copy": "${slow}", "text": "<${slow}>${fast}"}
        assert alike(processor.resolve(one), processor.resolve_uncached(one))


def test_an_error_is_not_remembered() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    base = {"part": "$(10 / ${slow})$", "both": "${part}-${fast}"}
    for slow in (5, 0, 2, 0, 5):
        for fast in range(3):
            one = {"slow": slow, "fast": fast, **base}
            if slow:
                assert processor.resolve(one)["both"] == f"{10 / slow}-{fast}"
            else:
                with pytest.raises(ExpressionError, match="ZeroDivisionError"):
                    processor.resolve(one)


def test_the_memory_does_not_grow_with_the_plan() -> None:
    processor = Processor(environ={}, varying=["slow", "fast"])
    for slow in range(2 * MAX_REMEMBERED + 10):
        for fast in range(2):
            assert (
                processor.resolve({"slow": slow, "fast": fast, "both": "${slow}-${fast}"})["both"] == f"{slow}-{fast}"
            )
    assert 0 < len(processor.memory) <= MAX_REMEMBERED


def test_in_random_order_what_few_parameters_decide_is_computed_once_for_each_combination() -> None:
    plan = [
        {"few": few, "slow": slow, "fast": fast, **BASE, "pair": "$(['${few}', ${slow}])$"}
        for few in "abc"
        for slow in (10, 20)
        for fast in range(30)
    ]
    random.Random(1).shuffle(plan)
    processor = Processor(environ={})
    processor.expect_random_order(plan)
    resolved = [processor.resolve(one) for one in plan]
    assert resolved == [processor.resolve_uncached(one) for one in plan]
    assert (
        len({id(one["pair"]) for one in resolved[2:]}) <= 2 * 6
    )  # the first two experiments are resolved value by value


@pytest.mark.parametrize("value", ["x$([${n}, ${words}])$", "$('${n}')$ $(${words})$", ["$(${words})$ ${n}"]])
def test_each_value_has_its_own_budget(value: object) -> None:
    words = [f"word{number:04}" for number in range(2_000)]
    processor = Processor(environ={})
    experiments = [{"n": n, "words": words, "v": value} for n in range(200)]
    resolved = list(processor.resolve_all(experiments))  # all of them together exceed the budget of one
    assert resolved[-1] == processor.resolve_uncached(experiments[-1])


@pytest.mark.parametrize("declared", [{}, {"v": Parameter("v", type="str")}, {"v": Parameter("v", type="any")}])
@pytest.mark.parametrize("position", [0, 3])
def test_a_text_is_too_large_at_any_place_in_a_plan(declared: dict[str, Parameter], position: int) -> None:
    sizes = [1, 2, 3, 1_000_000]
    sizes.insert(position, 1_000_001)
    processor = Processor(declared, environ={})
    for size in sizes:
        one = {"n": size, "v": "$('a' * int(${n}))$"}
        if size <= 1_000_000:
            assert len(processor.resolve(one)["v"]) == size
            continue
        for resolve in (processor.resolve, processor.resolve_uncached):
            with pytest.raises(ExpressionError, match=r"larger than .* 1,000,000 characters"):
                resolve(one)
