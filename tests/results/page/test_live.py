"""The live view of a directory, asked without a server: what is made when, and what it is made of."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from dlbs.executors.local import LocalExecutor
from dlbs.results.page import live
from dlbs.results.page.live import LiveResults, Prepared
from dlbs.run.locks import locked
from tests.made_logs import make_logs, make_record, write_log


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return make_logs(tmp_path / "logs", [make_record(batch=batch) for batch in (1, 2)])


def html(prepared: Prepared) -> str:
    return prepared.body.decode()


def test_answers_are_there_compressed_too() -> None:
    made = Prepared.of("<p>ä</p>")
    assert gzip.decompress(made.packed) == made.body
    assert made == Prepared.of("<p>ä</p>")
    assert made.version != Prepared.of("<p>b</p>").version


def test_the_page_has_its_content_and_says_which_it_is(logs: Path) -> None:
    results = LiveResults(logs)
    page = html(results.page())
    version = results.content().version.strip('"')
    assert f'data-version="&#34;{version}&#34;"' in page, "the browser need not ask for the same again"
    assert html(results.content()).strip() in page


def test_what_is_shown_of_many_logs_before_they_are_read(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MANY_FILES", 2)
    results = LiveResults(logs)
    first = html(results.page())
    assert "2 files are being read" in first
    assert 'data-version=""' in first
    assert 'id="data"' not in first
    results.content()
    assert 'id="data"' in html(results.page())


def test_the_content_changes_when_an_experiment_ends(logs: Path) -> None:
    results = LiveResults(logs)
    before = results.content()
    assert results.content() is before
    (logs / "9.log.part").write_text("under way\n")
    assert results.content() is before
    write_log(logs / "9.log", make_record("resnet18"))
    assert results.content().version != before.version
    assert "resnet18" in html(results.content())


def test_while_a_plan_runs_the_page_is_not_made_again_and_again(logs: Path) -> None:
    results = LiveResults(logs)
    with locked([logs], LocalExecutor(logs)):
        before = results.content()
        results._budget.not_before = float("inf")  # as if making it had taken long
        write_log(logs / "9.log", make_record("resnet18"))
        assert results.content() is before
    assert results.content() is not before, "nothing runs any more that would be disturbed"


@pytest.mark.integration
def test_plots_are_those_of_the_content(logs: Path) -> None:
    results = LiveResults(logs)
    content = html(results.content())
    assert "data:image/svg+xml" not in content
    (count,) = re.findall(r'href="#plots">Plots</a> <span class="quiet">(\d+)', content)
    plots = results.plots()
    assert plots.version == results.content().version
    assert html(plots).count("<figure>") == int(count) > 0
    assert results.plots() is plots
    write_log(logs / "9.log", make_record("resnet18"))
    assert results.plots().version == results.content().version != plots.version
