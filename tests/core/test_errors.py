"""Errors that Python callers see name the arguments of functions."""

from __future__ import annotations

from typing import Any

import pytest

import dlbs as package
from dlbs.core.errors import DlbsError, argument_of


@pytest.mark.parametrize(
    ("where", "argument"),
    [
        ("-Pexp.model", "parameters['exp.model']"),
        ("-P", "parameters"),
        ("-Va,b", "variables['a,b']"),
        ("-E", "extensions"),
        ("--by exp.model", "by='exp.model'"),
        ("--filter-query", "query"),
        ("--order-seed", "order_seed"),
        ("--", "command"),
        ("-- bench {x}", "command bench {x}"),
        ("plan.yaml:3", "plan.yaml:3"),
        ("exp.a → exp.b", "exp.a → exp.b"),
        ("-", "-"),
    ],
)
def test_flags_and_the_arguments_that_they_are(where: str, argument: str) -> None:
    assert argument_of(where) == argument


def empty_frame() -> Any:
    import pandas  # here, because every process of pytest imports this file

    return pandas.DataFrame()


RUNS: list[dict[str, Any]] = [{"exp.model": "a", "exp.status": "ok", "results.throughput": 1.0}] * 2


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda: package.load_config(parameters={"exp.modle": "a"}), "parameters['exp.modle']: "),
        (lambda: package.load_config(parameters=["exp.modle"]), "parameters: "),
        (lambda: package.load_config(variables={"exp.phase": ["x"]}), "variables['exp.phase']: "),
        (lambda: package.load_config(extensions=["{"]), "extensions: "),
        (lambda: package.load_config(extensions=[{"parameters": {"exp.modle": 1}}]), "extensions: "),
        (lambda: package.load_config(parameters={"mine": 1}), "parameters['mine']: "),
        (lambda: package.load_config(select=["nothing"]), "select: "),
        (lambda: package.load_config(command=["bench", "{n}"]), "command bench {n}: "),
        (lambda: package.load_config(command=[]), "command: "),
        (
            lambda: list(package.build_plan(package.load_config(extensions=[{"condition": {"exp.modle": 1}}]))),
            "extensions: ",
        ),
        (lambda: package.validate([], executor="nobody"), "executor: "),
        (lambda: package.compare(RUNS, by="exp.modle"), "by='exp.modle': "),
        (lambda: package.filter_results(empty_frame(), "{"), "query: "),
    ],
)
def test_no_error_of_the_api_names_a_flag(call: Any, place: str) -> None:
    with pytest.raises(DlbsError) as raised:
        call()
    assert str(raised.value).startswith(place)


def test_several_problems_each_name_their_argument() -> None:
    with pytest.raises(DlbsError) as raised:
        package.load_config(parameters={"exp.modle": "a", "exp.phase": "x"})
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()[1:]] == [
        "  parameters['exp.phase']",
        "  parameters['exp.modle']",
    ]
