"""The live view in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import http.client
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmark_core.log import key_line
from dlbs.executors.local import LocalExecutor
from dlbs.run.locks import locked
from tests.conftest import RunDlbs, start_dlbs
from tests.integration.pages import patient, sort_by
from tests.made_logs import make_logs, make_record, write_log
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.integration, pytest.mark.needs("Chromium")]


class Served:
    """`dlbs serve` on a directory."""

    def __init__(self, directory: Path) -> None:
        self.start(directory.parent, str(directory))

    def start(self, directory: Path, *arguments: str, first: str = "/content") -> str:
        """Start `dlbs serve ARGUMENTS` in a directory, and wait until it answers the `first` path; return the line that it printed."""
        self.process = start_dlbs(directory, "serve", *arguments, "--port", "0")
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        line = line if isinstance(line, str) else line.decode()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        self.url, self.port = found[0], int(found[1])
        wait_until(lambda: self.answers(first), "an answer of the server")
        return line

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None
        try:
            return self.ask(path)[0] == 200
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
        self.process.communicate(timeout=PATIENCE)
        return self.process.wait()


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
    running = {"exp.gpu_ids": "0,1", "exp.cpus": "0-3", **make_record("resnet18", 64, status="")}
    logs = tmp_path / "logs"
    with locked([logs], LocalExecutor(tmp_path)):  # as a run does
        (tmp_path / "head").write_text("".join(f"{key_line(key, value)}\n" for key, value in running.items()))
        (tmp_path / "head").rename(logs / "new.log.part")
        page.wait_for_selector("#running")
        assert "resnet18" in page.locator("#running").inner_text()
        assert "0,1" in page.locator("#running").inner_text()
        assert f"running in process {os.getpid()}" in page.locator("#progress").inner_text()
    page.wait_for_selector("#running", state="detached")  # no run holds the directory any more
    assert "nothing is running 2 ok, 1 interrupted" in page.locator("#progress").inner_text()
    (logs / "new.log.part").unlink()
    write_log(logs / "new.log", make_record("resnet18", 64))
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
    dummy = ("-Pexp.framework=dummy", "-Pexp.docker=false", "-Pdummy.launcher=own.sh", "-Vexp.model=[a,b,c,d]")
    run = start_dlbs(tmp_path, "run", *dummy, "--quiet", "--jobs", "2")
    try:
        page.wait_for_selector("#running")
        assert f"running in process {run.pid}" in page.locator("#progress").inner_text()
        (tmp_path / "go").touch()
        wait_until(lambda: "4 of 4 done" in page.locator("#progress").inner_text())
        assert run.wait(PATIENCE) == 0
    finally:
        run.kill()
        run.communicate()
        page.goto("about:blank")
        assert server.stop() == 0


def test_the_live_view_says_that_the_directory_is_gone(page: Page, tmp_path: Path) -> None:
    logs = make_logs(tmp_path / "logs", [make_record(batch=batch) for batch in (1, 2)])
    server = Served(logs)
    page.goto(server.url)
    logs.rename(tmp_path / "elsewhere")
    wait_until(lambda: "no such directory" in page.locator("#live").inner_text())
    wait_until(lambda: page.locator("#shown").count() == 0)
    assert "No experiment has written a log yet" not in page.locator("#content").inner_text()
    (tmp_path / "elsewhere").rename(logs)
    page.wait_for_selector("#problems", state="detached")
    page.wait_for_selector("#shown")
    assert page.locator("#shown").inner_text() == "2 of 2"
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
    stranger = patient(browser.new_context(bypass_csp=True)).new_page()
    try:
        stranger.goto(other.url)
        script = "url => fetch(url, {mode: MODE}).then(a => a.text(), e => 'refused')"
        for mode in ("'cors'", "'no-cors'"):
            assert stranger.evaluate(script.replace("MODE", mode), served.url + "content") in {"refused", ""}
    finally:
        stranger.context.close()
        assert other.stop() == 0
    assert served.ask("/")[2]["x-frame-options"] == "DENY"


def test_bad_input(dlbs: RunDlbs, tmp_path: Path, served: Served) -> None:
    (tmp_path / "logs").mkdir()
    done = dlbs("serve", "nope")
    assert done.returncode == 2
    assert "nope: no such directory" in done.stderr
    done = dlbs("serve", "logs", "--port", str(served.port))
    assert done.returncode == 2
    assert "Address already in use (--port 0 selects a free one)" in done.stderr
