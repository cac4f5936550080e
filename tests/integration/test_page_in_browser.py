"""The page of results in a real browser: what a reader with a mouse, a keyboard, a phone, a printer or a screen reader gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import start_dlbs
from tests.integration.pages import choose, column, facet, patient, sort_by, values_of, violations
from tests.made_logs import declared, make_logs, make_record
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.needs("Chromium")]
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script></script>'\"&"
TYPES = ("float32", "float16", "bfloat16")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a report of 12 experiments, one of them failed, with hostile values wherever there is room for one."""
    records = [
        make_record(model, batch, time=10 * batch * factor)
        for model, factor in (("alexnet", 1), ("vgg16", 3))
        for batch in (1, 2, 4, 8, 16)
    ]
    records += [
        make_record(HOSTILE, 2, time=5.0, exp__device_title=HOSTILE, results__warnings=[HOSTILE], my__option=HOSTILE),
        make_record("vgg16", 32, status="failure", exp__status_msg=HOSTILE, exp__env__host=HOSTILE),
    ]
    directory = tmp_path_factory.mktemp("report")
    make_logs(directory / "logs", records, output=HOSTILE)
    made = start_dlbs(directory, "report", "logs", "--html", "out/report.html", "--title", HOSTILE)
    made.communicate(timeout=PATIENCE)
    assert made.wait() == 0
    return (directory / "out" / "report.html").as_uri()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a report of 1,200 experiments: models, batches and three data types, ten runs each."""
    from dlbs.results.page.report import write_page

    records = [
        make_record(f"model{number}", batch, repeat=repeat, time=batch + at, batches=2, exp__dtype=kind)
        for number in range(1, 11)
        for batch in (1, 2, 16, 128)
        for at, kind in enumerate(TYPES)
        for repeat in range(1, 11)
    ]
    path = tmp_path_factory.mktemp("large") / "report.html"
    write_page(str(path), declared(records))
    return path.as_uri()


def test_sorting(page: Page, report: str) -> None:
    page.goto(report)
    sort_by(page, "throughput, images/s")
    falling = [float(words.split()[0]) for words in column(page, "throughput") if words != "–"]
    assert falling == sorted(falling, reverse=True)
    assert len(falling) == 11
    assert column(page, "throughput")[-1] == "–"  # what has no number stays at the end, either way
    sort_by(page, "throughput, images/s")
    rising = [float(words.split()[0]) for words in column(page, "throughput") if words != "–"]
    assert (
        sum(words.endswith("⚠") for words in column(page, "throughput")) == sum(map(bool, column(page, "warnings"))) > 0
    )
    assert rising == falling[::-1]
    assert column(page, "throughput")[-1] == "–"
    assert page.locator("#results th[aria-sort=ascending]").inner_text().startswith("throughput")
    sort_by(page, "model")
    names = column(page, "model")
    assert names.index("alexnet") < names.index("vgg16")
    sort_by(page, "batch")
    batches = [int(words) for words in column(page, "batch")]
    assert batches == sorted(batches, reverse=True)  # as numbers: 16 before 8


def test_words_begin_where_words_begin(page: Page, report: str) -> None:
    page.goto(report)
    assert page.locator("#shown").inner_text() == "12 of 12"
    page.fill("#words", "VGG16 training")
    assert set(column(page, "model")) == {"vgg16"}
    assert page.locator("#shown").inner_text() == "6 of 12"
    page.fill("#words", "lexnet")
    assert page.locator("#shown").inner_text() == "0 of 12"
    page.fill("#words", "alex")
    assert page.locator("#shown").inner_text() == "5 of 12"
    page.press("#words", "Enter")  # must not leave the page
    page.get_by_role("button", name="clear all").click()
    assert page.locator("#shown").inner_text() == "12 of 12"
    assert page.locator("#results").is_visible()


def test_facets_narrow_by_exact_values_in_the_order_of_numbers(page: Page, large: str) -> None:
    page.goto(large)
    assert page.locator("#shown").inner_text() == "1,200 of 1,200"
    assert list(values_of(page, "batch")) == ["1", "2", "16", "128"]
    assert list(values_of(page, "model"))[:3] == ["model1", "model2", "model3"]
    assert list(values_of(page, "model"))[-1] == "model10"
    choose(page, "dtype", "float16")
    assert page.locator("#shown").inner_text() == "400 of 1,200"
    assert set(column(page, "dtype")) == {"float16"}
    assert values_of(page, "dtype") == {
        "bfloat16": 400,
        "float16": 400,
        "float32": 400,
    }  # what else could be chosen
    assert values_of(page, "batch") == {"1": 100, "2": 100, "16": 100, "128": 100}  # of the selection
    choose(page, "batch", "16")
    choose(page, "batch", "128")
    assert page.locator("#shown").inner_text() == "200 of 1,200"
    page.get_by_role("button", name="remove dtype: float16").click()
    assert page.locator("#shown").inner_text() == "600 of 1,200"
    page.fill("#words", "float16")
    assert set(column(page, "dtype")) == {"float16"}  # not bfloat16


def test_rows_are_drawn_as_they_are_scrolled_to(page: Page, large: str) -> None:
    page.goto(large)
    drawn = page.locator("#results tbody tr:not([aria-hidden])")
    assert 0 < drawn.count() < 150
    assert page.locator("#results").get_attribute("aria-rowcount") == "1201"
    assert page.evaluate("document.documentElement.scrollHeight") < 8000
    assert drawn.first.get_attribute("aria-rowindex") == "2"
    page.locator("#rows").focus()
    page.keyboard.press("End")
    wait_until(lambda: drawn.last.get_attribute("aria-rowindex") == "1201", "the last row")
    assert drawn.count() < 150
    assert column(page, "model")[-1] == "model10"


def plotted(page: Page) -> str:
    return page.locator("#chart .plot").get_attribute("aria-label") or ""


def test_the_plot_follows_the_selection_and_shows_exact_numbers(page: Page, large: str) -> None:
    page.goto(large)
    assert plotted(page).startswith("throughput, images/s over batch, 16 lines")
    assert "The first 16 of 30 lines" in page.locator("#plotnote").inner_text()
    choose(page, "model", "model3")
    choose(page, "dtype", "bfloat16")
    assert plotted(page).startswith("throughput, images/s over batch, 1 line")
    page.locator("#numbers > summary").click()
    page.locator("#numbers tbody tr").first.wait_for()
    rows = page.locator("#numbers tbody tr")
    assert rows.count() == 4
    median = rows.nth(1).locator("td").nth(2).inner_text()
    assert re.fullmatch(r"\d+\.\d{6,}", median)  # as it was logged, not rounded
    over = page.locator("#chart .u-over").bounding_box()
    assert over is not None
    hover = page.locator(".hover")
    for share in range(0, 101, 2):  # from left to right, along the line of a logarithmic axis
        for height in range(5, 100, 10):
            page.mouse.move(over["x"] + over["width"] * share / 100, over["y"] + over["height"] * height / 100)
            page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            if hover.is_visible() and "batch 2" in hover.inner_text():
                assert f"median {float(median):,.7g} of 10 runs" in hover.inner_text()
                return
    raise AssertionError("no point under the pointer")


def test_any_quantity_over_any_parameter(page: Page, large: str) -> None:
    page.goto(large)
    page.select_option("#plot-y", label="batch time, ms")
    page.select_option("#plot-x", label="model")
    page.select_option("#plot-lines", label="dtype")
    assert plotted(page).startswith("batch time, ms over model, 3 lines")
    assert "mix experiments that differ in batch" in page.locator("#plotnote").inner_text()
    page.select_option("#plot-x", label="throughput, images/s")
    assert "Each point is a run" in page.locator("#plotnote").inner_text()
    page.fill("#words", "nothing-like-it")
    assert "No selected experiment" in page.locator("#plotnote").inner_text()


def test_batch_times_of_single_runs_follow_the_table(page: Page, large: str) -> None:
    page.goto(large)
    assert page.locator("#batches table").count() == 0, "on demand"
    page.locator("#batches summary").click()
    page.wait_for_selector("#batches canvas")
    assert "The first 8 of 1,200 runs" in page.inner_text("#batches")
    assert page.locator("#batches tbody tr").count() == 8
    sort_by(page, "batch time, ms")
    slowest = column(page, "batch time")[:8]
    shown = page.locator("#batches tbody td:nth-child(3)").all_inner_texts()
    assert [float(one) for one in shown] == pytest.approx([float(one) for one in slowest], rel=0.01)
    choose(page, "model", "model3")
    choose(page, "batch", "16")
    choose(page, "dtype", "float16")
    choose(page, "repeat", "2")
    assert page.locator("#batches tbody tr").count() == 1
    assert page.locator("#batches tbody td").all_inner_texts()[1] == "2"


def written(directory: Path, count: int) -> str:
    """The URL of a report of runs that differ in nothing."""
    from dlbs.results.page.report import write_page

    path = directory / "report.html"
    write_page(str(path), declared([make_record(seed=run) for run in range(count)]))
    return path.as_uri()


def test_one_experiment_has_a_plot_of_its_batch_times_only(page: Page, tmp_path: Path) -> None:
    page.goto(written(tmp_path, 1))
    page.wait_for_selector("#batches canvas")
    assert page.locator("#chart canvas").count() == 0
    assert "There is one experiment" in page.inner_text("#chart")
    assert column(page, "throughput")
    page.locator("#batches summary").click()
    assert not page.locator("#batches canvas").is_visible()


def test_runs_that_differ_in_nothing_are_plotted_one_after_the_other(page: Page, tmp_path: Path) -> None:
    page.goto(written(tmp_path, 3))
    assert plotted(page).startswith("throughput, images/s over run, 1 line")
    page.locator("#numbers > summary").click()
    page.locator("#numbers tbody tr").first.wait_for()
    assert page.locator("#numbers tbody td:nth-child(2)").all_inner_texts() == ["run 1", "run 2", "run 3"]
    assert not page.locator("#batches canvas").is_visible()


def test_links_lead_to_logs(page: Page, report: str) -> None:
    page.goto(report)
    addresses = page.locator("#results a").evaluate_all("(links) => links.map((one) => one.href)")
    assert len(addresses) == 12
    assert addresses[0] == report.replace("out/report.html", "logs/0000.log")
    assert all(Path(address.removeprefix("file://")).is_file() for address in addresses)


def test_all_digits_are_shown_on_request(page: Page, report: str) -> None:
    page.goto(report)
    rounded = column(page, "throughput")[0]
    page.locator("#exact").check()
    exact = column(page, "throughput")[0]
    assert len(exact) > len(rounded)
    assert float(exact) == pytest.approx(float(rounded), rel=1e-3)


def test_failures_lead_to_their_rows(page: Page, report: str) -> None:
    page.goto(report)
    page.locator("#failures ~ details > summary").first.click()
    page.locator("[data-reason]").first.click()
    assert page.locator("#shown").inner_text() == "1 of 12"
    assert column(page, "status") == ["failure"]


def test_hostile_values_are_text(page: Page, report: str) -> None:
    page.goto(report)
    assert page.locator("h1").inner_text() == HOSTILE
    page.locator("#failures ~ details summary").first.click()
    assert HOSTILE in page.locator("#failures ~ details").first.inner_text()
    for name in ("model", "reason", "doubtful", "device"):
        assert any(value.startswith(("<img", "failure: <img")) for value in values_of(page, name)), name
    choose(page, "model", HOSTILE)
    assert page.locator("#shown").inner_text() == "1 of 12"
    assert HOSTILE in page.locator("#chips").inner_text()
    assert HOSTILE in column(page, "model")[0]
    page.select_option("#plot-x", label="model")
    page.locator("#numbers > summary").click()
    page.locator("#numbers tbody tr").first.wait_for()
    assert HOSTILE in page.locator("#numbers tbody").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 3  # the library, the page's own, and its data


def test_the_policy_keeps_code_and_markup_out(browser: Browser, report: str) -> None:
    """Even if a value became part of the page's own script."""
    page = patient(browser.new_context()).new_page()
    page.goto(report)
    made = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    for attack in (made, "document.body.innerHTML = '<b>x</b>'", "setTimeout('window.hacked = 1')"):
        refused = page.evaluate(
            f"(() => {{ try {{ {attack}; return 'done'; }} catch (error) {{ return error.name; }} }})()"
        )
        assert refused in {"TypeError", "EvalError"}, attack
    assert page.evaluate("window.hacked") is None
    page.context.close()


def test_plots_are_drawn(page: Page, report: str) -> None:
    page.goto(report)
    sizes = page.evaluate("[...document.querySelectorAll('figure img')].map(one => [one.complete, one.naturalWidth])")
    assert len(sizes) >= 2
    assert all(complete and width > 300 for complete, width in sizes)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_shows_it_without_scrolling_sideways(page: Page, report: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#results td')).fontSize)") >= 12
    page.locator("#narrow > summary").click() if not page.locator("#words").is_visible() else None
    assert page.locator("#words").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_done_with_the_keyboard(page: Page, large: str) -> None:
    page.goto(large)
    facet(page, "dtype").locator("label input").nth(1).focus()
    page.keyboard.press("Space")
    assert page.locator("#shown").inner_text() == "400 of 1,200"
    page.locator("#results thead button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#results th[aria-sort]:not([aria-sort=none])").count() == 1
    page.locator("#plot-log").focus()
    page.keyboard.press("Space")
    assert page.locator("#plot-log").is_checked()
    page.locator("#numbers > summary").focus()
    page.keyboard.press("Enter")
    page.locator("#numbers tbody tr").first.wait_for()


def ground(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_dark_mode_follows_the_system_and_the_button(page: Page, report: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(report)
    dark = ground(page)
    page.locator("#theme").click()
    assert ground(page) == "rgb(255, 255, 255)" != dark
    page.emulate_media(color_scheme="light")
    page.reload()
    assert ground(page) == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    assert ground(page) == dark


def test_paper_gets_rows_without_controls_and_in_light_colours(page: Page, large: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(large)
    page.emulate_media(media="print")
    wait_until(lambda: page.locator("#results tbody tr").count() == 301, "the rows of the print")
    assert "and 900 more rows" in page.locator("#results tbody tr").last.inner_text()
    assert ground(page) == "rgb(255, 255, 255)"
    assert not page.locator("#narrow").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("#rows").evaluate("(one) => getComputedStyle(one).maxHeight") == "none"


def test_paper_gets_the_end_of_the_page(page: Page, large: str) -> None:
    """Chromium counts the pages before the page knows that it is printed."""
    page.goto(large)
    from_screen = page.pdf(format="A4")
    page.emulate_media(media="print")
    wait_until(lambda: page.locator("#results tbody tr").count() == 301, "the rows of the print")
    pages = [len(re.findall(rb"/Type\s*/Page\b", pdf)) for pdf in (from_screen, page.pdf(format="A4"))]
    assert pages[0] == pages[1] > 1
    page.emulate_media(media="screen")
    wait_until(lambda: page.locator("#results tbody tr").count() < 100, "the rows of the screen")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_nothing_keeps_anybody_out(page: Page, report: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(report)
    assert violations(page) == []
    page.evaluate("document.querySelector('label[for=words]').remove()")
    assert [name for name, _ in violations(page, "label")] == ["label"]  # so the check can fail
