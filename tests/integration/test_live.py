"""The live view in a browser: it follows a plan, and nothing that is looked at moves."""

from __future__ import annotations

import gzip
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dlbs.executors.local import LocalExecutor
from dlbs.run.locks import locked
from tests.integration.test_browser import Served
from tests.made_logs import make_logs, make_record, write_log
from tests.run.test_watch import begin, end
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.integration, pytest.mark.needs("Chromium")]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return make_logs(tmp_path / "logs", [make_record(f"m{n % 5}", 2 ** (n % 7), repeat=n) for n in range(60)])


def test_what_happens_is_shown_and_what_is_looked_at_stays_where_it_is(page: Page, logs: Path) -> None:
    with locked([logs], LocalExecutor(logs, 2)):
        server = Served(logs)
        page.goto(server.url)
        assert re.search(r"running in process \d+ since \d\d:\d\d", page.inner_text("#progress"))
        page.evaluate("document.getElementById('tables').scrollIntoView()")
        place = page.evaluate("document.getElementById('tables').getBoundingClientRect().top")
        for number in range(3):  # rows come above what is looked at
            begin(logs, f"{number}_new.log", f"step {number}: 81{number} images/s")
            end(logs, f"bad{number}.log", "failure", f"reason {number}")
        wait_until(lambda: page.locator("#running tbody tr").count() == 3, "three rows")
        wait_until(lambda: "reason 2" in page.inner_text("#reasons-now"), "the reason of a failure")
        assert "812 images/s" in page.inner_text("#running")
        assert "of 2" in page.inner_text("#running caption")
        assert abs(page.evaluate("document.getElementById('tables').getBoundingClientRect().top") - place) <= 1
        page.goto("about:blank")
        assert server.stop() == 0


def test_new_results_lose_nothing_that_was_typed_opened_or_scrolled(page: Page, logs: Path) -> None:
    server = Served(logs)
    page.goto(server.url)
    page.fill("#words", "m1")
    page.focus("#words")
    before = page.inner_text("#shown")
    write_log(logs / "new.log", make_record("m1", 64, repeat=99))
    wait_until(lambda: page.inner_text("#shown") != before, "the new experiment")
    assert page.input_value("#words") == "m1"
    assert page.evaluate("document.activeElement.id") == "words"
    page.goto("about:blank")
    assert server.stop() == 0


def test_plots_come_after_the_rest_and_move_nothing(page: Page, logs: Path) -> None:
    server = Served(logs)
    page.goto(server.url)
    page.wait_for_selector("#drawn figure img")
    page.evaluate("document.getElementById('plots').scrollIntoView()")
    place = page.evaluate("document.getElementById('plots').getBoundingClientRect().top")
    version = page.evaluate("newsState.plots")
    write_log(logs / "new.log", make_record("m1", 64, repeat=99))
    wait_until(lambda: page.evaluate("newsState.plots") != version, "plots of the new experiment, too")
    assert page.locator("#drawn figure").count() > 0
    assert abs(page.evaluate("document.getElementById('plots').getBoundingClientRect().top") - place) <= 1
    page.goto("about:blank")
    assert server.stop() == 0


def test_answers_are_compressed_for_those_who_can_read_them(logs: Path) -> None:
    server = Served(logs)
    with urllib.request.urlopen(
        urllib.request.Request(f"{server.url}content", headers={"Accept-Encoding": "gzip"})
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()).decode() == server.ask("/content")[1]
    assert server.stop() == 0


def test_what_happens_now_is_not_sent_again_if_it_has_not_changed(logs: Path) -> None:
    server = Served(logs)
    status, body, headers = server.ask("/now")
    assert (status, "nothing is running" in body) == (200, True)
    assert server.ask("/now", If_None_Match=headers["etag"])[:2] == (304, "")
    assert server.ask("/now", "POST")[0] == 405
    assert server.ask("/now", Origin="http://evil.example")[0] == 403
    assert server.stop() == 0
