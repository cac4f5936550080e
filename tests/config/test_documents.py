"""YAML and JSON documents: the values of plain words, and the places of errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlbs.config.documents import load, parse
from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError
from dlbs.plan.build import build


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
        ("1e-3", 0.001),
        ("[-2E+5, 1.e3, .5e3, 1e3, +1.5e3]", [-200000.0, 1000.0, 500.0, 1000.0, 1500.0]),
        ("[-.5, +.5, .5, 5., 01e1]", [-0.5, 0.5, 0.5, 5.0, 10.0]),
        (
            "[1e3abc, e5, .e5, 1e, -e1, ., 1e3e4, 1_0e3, 1e1.5, v1e3]",
            ["1e3abc", "e5", ".e5", "1e", "-e1", ".", "1e3e4", "1_0e3", "1e1.5", "v1e3"],
        ),
        ("['1e-3', \"1e-3\", !!str 1e-3, 1e-3 x]", ["1e-3", "1e-3", "1e-3", "1e-3 x"]),
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


@pytest.mark.parametrize("written", ["1.0", "1e3", "-.5"])
def test_keys_of_yaml_that_are_numbers_are_refused(written: str) -> None:
    with pytest.raises(ConfigError, match=rf"c\.yaml:2: key {re.escape(written)} is not a string .*in quotes"):
        parse("c.yaml", f"b: 1\n{written}: x\n")


def test_loaders_of_other_programs_are_left_alone() -> None:
    parse("c.yaml", "a: 1e-3\n")
    assert yaml.safe_load("1e-3") == "1e-3"


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


JSON = r"""{
 "variables": {
  "exp.replica_batch": [1], "exp.model":
   ["exp.seed", "}", {"exp.phase": ["\"]"]}]},
 "parameters": {
  "exp.seed": 1,
  "exp.replica_batch": "many", "gr\u00f6\u00dfe":
   [{}, []]
 },
 "extensions": [{}, {
   "condition": {"exp.model": 1}
  },
  [], "a,b",
  {}]
}"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("variables", "exp.replica_batch"), 3),
        (("variables", "exp.model"), 3),
        (("parameters",), 5),
        (("parameters", "exp.seed"), 6),
        (("parameters", "exp.replica_batch"), 7),
        (("parameters", "größe"), 7),
        (("extensions", 0), 10),
        (("extensions", 1), 10),
        (("extensions", 2), 13),
        (("extensions", 3), 13),
        (("extensions", 4), 14),
        (("extensions", 1, "condition"), 10),
    ],
)
def test_lines_of_json(keys: tuple[str | int, ...], line: int) -> None:
    assert parse("c.json", JSON).where(*keys) == f"c.json:{line}"


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('{"a": {"x": 1,\n"y": "x"},\n"b": {"x": 1,\n"x": 2}}', "x", 4),
        ('{"a": [{"x": 1},\n{"x": 1},\n{"y": 1,\n"\\u0079": 1}]}', "y", 4),
        ('{"a": 1,\n"a": ' + "[" * 150 + "]" * 150 + "}", "a", 2),
        ('{"b":\n' + "[" * 150 + '{"a": 1,\n"a": 2}' + "]" * 150 + "}", "a", 3),
    ],
)
def test_duplicate_keys_of_json(text: str, key: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"c\.json:{line}: duplicate key '{key}'"):
        parse("c.json", text)


def test_errors_in_json_name_the_place_of_the_value(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(JSON.replace(r"gr\u00f6\u00dfe", "my.a").replace('[], "a,b",', ""))
    with pytest.raises(ConfigError, match=r"c\.json:7: exp\.replica_batch must be of type int"):
        load_config([path])
    path.write_text('{"extensions": [\n{"condition": {"exp.model": "a"}},\n{"condition": {"exp.model": "("}}]}')
    with pytest.raises(ConfigError, match=r"c\.json:3: "):
        next(build(load_config([path])))


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    for name, text in (("a.json", '{"parameters":\n {"a.b": 1}}'), ("a.yaml", "parameters:\n a.b: 1\n")):
        (tmp_path / name).write_text("\ufeff" + text)
        document = load(tmp_path / name)
        assert document.data == {"parameters": {"a.b": 1}}
        assert document.where("parameters", "a.b") == f"{tmp_path / name}:2"
