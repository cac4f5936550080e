"""YAML and JSON documents: the values of plain words, and the places of errors."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.config.documents import parse
from dlbs.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("4:00:00", "4:00:00"),
        ("1:2", "1:2"),
        ("-1:30", "-1:30"),
        ("1:30.5", "1:30.5"),
        ("[0:30, 1:30]", ["0:30", "1:30"]),
        ("[1:1, 2:1]", ["1:1", "2:1"]),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b1", 1),
        ("0o17", "0o17"),
        ("[00, 07, 0_7, 08, 0.5]", [0, 7, 7, "08", 0.5]),
        ("'0123'", "0123"),
        (".inf", float("inf")),
        ("[yes, no, on, off, y, n]", [True, False, True, False, "y", "n"]),
        ("!!int '12'", 12),
        ("!!float 1", 1.0),
    ],
)
def test_plain_words_of_yaml(written: str, value: Any) -> None:
    data = parse("c.yaml", f"a: {written}\n").data
    assert (data, type(data["a"])) == ({"a": value}, type(value))


def test_keys_of_yaml_with_colons_are_text() -> None:
    assert parse("c.yaml", "1:30: x\n").data == {"1:30": "x"}


@pytest.mark.parametrize(
    ("written", "decimal"), [("0123", "123"), ("-017", "-17"), ("+0_12", r"\+12"), ("[1, 0010]", "10")]
)
def test_octal_numbers_of_yaml_are_refused(written: str, decimal: str) -> None:
    with pytest.raises(ConfigError, match=rf"c\.yaml:2: .* is octal in YAML 1\.1.*write {decimal}, or .* quotes"):
        parse("c.yaml", f"b: 1\na: {written}\n")


@pytest.mark.parametrize("written", ["!!bool maybe", '!!int ""', '!!float ""', "!!int x", "0x_"])
def test_tagged_values_of_another_type_are_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml:2: .*is not a value of the type (bool|int|float)"):
        parse("c.yaml", f"b: 1\na: {written}\n")


def test_dates_of_yaml_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml:1: '2026-11-22' has no equivalent in JSON .*quoted"):
        parse("c.yaml", "a: 2026-11-22\n")
