"""Texts and metrics as models of Repro handle them."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.suites.repro import values


@pytest.mark.parametrize(
    ("text", "separator", "joined"),
    [("one", None, "one"), (["one", "two"], None, "one two"), (["one", "two"], "\n", "one\ntwo"), ([], None, "")],
)
def test_sentences_become_one_text(text: Any, separator: str | None, joined: str) -> None:
    assert values.flatten(text, separator=separator) == joined


@pytest.mark.parametrize(
    ("text", "empty"), [("", True), (" \n", True), ([], True), (["", " "], True), (["", "a"], False)]
)
def test_blanks_are_empty(text: Any, empty: bool) -> None:
    assert values.is_empty_text(text) is empty


def test_empty_inputs_go_and_their_values_come_back() -> None:
    empty, texts, references = values.remove_empty_inputs(["a", " ", "b"], [["r"], ["s"], ["t"]])
    assert (empty, texts, references) == ({1}, ["a", "b"], [["r"], ["t"]])
    assert values.insert_empty_values([0.5, 0.7], empty, 0.0) == [0.5, 0.0, 0.7]
    assert values.remove_empty_inputs(["", " "], [1, 2]) == ({0, 1}, [], [])
    with pytest.raises(ValueError, match="2 entries for 1 inputs"):
        values.remove_empty_inputs(["a"], [1, 2])
    with pytest.raises(ValueError, match="index 7 is out of range"):
        values.insert_empty_values([1.0], {7}, 0.0)


def test_candidates_with_the_same_references_are_grouped() -> None:
    candidates = ["a", "b", "c"]
    groups, references, places = values.group_by_references(candidates, [["x", ["y", "z"]], ["w"], ["x", ["y", "z"]]])
    assert groups == [["a", "c"], ["b"]]
    assert references == [["x", ["y", "z"]], ["w"]]
    assert values.ungroup_values(groups, places) == candidates
    assert values.ungroup_values({0: [1, 3], 1: [2]}, places) == [1, 2, 3]


NESTED: dict[str, Any] = {"rouge": {"recall": 0.5, "f1": {"mean": 0.25}}, "length": 3}


def test_nested_numbers_are_flattened_and_nested_again() -> None:
    flat = values.flatten_nested_dict(NESTED)
    assert flat == {("rouge", "recall"): 0.5, ("rouge", "f1", "mean"): 0.25, ("length",): 3}
    assert values.unflatten_dict(flat) == NESTED
    assert values.get_default_dict(NESTED, 0.0) == {"rouge": {"recall": 0.0, "f1": {"mean": 0.0}}, "length": 0.0}


def test_means_of_metrics() -> None:
    assert values.average_dicts([NESTED, {"rouge": {"recall": 1.5, "f1": {"mean": 0.75}}, "length": 5}]) == {
        "rouge": {"recall": 1.0, "f1": {"mean": 0.5}},
        "length": 4,
    }
    assert values.average_dicts([]) == {}
    with pytest.raises(ValueError, match=r"metrics of some inputs lack a, b\.c"):
        values.average_dicts([{"a": 1}, {"b": {"c": 1}}])


def test_means_of_groups() -> None:
    metrics = [{"f1": 1.0}, {"f1": 5.0}, {"f1": 3.0}]
    assert values.aggregate_metrics_by_group([0, 1, 0], metrics) == [{"f1": 2.0}, {"f1": 5.0}]
    with pytest.raises(ValueError, match="group 0 is missing"):
        values.aggregate_metrics_by_group([1, 1, 2], metrics)
    with pytest.raises(ValueError, match="2 groups for 3 metrics"):
        values.aggregate_metrics_by_group([0, 0], metrics)


def test_metrics_of_parallel_models_are_put_together() -> None:
    each = [{"f1": 1.0}, {"f1": 2.0}, {"f1": 6.0}]
    assert values.aggregate_parallel_metrics([({}, each[:2]), ({}, each[2:])]) == ({"f1": 3.0}, each)


def test_each_input_has_one_text() -> None:
    assert values.check_for_single_texts([["a"], [["b", "c"]]]) == ["a", ["b", "c"]]
    with pytest.raises(ValueError, match="expected one text per input, found 2"):
        values.check_for_single_texts([["a", "b"]])
