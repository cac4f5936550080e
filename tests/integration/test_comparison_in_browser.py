"""The comparison page in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import start_dlbs
from tests.integration.pages import choose, column, sort_by, values_of, violations
from tests.made_logs import make_logs, make_record
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.integration, pytest.mark.needs("Chromium")]
HOSTILE = "<img src=x onerror=window.hacked=1></script>'\"&"


def runs(factor: float, **more: Any) -> list[dict[str, Any]]:
    return [
        make_record(model, batch, time=10 * batch * slow, repeat=repeat, seed=factor, **more)
        for model, slow in (("alexnet", 1.0), ("vgg16", factor), (HOSTILE, 1 / factor))
        for batch in (2, 16)
        for repeat in range(1, 7)
    ]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a comparison of six experiments: two are as fast as before, two slower, and two, of a hostile name, faster."""
    directory = tmp_path_factory.mktemp("comparison")
    make_logs(directory / "a", runs(1, runtime__malloc="system"))
    make_logs(directory / "b", runs(1.3, runtime__malloc=HOSTILE))
    made = start_dlbs(directory, "compare", "a", "b", "--html", "c.html")
    made.communicate(timeout=PATIENCE)
    assert made.wait() == 0
    return (directory / "c.html").as_uri()


def extent(page: Page, row: int, part: str) -> tuple[float, float]:
    """From where to where a part of the drawing in a row goes, in its own units."""
    box = page.locator("#results tbody svg.forest").nth(row).locator(part).first
    found = box.evaluate("(one) => { const box = one.getBBox(); return [box.x, box.x + box.width]; }")
    return float(found[0]), float(found[1])


def test_intervals_are_drawn_against_the_threshold(page: Page, comparison: str) -> None:
    page.goto(comparison)
    verdicts = column(page, "verdict")
    assert sorted(verdicts) == ["faster", "faster", "same", "same", "slower", "slower"]
    for row, verdict in enumerate(verdicts):
        band, interval = extent(page, row, ".band"), extent(page, row, ".interval")
        if verdict == "slower":
            assert interval[1] < band[0]
        elif verdict == "faster":
            assert interval[0] > band[1]
        else:
            assert band[0] <= interval[0] <= interval[1] <= band[1]
        diamond = extent(page, row, ".ratio")
        assert interval[0] <= sum(diamond) / 2 <= interval[1]


def test_verdicts_sort_and_narrow(page: Page, comparison: str) -> None:
    page.goto(comparison)
    assert values_of(page, "verdict") == {"slower": 2, "faster": 2, "same": 2}
    sort_by(page, "B over A")
    ratios = [float(words.split()[0]) for words in column(page, "B over A")]
    assert ratios == sorted(ratios, reverse=True)
    choose(page, "verdict", "slower")
    assert page.locator("#shown").inner_text() == "2 of 6"
    assert all("vgg16" in label for label in column(page, "experiment"))
    page.fill("#words", "gg16")
    assert page.locator("#shown").inner_text() == "0 of 6"


def test_the_runs_of_a_row_are_shown_on_demand(page: Page, comparison: str) -> None:
    page.goto(comparison)
    assert page.locator("#distribution > *").count() == 0
    choose(page, "verdict", "slower")
    opener = page.locator(".opener").first
    opener.focus()
    page.keyboard.press("Enter")
    panel = page.locator("#distribution")
    assert panel.locator("circle.run").count() == 12
    assert panel.locator("canvas").count() == 1  # of the batches
    median = panel.locator("tbody tr").first.locator("td").first.inner_text()
    assert re.fullmatch(r"[\d,]+\.\d{1,6}", median)  # seven digits
    values = panel.locator("tbody tr").first.locator("td").nth(1).inner_text().split(", ")
    wanted = [
        one["results.throughput"] for one in runs(1) if one["exp.model"] == "vgg16" and one["exp.replica_batch"] == 2
    ]
    assert [float(value) for value in values] == [float(f"{value:.7g}") for value in wanted]
    assert panel.locator("h3").evaluate("(one) => one === document.activeElement")
    panel.get_by_role("button", name="close").click()
    assert page.locator("#distribution > *").count() == 0


def test_hostile_values_are_text(page: Page, comparison: str) -> None:
    page.goto(comparison)
    assert HOSTILE in page.locator("#sides ~ .scroll").first.inner_text()
    page.fill("#words", "img")
    page.locator(".opener").first.click()
    assert HOSTILE in page.locator("#distribution h3").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_nothing_keeps_anybody_out(page: Page, comparison: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(comparison)
    page.locator(".opener").first.click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
