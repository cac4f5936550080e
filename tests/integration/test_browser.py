"""The report and the live view in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_logs, make_record, write_log
from tests.services import CHROMIUM
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.needs("Chromium")]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=1000 * PATIENCE)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test if the browser had anything to complain of."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    opened.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            complaints.append(request.url)
            if not request.url.startswith(("file:", "data:", "http://127.0.0.1"))
            else None
        ),
    )
    yield opened
    opened.close()
    assert complaints == []


@pytest.fixture
def report(dlbs: RunDlbs, tmp_path: Path) -> str:
    """The URL of a report of 12 experiments, one of them failed, with a hostile name."""
    records = [
        make_record(model, batch, time=10 * batch * factor)
        for model, factor in (("alexnet", 1), ("vgg16", 3))
        for batch in (1, 2, 4, 8, 16)
    ]
    records += [
        make_record(HOSTILE, 2, time=5.0, exp__status_msg=HOSTILE),
        make_record("vgg16", 32, status="failure", exp__status_msg=HOSTILE),
    ]
    make_logs(tmp_path / "logs", records, output=HOSTILE)
    dlbs("report", "logs", "--html", "report.html", check=True)
    return (tmp_path / "report.html").as_uri()


def column(page: Page, title: str) -> list[str]:
    """The visible cells of a column, from top to bottom."""
    titles = page.locator("#results thead th").all_inner_texts()
    index = next(number for number, words in enumerate(titles) if words.startswith(title))
    rows = page.locator("#results tbody tr:visible")
    return [row.locator("td").nth(index).inner_text() for row in rows.all()]


def sort_by(page: Page, title: str) -> None:
    page.locator("#results thead button", has_text=re.compile(f"^{re.escape(title)}$")).click()


def test_sorting(page: Page, report: str) -> None:
    page.goto(report)
    sort_by(page, "throughput, images/s")
    falling = [float(words) for words in column(page, "throughput") if words != "–"]
    assert falling == sorted(falling, reverse=True)
    assert len(falling) == 11
    assert column(page, "throughput")[-1] == "–"  # what has no number stays at the end, either way
    sort_by(page, "throughput, images/s")
    rising = [float(words) for words in column(page, "throughput") if words != "–"]
    assert rising == falling[::-1]
    assert column(page, "throughput")[-1] == "–"
    assert page.locator("#results th[aria-sort=ascending]").inner_text().startswith("throughput")
    sort_by(page, "model")
    names = column(page, "model")
    assert names.index("alexnet") < names.index("vgg16")
    sort_by(page, "batch")
    batches = [int(words) for words in column(page, "batch")]
    assert batches == sorted(batches, reverse=True)  # as numbers: 16 before 8


def test_filtering(page: Page, report: str) -> None:
    page.goto(report)
    assert page.locator("#shown").inner_text() == "12 of 12"
    page.fill("#words", "VGG16 training")
    assert set(column(page, "model")) == {"vgg16"}
    assert page.locator("#shown").inner_text() == "6 of 12"
    page.select_option("#status", "failure")
    assert page.locator("#shown").inner_text() == "1 of 12"
    page.fill("#words", "alexnet")
    assert page.locator("#shown").inner_text() == "0 of 12"
    page.fill("#words", "")
    page.select_option("#status", "")
    assert page.locator("#shown").inner_text() == "12 of 12"
    page.press("#words", "Enter")  # must not leave the page
    assert page.locator("#results").is_visible()


def test_hostile_values_are_text(page: Page, report: str) -> None:
    page.goto(report)
    page.locator("#failures ~ details summary").first.click()
    assert HOSTILE in page.locator("#failures ~ details").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("body script").count() == 1


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
    assert page.locator("#words").is_visible()


class Served:
    """`dlbs serve` on a directory."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dlbs", "serve", str(directory), "--port", "0"],
            cwd=directory.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        self.url, self.port = found[0], int(found[1])
        wait_until(self.answers, "an answer of the server")

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return self.ask("/content")[0] == 200
        except OSError:
            return False

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of an answer; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of two experiments that stay as they are."""
    server = Served(
        make_logs(tmp_path_factory.mktemp("served") / "logs", [make_record(batch=batch) for batch in (1, 2)])
    )
    yield server
    assert server.stop() == 0


def test_the_live_view_follows_the_logs(page: Page, tmp_path: Path) -> None:
    server = Served(make_logs(tmp_path / "logs", [make_record(batch=batch) for batch in (1, 2)]))
    page.goto(server.url)
    assert page.locator("#shown").inner_text() == "2 of 2"
    assert "nothing is running" in page.locator("#progress").inner_text()
    page.fill("#words", "alexnet")
    sort_by(page, "throughput, images/s")
    running = make_record("resnet18", 64, status="", exp__gpu_ids="0,1", exp__cpus="0-3")
    write_log(tmp_path / "logs" / "new.log.part", running)
    page.wait_for_selector("#running")
    assert "resnet18" in page.locator("#running").inner_text()
    assert "0,1" in page.locator("#running").inner_text()
    (tmp_path / "logs" / "new.log.part").unlink()
    write_log(tmp_path / "logs" / "new.log", make_record("resnet18", 64))
    wait_until(lambda: page.locator("#shown").inner_text() == "2 of 3")
    assert page.input_value("#words") == "alexnet"  # what was typed stays, and so does the order
    assert page.locator("#results th[aria-sort=descending]").inner_text().startswith("throughput")
    page.goto("about:blank")
    assert server.stop() == 0


def test_the_live_view_of_a_plan_that_runs(page: Page, tmp_path: Path) -> None:
    """From an empty directory to the end of a real run."""
    (tmp_path / "logs").mkdir()
    body = "while [ ! -e go ]; do sleep 0.1; done; echo '__results.time__= 1.0'; echo '__results.throughput__= 1000.0'"
    (tmp_path / "own.sh").write_text(f'{{% extends "base.sh" %}}{{% block benchmark %}}\n{body}\n{{% endblock %}}')
    server = Served(tmp_path / "logs")
    page.goto(server.url)
    assert "No experiment has written a log yet" in page.locator("#content").inner_text()
    run = subprocess.Popen(
        [sys.executable, "-m", "dlbs", "run", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pdummy.launcher=own.sh", "-Vexp.model=[a,b,c,d]", "--quiet", "--jobs", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        page.wait_for_selector("#running")
        assert f"process {run.pid} is running them" in page.locator("#progress").inner_text()
        (tmp_path / "go").touch()
        wait_until(lambda: "4 of 4 done" in page.locator("#progress").inner_text())
        assert run.wait(PATIENCE) == 0
    finally:
        run.kill()
        run.wait()
        page.goto("about:blank")
        assert server.stop() == 0


def test_what_has_not_changed_is_not_sent_again(served: Served) -> None:
    status, _, headers = served.ask("/content")
    assert status == 200
    assert served.ask("/content", If_None_Match=headers["etag"])[:2] == (304, "")


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/logs/0000.log",
        "/content/../../secret",
        "/%2e%2e/x",
        "/nope",
    ],
)
def test_no_other_file_can_be_asked_for(served: Served, path: str) -> None:
    status, body, _ = served.ask(path)
    assert status == 404
    assert "root:" not in body


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {"Host": "evil.example"}, 400),
        ("GET", {"Host": "evil.example:80"}, 400),
        ("GET", {"Host": "127.0.0.1.evil.example"}, 400),
        ("GET", {"Host": "www.localhost"}, 400),
        ("GET", {"Host": ""}, 400),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", {}, 405),
        ("PUT", {}, 405),
        ("DELETE", {}, 405),
        ("GET", {}, 200),
        ("GET", {"Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
def test_only_this_page_may_ask_and_nothing_can_be_written(
    served: Served, method: str, headers: dict[str, str], expected: int
) -> None:
    for path in ("/", "/content"):
        assert served.ask(path, method, **headers)[0] == expected


def test_another_site_cannot_read_it(browser: Browser, served: Served, tmp_path: Path) -> None:
    """A page from another port is another origin; it asks, with its own policy out of the way, and gets no answer."""
    other = Served(make_logs(tmp_path / "other", [make_record()]))
    stranger = browser.new_context(bypass_csp=True).new_page()
    try:
        stranger.goto(other.url)
        script = "url => fetch(url, {mode: MODE}).then(a => a.text(), e => 'refused')"
        for mode in ("'cors'", "'no-cors'"):
            assert stranger.evaluate(script.replace("MODE", mode), served.url + "content") in {"refused", ""}
    finally:
        stranger.close()
        assert other.stop() == 0
    assert served.ask("/")[2]["x-frame-options"] == "DENY"


def test_bad_input(dlbs: RunDlbs, tmp_path: Path, served: Served) -> None:
    (tmp_path / "logs").mkdir()
    done = dlbs("serve", "nope")
    assert done.returncode == 2
    assert "nope: no such directory" in done.stderr
    done = dlbs("serve", "logs", "--port", str(served.port))
    assert done.returncode == 2
    assert "Address already in use (--port 0 takes a free one)" in done.stderr
