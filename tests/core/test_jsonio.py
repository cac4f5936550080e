"""One loader for JSON from anywhere."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbs.core.files import MAX_DEPTH, MAX_DIGITS, JsonError, dump_json, load_json

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_json_writes_is_read_back(value: Any) -> None:
    for ascii_only in (True, False):
        written = json.dumps(value, ensure_ascii=ascii_only)
        assert load_json(written) == value
        assert load_json(written.encode()) == value


@pytest.mark.parametrize(
    ("document", "what", "line"),
    [
        ("", "it is empty", 1),
        ('{"a": 1,\n "b": }', "Expecting value", 2),
        ("[" * 100_000, "nested", 1),
        ('{"a":' * 100_000, "nested", 1),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested", 1),
        ("9" * (MAX_DIGITS + 1), "digits", 1),
        ("[1, -" + "9" * 100_000 + "]", "digits", 1),
        (b'\n"\xff"', "not UTF-8", 2),
        (b"\x00", "Expecting value", 1),
        ('{"a": 1} trailing', "Extra data", 1),
    ],
)
def test_what_is_refused_and_where(document: str | bytes, what: str, line: int) -> None:
    with pytest.raises(JsonError, match=what) as caught:
        load_json(document)
    assert caught.value.line == line


def test_a_value_of_the_greatest_depth_is_read() -> None:
    assert load_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_wide_values_are_not_deep() -> None:
    assert len(load_json("[" + ",".join(['{"a": []}'] * 1000) + "]")) == 1000


def test_a_byte_order_mark_is_ignored() -> None:
    assert load_json("\ufeff[1]") == load_json("\ufeff[1]".encode()) == [1]


def test_half_of_a_surrogate_pair_is_replaced_in_keys_and_values() -> None:
    value = load_json('{"\\ud800": ["a\\udc00b", "\\ud83d\\ude00"]}')
    assert value == {"\ufffd": ["a\ufffdb", "\U0001f600"]}
    json.dumps(value, ensure_ascii=False).encode()


def test_bytes_of_arguments_are_kept_on_request() -> None:
    text = json.dumps({os.fsdecode(b"\xff"): [os.fsdecode(b"a\x80b"), "\ud800"]})
    assert load_json(text, keep_bytes=True) == {os.fsdecode(b"\xff"): [os.fsdecode(b"a\x80b"), "\ufffd"]}
    assert load_json(text) == {"\ufffd": ["a\ufffdb", "\ufffd"]}


def test_numbers_that_benchmarks_write() -> None:
    assert math.isnan(load_json("NaN"))
    assert load_json("1e999") == math.inf
    assert load_json("9" * MAX_DIGITS) == int("9" * MAX_DIGITS)


def test_halves_of_surrogate_pairs_are_replaced_in_documents_for_programs() -> None:
    for value in ("\N{GRINNING FACE}\\udcff", "\\\\ud83d", "\\\N{GRINNING FACE}"):
        assert json.loads(dump_json([value])) == [value]
    assert json.loads(dump_json(["\\\udcff\udcffa"])) == ["\\\ufffd\ufffda"]
