"""What tests do on pages: wait for them, read a column, sort, choose a value of a facet, and ask axe-core."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

__all__ = ["choose", "column", "facet", "patient", "sort_by", "values_of", "violations"]


def patient(context: BrowserContext) -> BrowserContext:
    """Let the pages of a context wait twice as long as usual, for a busy machine; a label that has changed still fails soon."""
    context.set_default_timeout(60_000)
    return context


def column(page: Page, title: str) -> list[str]:
    """The cells of a column that are drawn, from top to bottom."""
    titles = page.locator("#results thead th").all_inner_texts()
    index = next(number for number, words in enumerate(titles) if words.startswith(title))
    rows = page.locator("#results tbody tr:not([aria-hidden])")
    return rows.locator(f"td:nth-child({index + 1})").all_inner_texts()


def sort_by(page: Page, title: str) -> None:
    page.locator("#results thead button", has_text=re.compile(f"^{re.escape(title)}$")).click()


def facet(page: Page, title: str) -> Locator:
    """The facet of a parameter, opened."""
    found = page.locator("#facets > details", has=page.locator("legend", has_text=re.compile(f"^{re.escape(title)}$")))
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    found.locator("label").first.wait_for()
    return found


def values_of(page: Page, title: str) -> dict[str, int]:
    """Value of a facet → how many experiments of the selection have it, in the order in which they stand."""
    lines = facet(page, title).locator("label").all_inner_texts()
    pairs = [line.strip().rpartition(" ") for line in lines]
    return {value.strip(): int(count.replace(",", "")) for value, _, count in pairs}


def choose(page: Page, title: str, value: str) -> None:
    """Tick a value of a facet: the one whose whole text this is."""
    place = list(values_of(page, title)).index(value)
    facet(page, title).locator("label input").nth(place).check()


def violations(page: Page, *rules: str) -> list[tuple[str, list[str]]]:
    """What axe-core finds wrong with the page as it is, after every part that can be opened has been, by all rules, or by a few that take less time."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    options: dict[str, Any] = {"resultTypes": ["violations", "passes"]}
    found: dict[str, Any] = Axe().run(page, options={**options, "runOnly": rules} if rules else options).response
    assert rules or len(found["passes"]) > 20  # it looked at many things
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
