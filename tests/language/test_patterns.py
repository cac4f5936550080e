"""Regular expressions: RE2 behind Python's functions. What both understand gives the same; what RE2 lacks is said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbs.core.errors import ExpressionError
from dlbs.language.patterns import compiled

atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "é", "x", r"\.", "(a)", "(?:ab)", "(?P<n>b)", r"\u00e9"])
repeated = st.builds(lambda atom, times: atom + times, atoms, st.sampled_from(["", "", "?", "*", "+", "+?", "{1,2}"]))
sequences = st.lists(repeated, min_size=1, max_size=4).map("".join)
patterns = st.builds(
    lambda start, body, end: start + body + end, st.sampled_from(["", "^"]), sequences, st.sampled_from(["", r"\Z"])
)
subjects = st.text("abéx.1", max_size=12)


def valid(pattern: str) -> bool:
    return pattern.count("(?P<n>") <= 1


@given(patterns.filter(valid), subjects)
def test_common_patterns_give_what_python_gives(pattern: str, subject: str) -> None:
    ours, theirs = compiled(pattern), re.compile(pattern)
    for how in ("match", "fullmatch", "search"):
        found, expected = getattr(ours, how)(subject), getattr(theirs, how)(subject)
        assert (found is None) == (expected is None)
        if found is not None:
            assert (found.span(), found.group(), found.groups(), found.groupdict()) == (
                expected.span(),
                expected.group(),
                expected.groups(),
                expected.groupdict(),
            )
    assert [found.span() for found in ours.finditer(subject)] == [found.span() for found in theirs.finditer(subject)]
    assert ours.findall(subject) == theirs.findall(subject)
    assert ours.split(subject) == theirs.split(subject)
    assert ours.split(subject, 1) == theirs.split(subject, maxsplit=1)
    assert ours.sub(r"<\g<0>>\n", subject) == theirs.sub(r"<\g<0>>\n", subject)
    assert ours.sub("-", subject, 2) == theirs.sub("-", subject, count=2)


@pytest.mark.parametrize(
    ("pattern", "replacement", "subject", "expected"),
    [
        ("(a)(b)?", r"\2\1", "ab a", "ba a"),
        ("(?P<first>[a-z]+) (?P<second>[a-z]+)", r"\g<second> \g<first>", "one two", "two one"),
        ("x*", "-", "abxd", "-a-b--d-"),
        (r"\b", "|", "ab cd", "|ab| |cd|"),
        ("a", r"\\", "a", "\\"),
        ("é", "ü", "été", "ütü"),
    ],
)
def test_replacements(pattern: str, replacement: str, subject: str, expected: str) -> None:
    assert compiled(pattern).sub(replacement, subject) == expected == re.sub(pattern, replacement, subject)


@pytest.mark.parametrize("replacement", [r"\3", r"\g<other>", r"\q", "\\"])
def test_replacements_that_python_refuses(replacement: str) -> None:
    with pytest.raises((re.error, IndexError)):
        re.sub("(a)", replacement, "a")
    with pytest.raises(ExpressionError):
        compiled("(a)").sub(replacement, "a")


@pytest.mark.parametrize(
    ("pattern", "said", "instead"),
    [
        ("(?=a)", "look-around", "group"),
        ("(?<!a)b", "look-around", "group"),
        (r"(a)\1", "back-references", "compare"),
        ("(?P<n>a)(?P=n)", "back-references", "compare"),
        ("(?>a)", "atomic", "leave them out"),
        ("a++", "possessive", "leave them out"),
        ("(?(1)a|b)", "conditional", "alternatives"),
        ("(?x) a", "flags", "i, m and s"),
        ("(", "missing", ""),
        ("a{2000}", "repetition", ""),
        (r"\C", "one byte", "."),
        ("a" * 1001, "1,001 characters", ""),
        ("\ud800", "surrogate", ""),
    ],
)
def test_what_is_missing_is_said_with_what_to_write_instead(pattern: str, said: str, instead: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compiled(pattern)
    assert said in raised.value.what
    assert instead in raised.value.hint


def test_matches_have_the_methods_of_python() -> None:
    found = compiled("(?P<a>é)(b)?").search("xéc")
    assert found is not None
    assert (found.group("a"), found.group(1, 2), found.groups("-")) == ("é", ("é", None), ("é", "-"))
    assert (found.start("a"), found.end("a"), found.span(2)) == (1, 2, (-1, -1))
    with pytest.raises(IndexError):
        found.group(3)
    with pytest.raises(IndexError):
        found.group("nope")


def test_a_text_that_is_no_unicode_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="surrogate"):
        compiled("a").search("\udc80")


@pytest.mark.parametrize(("pattern", "subject"), [(r"\d", "٣"), (r"\w", "é"), (r"a$", "a\n")])
def test_documented_differences(pattern: str, subject: str) -> None:
    assert re.search(pattern, subject)
    assert not compiled(pattern).search(subject)
