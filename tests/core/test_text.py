"""Numbers for people."""

from __future__ import annotations

import csv
import io

import pytest

from benchmark_core.text import printable, short_number
from dlbs.core.text import csv_line, duration, formula_escaped, formula_unescaped, plus_minus


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0012345, "0.001234"),
        (1.0, "1.000"),
        (12.345, "12.35"),
        (999.94, "999.9"),
        (999.96, "1,000"),
        (1234.6, "1,235"),
        (1e6, "1,000,000"),
        (0, "0"),
    ],
)
def test_short_number(value: float, expected: str) -> None:
    assert short_number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0.0"), (0.0521, "0.052"), (7.0, "7.0"), (57.2, "57"), (99.6, "100"), (100.0, "100"), (1234.5, "1,234")],
)
def test_plus_minus(value: float, expected: str) -> None:
    assert plus_minus(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.25, "0.2 s"), (12.4, "12 s"), (59.9, "60 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_printable() -> None:
    assert printable("a\x1b[31mb\nc é") == "a?[31mb\nc é"


@pytest.mark.parametrize(
    "value", ["=1", "+1", "-1", "@a", "\t1", "\r1", " =1", "\n=1", " \n\t -1", "\uff1d1", "\u3000=1", "'=1", "'' =1"]
)
def test_a_text_that_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(value: str) -> None:
    assert formula_escaped(value).replace("\n'", "\n") == f"'{value}"
    assert formula_unescaped(formula_escaped(value)) == value


@pytest.mark.parametrize("value", ["", "a=1", "1", "'a", "don't", " 1", "[-1]"])
def test_other_texts_have_no_apostrophe(value: str) -> None:
    assert formula_escaped(value) == value
    assert formula_unescaped(value) == value


@pytest.mark.parametrize(
    "value",
    [f"net{mark}{blank}{sign}1" for mark in "\r\n\v\f\x85\u2028" for blank in ("", " ", "'") for sign in "=+-@\uff1d"],
)
def test_no_line_inside_a_cell_is_a_formula(value: str) -> None:
    escaped = formula_escaped(value)
    assert all(not line.strip().startswith(("=", "+", "-", "@", "\uff1d")) for line in escaped.splitlines())
    assert formula_unescaped(escaped) == value
    (row,) = csv.reader(io.StringIO(csv_line([value, -1.5, None, True]), newline=""))
    assert row == [escaped, "-1.5", "", "true"]


@pytest.mark.parametrize("separator", ";\t,\r\n")
def test_a_cell_with_a_separator_of_any_spreadsheet_is_quoted(separator: str) -> None:
    assert csv_line([f"a{separator}=b"]).startswith('"a')
