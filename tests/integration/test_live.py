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
from tests.integration.pages import sort_by
from tests.integration.test_browser import Served
from tests.made_logs import make_logs, make_record, write_log
from tests.run.test_status import begin, end
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


def updated(page: Page, count: int) -> None:
    """Let the page ask for news now, and wait until it and its plots show `count` experiments and are laid out."""
    page.evaluate("lookForNews('/content')")
    wait_until(lambda: page.inner_text("#shown").endswith(f" of {count}"), "the results")
    wait_until(lambda: page.evaluate("newsState.plots === newsState.content"), "their plots")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


# Size of the window, and the first whole element in it: a row of the experiments, a row of a table, and a plot; at the end of the page, the last section.
READ = (
    ((1280, 700), "[...document.querySelectorAll('#results tbody tr')].find((row) => row.textContent.includes('0007.log'))"),
    ((390, 700), "[...document.querySelectorAll('section[aria-labelledby=tables] tbody tr')].find((row) => row.cells[0].textContent === 'm3')"),
    ((1280, 400), "document.querySelectorAll('#drawn figure')[1]"),
    ((1280, 1200), "document.getElementById('machines')"),
)  # fmt: skip


def test_what_is_read_stays_where_it_is_on_a_page_of_few_results(page: Page, tmp_path: Path) -> None:
    """Its tables grow with each experiment: those of many results are as high as they get."""
    logs = make_logs(tmp_path / "logs", [make_record(f"m{n % 5}", 2 ** (n % 7), repeat=n) for n in range(14)])
    server = Served(logs)
    page.goto(server.url)
    updated(page, 14)
    for number, ((width, height), read) in enumerate(READ):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(
            f"scrollBy(0, {read}.getBoundingClientRect().top - document.querySelector('nav').offsetHeight - 5)"
        )
        place = page.evaluate(f"{read}.getBoundingClientRect().top")
        end(logs, f"bad{number}.log", "failure", f"reason {number}")
        write_log(logs / f"0000new{number}.log", make_record(f"another{number}", 64, repeat=50 + number))
        updated(page, 16 + 2 * number)
        assert abs(page.evaluate(f"{read}.getBoundingClientRect().top") - place) <= 1, read
    page.goto("about:blank")
    assert server.stop() == 0


def test_the_plot_and_the_filter_suit_the_results_of_now_unless_the_reader_chose(page: Page, tmp_path: Path) -> None:
    """From the first experiment of a plan on: then nothing differs, and there is nothing to plot."""
    logs = make_logs(tmp_path / "logs", [make_record("m1", 8)])
    server = Served(logs)
    page.goto(server.url)
    updated(page, 1)
    assert page.locator("#plot-x").count() == 0
    for number, batch in enumerate((16, 32), start=1):
        write_log(logs / f"new{number}.log", make_record("m1", batch))
        updated(page, 1 + number)
        assert page.input_value("#plot-x") == "parameter exp.replica_batch"
        assert page.locator("details[data-key='exp.replica_batch']").get_attribute("open") is not None
    page.select_option("#plot-x", label="batch time, ms")
    page.locator("details[data-key='exp.replica_batch'] > summary").click()
    write_log(logs / "new3.log", make_record("m2", 64))
    updated(page, 4)
    assert page.input_value("#plot-x") == "figure results.time"
    assert page.locator("details[data-key='exp.replica_batch']").get_attribute("open") is None
    page.goto("about:blank")
    assert server.stop() == 0


def test_parts_of_a_pixel_do_not_add_up(page: Page, logs: Path) -> None:
    """A browser scrolls by whole pixels only."""
    server = Served(logs)
    page.goto(server.url)
    page.evaluate("document.getElementById('tables').scrollIntoView()")
    place = page.evaluate("document.getElementById('tables').getBoundingClientRect().top")
    page.evaluate("delete Element.prototype.checkVisibility")  # Safari before 17.4 has none
    page.evaluate("""() => {
        const live = document.getElementById('live'), { style } = live;
        for (let part = 1; part <= 20; part += 1) keeping(live, () => { style.paddingBottom = `${0.4 * part}px`; });
    }""")
    assert abs(page.evaluate("document.getElementById('tables').getBoundingClientRect().top") - place) <= 1
    page.goto("about:blank")
    assert server.stop() == 0


def test_padding_that_keeps_a_place_is_kept_at_the_next_update(page: Page, logs: Path) -> None:
    server = Served(logs)
    page.goto(server.url, wait_until="networkidle")  # what arrives later moves the content
    page.evaluate("document.getElementById('live').style.paddingTop = '400px'")
    page.evaluate("scrollTo(0, 100)")
    place = page.evaluate("document.getElementById('experiments').getBoundingClientRect().top")
    for left in (230, 200):  # the first is more than can be scrolled up
        page.evaluate(f"""() => {{
            const live = document.getElementById('live');
            keeping(live, () => {{ live.style.paddingTop = '{left}px'; }});
        }}""")
        assert page.evaluate("scrollY") == 0
        assert page.evaluate("document.getElementById('content').style.paddingTop") != ""
        assert abs(page.evaluate("document.getElementById('experiments').getBoundingClientRect().top") - place) <= 1
    page.goto("about:blank")
    assert server.stop() == 0


def test_opened_batch_times_move_nothing_at_the_end_of_the_page(page: Page, logs: Path) -> None:
    """A new opened section reports that it is open in a later task, after the page has got its place."""
    server = Served(logs)
    page.goto(server.url)
    updated(page, 60)
    page.locator("#batches > summary").click()
    page.wait_for_selector("#batches .uplot")
    page.evaluate("""() => {
        window.reported = 0;
        document.addEventListener('toggle', ({ target }) => { window.reported += Number(target.id === 'batches'); }, true);
    }""")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    place = page.evaluate("document.getElementById('machines').getBoundingClientRect().top")
    write_log(logs / "new.log", make_record("m1", 64, repeat=99))
    updated(page, 61)
    wait_until(lambda: page.evaluate("window.reported") > 0, "the event of the new section")
    assert page.locator("#batches .uplot").count() == 1
    assert abs(page.evaluate("document.getElementById('machines').getBoundingClientRect().top") - place) <= 1
    page.goto("about:blank")
    assert server.stop() == 0


def test_an_error_is_shown_and_does_not_end_the_updates(page: Page, logs: Path) -> None:
    with locked([logs], LocalExecutor(logs, 2)):
        server = Served(logs)
        page.goto(server.url)
        page.evaluate("() => { window.working = showNow; showNow = () => { throw new Error('no room'); }; }")
        begin(logs, "1_new.log", "step 1")
        wait_until(lambda: "could not be updated: Error: no room" in page.inner_text("#made"), "the error")
        page.evaluate("() => { showNow = window.working; }")
        wait_until(lambda: page.locator("#running tbody tr").count() == 1, "the row that could not be shown")
        wait_until(lambda: page.inner_text("#made").startswith("live"), "the end of the error")
        page.evaluate("() => { window.working = showNews; showNews = () => { throw new Error('no memory'); }; }")
        write_log(logs / "new.log", make_record("m1", 64, repeat=99))
        wait_until(lambda: "could not be updated: Error: no memory" in page.inner_text("#made"), "the error")
        page.evaluate("() => { showNews = window.working; }")
        wait_until(lambda: page.inner_text("#shown").endswith(" of 61"), "the results that could not be shown")
        wait_until(lambda: page.inner_text("#made").startswith("live"), "the end of the error")
        page.goto("about:blank")
        assert server.stop() == 0


def test_what_is_read_stays_where_it_is_when_the_page_becomes_too_short(page: Page, tmp_path: Path) -> None:
    logs = make_logs(tmp_path / "logs", [make_record(f"m{n % 5}", 2 ** (n % 7), repeat=n) for n in range(5)])
    for number in range(8):
        end(logs, f"bad{number}.log", "failure", f"reason {number}")
    server = Served(logs)
    page.goto(server.url)
    updated(page, 13)
    plot = "[...document.querySelectorAll('#drawn figure')].pop()"
    page.evaluate(
        "document.querySelectorAll('section[aria-labelledby=failures] details').forEach((one) => { one.open = true; })"
    )
    page.evaluate(f"scrollBy(0, {plot}.getBoundingClientRect().top - document.querySelector('nav').offsetHeight - 5)")
    place = page.evaluate(f"{plot}.getBoundingClientRect().top")
    for number in range(8):
        (logs / f"bad{number}.log").unlink()
    updated(page, 5)
    assert page.locator("#failures").count() == 0
    assert abs(page.evaluate(f"{plot}.getBoundingClientRect().top") - place) <= 1
    assert page.evaluate("document.getElementById('content').style.paddingBottom") != "", (
        "otherwise it was not too short"
    )
    page.goto("about:blank")
    assert server.stop() == 0


def test_the_first_row_that_is_seen_stays_the_first_when_faster_experiments_come_before_it(
    page: Page, logs: Path
) -> None:
    server = Served(logs)
    page.goto(server.url)
    sort_by(page, "throughput, images/s")
    page.evaluate("document.getElementById('rows').scrollTop = 400")
    first = """(() => {
        const rows = document.getElementById('rows');
        const hidden = rows.getBoundingClientRect().top + rows.querySelector('thead').offsetHeight - 1;
        const row = [...rows.querySelectorAll('tbody tr:not([aria-hidden])')].find((one) => one.getBoundingClientRect().top >= hidden);
        return [row.textContent, Math.round(row.getBoundingClientRect().top)];
    })()"""
    before = page.evaluate(first)
    for number in range(20):  # more than are rendered above
        write_log(logs / f"fast{number}.log", make_record("m1", 1024, repeat=70 + number))
    updated(page, 80)
    assert page.evaluate(first) == before
    page.goto("about:blank")
    assert server.stop() == 0


def test_new_results_lose_nothing_that_was_typed_opened_or_scrolled(page: Page, tmp_path: Path) -> None:
    logs = make_logs(tmp_path / "logs", [make_record(f"m{n % 20}", 2 ** (n % 7), repeat=n) for n in range(60)])
    end(logs, "bad1.log", "failure", "out of memory")
    server = Served(logs)
    page.goto(server.url)
    updated(page, 61)
    page.locator("#failures + details > summary").click()
    page.locator("#machines + details > summary").click()  # closes it
    page.locator("#numbers > summary").click()
    numbers, find = "#numbers .scroll", "#facets details:first-of-type input[type=search]"
    wait_until(lambda: page.locator(f"{numbers} tr").count() > 20, "the numbers")
    page.evaluate(f"document.querySelector('{numbers}').scrollTop = 100")
    page.fill(find, "M1")
    page.locator("#facets details:nth-of-type(2) label input").nth(3).focus()
    focused = page.evaluate("document.activeElement.parentElement.dataset.key")
    page.fill("#words", "m1")
    for number, last in enumerate(("words", "facet")):
        if last == "words":
            page.evaluate("document.getElementById('words').setSelectionRange(1, 1)")
        else:
            page.locator(f"#facets label[data-key='{focused}'] input").focus()
        write_log(logs / f"{last}.log", make_record("m1", 64, repeat=99))
        end(logs, f"bad-{last}.log", "failure", "out of memory")
        updated(page, 63 + 2 * number)
        assert page.input_value("#words") == "m1"
        assert page.input_value(find) == "M1"
        if last == "words":
            assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["words", 1]
        else:
            assert page.evaluate("document.activeElement.parentElement.dataset.key") == focused
        opened = page.evaluate(
            "['#failures + details', '#machines + details', '#numbers'].map((one) => document.querySelector(one).open)"
        )
        assert opened == [True, False, True]
        assert page.evaluate(f"document.querySelector('{numbers}').scrollTop") == 100
    page.goto("about:blank")
    assert server.stop() == 0


def test_a_text_to_find_values_is_forgotten_with_its_input(page: Page, tmp_path: Path) -> None:
    logs = make_logs(tmp_path / "logs", [make_record(f"m{n}") for n in range(20)])
    server = Served(logs)
    page.goto(server.url)
    find, values = "#facets details:first-of-type input[type=search]", "#facets details:first-of-type label"
    page.fill(find, "m1")
    assert page.locator(values).count() == 11  # m1, m10 to m19
    page.fill("#words", "m1")
    page.get_by_role("button", name="clear all").click()
    assert page.input_value(find) == ""
    assert page.locator(values).count() == 20
    page.fill(find, "m1")
    for number in range(10, 20):
        next(logs.glob(f"*{number}.log")).unlink()
    updated(page, 10)
    assert page.locator(find).count() == 0
    assert page.locator(values).count() == 10
    page.goto("about:blank")
    assert server.stop() == 0


def test_the_table_stays_where_it_is_when_a_filter_makes_the_plot_s_legend_shorter(page: Page, logs: Path) -> None:
    """The browser keeps it there: only during updates must it not."""
    server = Served(logs)
    page.goto(server.url)
    updated(page, 60)
    page.evaluate(
        "document.getElementById('rows').scrollIntoView(); scrollBy(0, -document.querySelector('nav').offsetHeight)"
    )
    place = page.evaluate("document.getElementById('rows').getBoundingClientRect().top")
    scrolled = page.evaluate("scrollY")
    page.evaluate("document.querySelector('#facets label[data-key=m3] input').click()")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.locator(".legend li").count() == 0
    assert page.evaluate("scrollY") != scrolled, "otherwise nothing above the table became shorter"
    assert abs(page.evaluate("document.getElementById('rows').getBoundingClientRect().top") - place) <= 1
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
