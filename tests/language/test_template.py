r"""`${...}`, `$<...>`, `\${`: what is a reference, what is text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbs.core.errors import ExpressionError
from dlbs.language.template import escape, is_template
from dlbs.plan.compile import Processor

VALUES = {"a": 1, "b": "two", "l": ["x", "y z"], "which": "b", "t": True}


def resolve(value: Any) -> Any:
    return Processor(environ={"HOME": "/home/me"}).resolve({**VALUES, "result": value})["result"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${a}", 1),
        ("$<a>", 1),
        ("${l}", ["x", "y z"]),
        ("${a} ", "1 "),
        ("${b}-$<a>", "two-1"),
        ("${l}!", "x y z!"),
        ("${t}!", "true!"),
        ("${${which}}", "two"),
        ("${$<which>}!", "two!"),
        ("${HOME}/x", "/home/me/x"),
        (r"\${a}", "${a}"),
        (r"\$<a>", "$<a>"),
        (r"\$(1)$", "$(1)$"),
        (r"\\${a}", r"\1"),
        (r"\\\${a}", r"\${a}"),
        ("$a $HOME $$ $", "$a $HOME $$ $"),
        ("$(date)", "$(date)"),
        ("cost: 5$", "cost: 5$"),
        (["${a}", "x${b}"], [1, "xtwo"]),
        ({"k": "${a}", "${a}": ["${b}"]}, {"k": 1, "${a}": ["two"]}),
        ("$(1)$$(2)$", "12"),
        ("$('\\${a}')$", "${a}"),
        ("", ""),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_value(value: Any, expected: Any) -> None:
    resolved = resolve(value)
    assert resolved == expected
    assert type(resolved) is type(expected)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${a", "close it with }"),
        ("${}", "empty reference"),
        ("$<a", "close it with >"),
        ("${a:-default}", r"write \${"),
        ("${a b}", "not a parameter name"),
    ],
)
def test_malformed_references_are_errors(value: str, said: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        resolve(value)
    assert said in str(raised.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
tricky_text = st.text(st.sampled_from("\\$({<>})a'\"\n é"), max_size=12)


@given(json_values | tricky_text | st.lists(tricky_text, max_size=3))
def test_escaped_values_come_through_unchanged(value: Any) -> None:
    resolved = Processor(environ={}).resolve({"value": escape(value)})["value"]
    assert resolved == value
    assert repr(resolved) == repr(value)


@given(tricky_text)
def test_text_without_openings_is_no_template(text: str) -> None:
    if not any(opening in text for opening in ("${", "$<", "$(")):
        assert not is_template(text)
        assert resolve(text) == text
