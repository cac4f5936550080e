"""Tables of columns: what was added comes back exactly, and operations agree with those on dictionaries."""

from __future__ import annotations

import json
import pickle
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbs.results.columns import ABSENT, ROWS, hashable
from dlbs.results.read.query import compile_query
from dlbs.results.runs import Runs, has_value, number

ODD = [
    1,
    1.0,
    True,
    0,
    0.0,
    -0.0,
    False,
    2**70,
    10**300,
    None,
    "",
    "1",
    "é\ud800",
    [1],
    [1.0],
    [True],
    {"a": 1},
    {"a": True},
]
LISTS = [[float(i) for i in range(20)], [0.5] * 17 + [1], list(range(40))]
VALUES = st.sampled_from(ODD + LISTS) | st.floats(allow_nan=True) | st.text(max_size=3)
RECORDS = st.lists(st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=6), max_size=150)


def texts(records: Any) -> list[str]:
    return [json.dumps(dict(record)) for record in records]


@given(RECORDS)
def test_rows_come_back_as_they_were(records: list[dict[str, Any]]) -> None:
    runs = Runs.of(records)
    assert texts(runs) == texts(records) == list(runs.json_lines())
    assert texts(pickle.loads(pickle.dumps(runs))) == texts(records)
    assert texts(pickle.loads(pickle.dumps(runs[::2]))) == texts(records[::2])
    assert texts(Runs.together([runs[1:], runs[:1]])) == texts([*records[1:], *records[:1]])


@given(RECORDS, st.lists(st.sampled_from("abcdefx"), max_size=3, unique=True))
def test_groups_are_those_of_equal_values(records: list[dict[str, Any]], names: list[str]) -> None:
    records = [{name: value for name, value in record.items() if value == value} for record in records]
    expected: dict[tuple[Any, ...], list[Any]] = {}
    for record in records:
        expected.setdefault(tuple(hashable(record.get(name)) for name in names), []).append(record)
    found = Runs.of(records).group(names)
    assert list(found) == list(expected)
    assert [texts(runs) for runs in found.values()] == [texts(runs) for runs in expected.values()]


@given(RECORDS, st.sampled_from("abx"))
def test_values_numbers_and_keys_are_those_of_the_records(records: list[dict[str, Any]], name: str) -> None:
    runs = Runs.of(records)
    assert json.dumps(runs.values(name)) == json.dumps([record.get(name) for record in records])
    assert runs.names == list(dict.fromkeys(key for record in records for key in record))
    for run, record in zip(runs, records, strict=True):
        assert (name in run) == (name in record)
        assert list(run) == list(record)


@given(RECORDS, st.sampled_from("abx"))
def test_the_values_that_are_present_are_those_of_the_records(records: list[dict[str, Any]], name: str) -> None:
    expected = dict.fromkeys(json.dumps(record[name]) for record in records if name in record)
    # Long lists are not looked up, so they may occur more than once.
    assert list(dict.fromkeys(map(json.dumps, Runs.of(records).present(name)))) == list(expected)


@given(st.lists(st.fixed_dictionaries({"exp.status": st.sampled_from(["ok", "failure"]), "a": st.sampled_from(ODD)})))
def test_only_numbers_of_successful_runs_can_be_compared(records: list[dict[str, Any]]) -> None:
    for metric in ("results.throughput", "results.time"):
        named = [{"exp.status": record["exp.status"], metric: record["a"]} for record in records]
        expected = [number(record, metric) if has_value(record, metric) else None for record in named]
        assert Runs.of(named).comparable(metric) == expected


@pytest.mark.parametrize("name", ["new", "a"])
def test_a_key_can_be_added_replaced_and_removed(name: str) -> None:
    records = [{"a": 1, "b": 2}, {"b": 3}, {"a": 4}]
    made = Runs.of(records).derived(name, [10, 20, ABSENT])
    expected = [{**records[0], name: 10}, {**records[1], name: 20}, {key: 4 for key in ("a",) if key != name}]
    assert [dict(run) for run in made] == expected


def test_values_that_json_does_not_have_are_kept() -> None:
    when, known = datetime(2026, 1, 2), {1, 2}
    runs = Runs.of([{"a": value} for value in (when, known, 1.0, datetime(2026, 1, 2), [when], ([1], 2))])
    assert runs.values("a") == [when, known, 1.0, when, [when], ([1], 2)]
    assert len(runs[:1].present("a")) == len(runs[3:4].present("a")) == 1
    assert len(Runs.of([{"a": when}, {"a": 1.0}, {"a": datetime(2026, 1, 2)}]).group(["a"])) == 2


def test_many_rows_with_different_keys_keep_their_order() -> None:
    records = [{f"key {number % 7}": number, "same": "text"} for number in range(2 * ROWS + 5)]
    assert [dict(run) for run in Runs.of(records)] == records


def test_a_function_is_called_once_for_each_combination_of_values() -> None:
    runs = Runs.of([{"a": number % 2, "b": number % 3, "c": number} for number in range(60)])
    calls = []

    def total(run: Any) -> int:
        calls.append(run)
        return int(run["a"] + run["b"])

    assert runs.each(["a", "b"], total) == [number % 2 + number % 3 for number in range(60)]
    assert len(calls) == 6


def test_codes_of_a_key_that_few_rows_have_end() -> None:
    runs = Runs.of([{"a": number} | ({"rare": number} if number == 7 else {}) for number in range(40)])
    column = runs.table.column("rare")
    assert column is not None
    assert sorted(column.codes) == [-1] * 39 + [0]


def test_functions_and_queries_tell_equal_values_of_several_types_apart() -> None:
    records = [{"a": 1, "b": None}, {"a": 1.0}, {"a": True, "b": 0.0}, {"a": 1.0, "b": -0.0}]
    runs = Runs.of(records)
    assert runs.each(["a", "b"], lambda run: repr(dict(run))) == list(map(repr, records))
    assert len(compile_query('{"a": "1"}').of(runs)) == 2  # 1 and true, but not 1.0
