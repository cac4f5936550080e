"""`dlbs serve --db` over HTTP and in a browser: as strict as the live view, and without a script."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dlbs.results.store.store import Store
from tests.conftest import RunDlbs
from tests.integration.pages import violations
from tests.integration.test_browser import Served
from tests.results.test_trends import nightly

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.integration]


class ServedHistory(Served):
    """`dlbs serve --db` on a store."""

    def __init__(self, url: str, directory: Path) -> None:
        assert "shows the history" in self.start(directory, "--db", url, str(directory), first="/")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("history")
    with Store(str(directory / "results.db")) as store:
        store.add(nightly("resnet18", days=12, slower_from=6))
    return directory


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[ServedHistory]:
    before = hashlib.sha256((place / "results.db").read_bytes()).hexdigest()
    files = sorted(place.iterdir())
    server = ServedHistory(str(place / "results.db"), place)
    yield server
    assert server.stop() == 0
    assert hashlib.sha256((place / "results.db").read_bytes()).hexdigest() == before
    assert sorted(place.iterdir()) == files


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200), ("/?words=resnet18", 200), ("/content", 404), ("/../../etc/passwd", 404), ("/results.db", 404), ("/run?id=1", 200),
        ("/run?id=../x", 500), ("/trend?key=nope", 500), ("/compare", 500),
    ],
)  # fmt: skip
def test_only_its_own_pages_can_be_asked_for(served: ServedHistory, path: str, status: int) -> None:
    found, body, headers = served.ask(path)
    assert found == status
    if status != 404:
        assert headers["cache-control"] == "no-cache"
    if status == 200:
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', body)
        assert policy is not None
        rules = html.unescape(policy[1])
        assert rules.startswith("default-src 'none'")
        assert "form-action 'self'" in rules
        assert "unsafe" not in rules
    elif status == 500:
        assert "defect" not in body


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {"Host": "evil.example"}, 400), ("GET", {"Origin": "http://evil.example"}, 403), ("GET", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", {}, 405), ("DELETE", {}, 405), ("GET", {}, 200),
    ],
)  # fmt: skip
def test_only_this_page_may_ask_and_nothing_can_be_written(
    served: ServedHistory, method: str, headers: dict[str, str], expected: int
) -> None:
    for path in ("/", "/run?id=1"):
        assert served.ask(path, method, **headers)[0] == expected


@pytest.mark.needs("Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_on_a_point_compares_it(page: Page, served: ServedHistory, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})

    def check() -> None:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert violations(page) == []

    page.goto(served.url)
    check()
    page.get_by_role("link", name="resnet18").click()
    page.wait_for_selector("#trend canvas")
    assert "−9" in (page.locator("#points ~ div .bad").first.text_content() or "")
    check()
    box = page.locator("#trend .u-over").bounding_box()
    assert box
    for share in range(0, 100, 5):  # down the column of the last of twelve points
        page.mouse.move(box["x"] + box["width"] * (1 - 0.5 / 12), box["y"] + box["height"] * share / 100)
        if page.locator("#hover").is_visible():
            break
    assert "click to compare with A" in page.inner_text("#hover")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/compare?*")
    page.go_back()
    page.get_by_role("link", name="compare").first.press("Enter")  # every point can be reached with the keyboard
    page.wait_for_url("**/compare?*")
    assert "slower" in page.inner_text("main")
    check()
    page.locator("#runs ~ ul a, #runs ~ h3 ~ ul a").first.click()
    page.wait_for_url("**/run?*")
    assert "results.throughput" in page.inner_text("main")
    check()


def test_what_is_wrong_is_said_before_anything_is_served(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("serve", "--db", "nothing.db")
    assert (done.returncode, "no such store" in done.stderr) == (2, True)
    assert not (tmp_path / "nothing.db").exists()
    (tmp_path / "text.db").write_text("nothing of the kind, but long enough to be looked at")
    assert "not a database" in dlbs("serve", "--db", "text.db").stderr
