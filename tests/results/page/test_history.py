"""The pages of the history, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.page.history import HistoryPages
from dlbs.results.read.records import read_runs
from dlbs.results.store.store import Store
from tests.made_logs import make_record, write_log
from tests.results.test_trends import nightly

HOSTILE = "<script>x</script>\"'&\x1b[31m"


def make_store(tmp_path: Path, records: list[dict[str, Any]], tag: str | None = None) -> HistoryPages:
    with Store(str(tmp_path / "results.db")) as store:
        store.add(records, tag)
    return HistoryPages(str(tmp_path / "results.db"), tmp_path / "logs")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> HistoryPages:
    """A store of two models over 24 days, of which one became slower on the 15th."""
    directory = tmp_path_factory.mktemp("history")
    make_store(directory, nightly("resnet18", days=24, slower_from=14) + nightly(days=12))
    return make_store(directory, nightly(days=24)[36:], tag="v2")


def links(html: str, path: str) -> list[str]:
    return [link.replace("&amp;", "&") for link in re.findall(rf'href="(/{path}\?[^"]*)"', html)]


def asked(link: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in link.partition("?")[2].split("&"))


def test_the_first_page_has_trends_tags_and_machines_regressions_first(pages: HistoryPages) -> None:
    html = pages.overview({})
    assert re.findall(r'<a href="/trend[^>]*>([^<]*)</a>', html) == [
        "resnet18, training, float32, gpu, batch 16", "alexnet, training, float32, gpu, batch 16",
    ]  # fmt: skip
    assert re.search(r'<span class="bad">−9\.\d %', html)
    assert "at most 1 % of trends" in html
    assert "<td>v2</td>" in html
    assert "node1, Imaginary GPU" in html
    assert "alexnet" not in pages.overview({"words": "resnet18"})
    assert "Batch time, ms" in pages.overview({"metric": "results.time"})


def test_a_trend_marks_its_change_and_every_point_is_one_click_from_a_comparison(pages: HistoryPages) -> None:
    (link,) = links(pages.overview({"words": "resnet18"}), "trend")
    html = pages.trend(asked(link))
    chart = json.loads(re.findall(r'id="data">(.*?)</script>', html)[0])
    ((at, words, is_worse),) = chart["changes"]
    assert (at, words[:2], is_worse) == (14, "−9", True)
    assert [len(chart[name]) for name in ("xs", "ys", "bounds", "links", "levels")] == [24, 24, 24, 24, 2]
    assert chart["links"][13] == ""
    assert asked(chart["links"][20])["b"] == "20"
    comparisons = set(links(html, "compare"))
    assert {(asked(one)["a"], asked(one)["b"]) for one in comparisons} == {
        ("13", str(at)) for at in range(24) if at != 13
    }
    (chosen,) = {one for one in links(html, "trend") if asked(one)["a"] == "2"}
    assert {asked(one)["a"] for one in links(pages.trend(asked(chosen)), "compare")} == {"2"}


def test_two_points_are_compared_with_what_differs_and_the_runs_behind_them(pages: HistoryPages) -> None:
    (link,) = links(pages.overview({"words": "resnet18"}), "trend")
    compared = pages.compare({**asked(link), "a": "13", "b": "20"})
    assert "1 slower" in compared
    assert "<td>exp.framework_version</td><td>2.2</td><td>2.4</td>" in compared
    runs = links(compared, "run")
    assert len(runs) == 6
    html = pages.run(asked(runs[0]))
    assert '<th scope="row">exp.model</th><td>resnet18</td>' in html


def test_tags_are_compared(tmp_path: Path) -> None:
    make_store(tmp_path, [make_record(repeat=n) for n in (1, 2, 3)], tag="v1")
    slower = [make_record(repeat=n, time=12.0, exp__start_time=f"2026-12-01T0{n}:00:00") for n in (1, 2, 3)]
    pages = make_store(tmp_path, slower, tag="v2")
    (link,) = links(pages.overview({}), "tags")
    compared = pages.tags(asked(link))
    assert "1 slower" in compared
    assert '<dt>slower</dt><dd class="bad">1</dd>' in compared
    assert re.findall("<tr><td>(v.)</td>", pages.overview({})) == ["v2", "v1"], "the newest first"


def test_an_empty_store_has_a_page(tmp_path: Path) -> None:
    assert "This store is empty" in make_store(tmp_path, []).overview({})
    assert "skipped" not in make_store(tmp_path, [make_record(status="skipped")]).overview({})


def test_what_is_added_is_seen(tmp_path: Path) -> None:
    pages = make_store(tmp_path, [make_record()])
    assert "resnet18" not in pages.overview({})
    make_store(tmp_path, [make_record("resnet18")])
    assert "resnet18" in pages.overview({})


def test_hostile_values_are_text(tmp_path: Path) -> None:
    pages = make_store(tmp_path, [make_record(HOSTILE, repeat=n, exp__env__host=HOSTILE) for n in (1, 2)], tag=HOSTILE)
    shown = pages.overview({"words": ""})
    (link,) = links(shown, "trend")
    everything = [shown, pages.trend(asked(link)), pages.run({"id": "1"})]
    for html in everything:
        assert "<script>x" not in html
        assert "\x1b" not in html
        assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("page", "given"),
    [
        ("trend", {}), ("trend", {"key": "nope"}), ("overview", {"metric": "results.nope"}), ("overview", {"page": "-1"}), ("run", {"id": "x"}),
        ("run", {"id": "999999"}), ("run", {"id": "1" * 30}), ("tags", {"a": "v1", "b": "v1"}), ("tags", {"a": "no", "b": "such"}), ("compare", {}),
        ("trend", {"key": "KEY", "a": "99"}), ("compare", {"key": "KEY", "a": "1", "b": "1"}), ("compare", {"key": "KEY", "a": "1", "b": "99"}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_an_error_of_ours(pages: HistoryPages, page: str, given: dict[str, str]) -> None:
    if given.get("key") == "KEY":
        (link,) = links(pages.overview({"words": "resnet18"}), "trend")
        given = {**given, "key": asked(link)["key"]}
    with pytest.raises(LogError):
        getattr(pages, page)(given)


def test_the_log_behind_a_run_is_shown_if_it_is_the_one_that_was_added(tmp_path: Path) -> None:
    log = write_log(tmp_path / "logs" / "sub" / "a.log", make_record(), output="the output of the run")
    (record,) = read_runs([str(log)])
    pages = make_store(tmp_path, [{**record, "exp.log_file": "/elsewhere/logs/sub/a.log"}])
    assert "the output of the run" in pages.run({"id": "1"})
    write_log(log, make_record(seed=2), output="something else")
    html = pages.run({"id": "1"})
    assert "something else" not in html
    assert "of another run" in html
    log.unlink()
    assert "The log is not in" in pages.run({"id": "1"})


def test_no_other_file_is_shown_whatever_the_store_says(tmp_path: Path) -> None:
    """A store that somebody else made may name any file, and say that it is an experiment."""
    secret = write_log(tmp_path / "secret.log", make_record(), output="a secret")
    (record,) = read_runs([str(secret)])
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link.log").symlink_to(secret)
    (tmp_path / "logs" / "linked").symlink_to(tmp_path)
    names = [str(secret), "../secret.log", "logs/../../secret.log", "link.log", "linked/secret.log", "/etc/passwd", ""]
    with Store(str(tmp_path / "results.db")) as store:
        for number, name in enumerate(names):
            store.add([{**record, "exp.log_file": name, "my.number": number}, {**record, "exp.log_file": name}])
    pages = HistoryPages(str(tmp_path / "results.db"), tmp_path / "logs")
    for number in range(1, len(names) + 2):
        assert "a secret" not in pages.run({"id": str(number)})
