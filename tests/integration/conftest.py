"""Chromium, driven by Playwright, for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.pages import patient
from tests.services import CHROMIUM
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, ViewportSize

_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SIZE: ViewportSize = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=_FLAGS, timeout=1000 * PATIENCE)
        yield started
        started.close()


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """One for all tests of a file: a new one starts processes, which takes longer than most tests."""
    opened = patient(browser.new_context(viewport=_SIZE)).new_page()
    yield opened
    opened.context.close()


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """An empty page that fails the test if the browser had anything to complain of."""
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def failed(error: Error) -> None:
        complaints.append(str(error))

    def asked(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "http://127.0.0.1", "about:")):
            complaints.append(request.url)

    tab.set_viewport_size(_SIZE)
    tab.emulate_media(media="null", color_scheme="light")
    tab.mouse.move(0, 0)
    tab.on("console", heard)
    tab.on("pageerror", failed)
    tab.on("request", asked)
    yield tab
    tab.goto("about:blank")
    tab.remove_listener("console", heard)
    tab.remove_listener("pageerror", failed)
    tab.remove_listener("request", asked)
    assert complaints == []
