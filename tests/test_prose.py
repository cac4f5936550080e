"""Texts for users are written in the field's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_prose import ROOT, findings

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_a_page_uses_the_terms_of_the_glossary(page: str) -> None:
    """`make check` checks them too, with the texts in code."""
    assert [*findings(ROOT / page)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Results are told at the end.", "'told'"),
        ("200 queries a second arrive.", "'queries a second'"),
        ("What varies is shown.", "'What'"),
        ("What varies?", None),
        ("The `told` parameter.", None),
        ("    told in code", None),
        ("The standard deviation of runs.", None),
        ("A deviation of 3 %.", "'deviation'"),
    ],
)
def test_words(tmp_path: Path, text: str, found: str | None) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    expected = [] if found is None else [found]
    assert [finding.split(": ")[1] for finding in findings(page)] == expected


def test_lines_are_short_where_they_can_be(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a " * 70 + "\n| " + "a " * 70 + "|\n```\n" + "a " * 70 + "\n```\n")
    assert [finding.split(": ")[0].rpartition(":")[2] for finding in findings(page)] == ["1"]
