"""The comparison page: what is in it; tests/integration/test_comparison_in_browser.py looks at it in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlbs.results.page.comparison import comparison_html
from dlbs.results.statistics.compare import compare, compare_by
from dlbs.results.statistics.ratio import Rules
from dlbs.results.tables.comparison import comparison_table
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record

HOSTILE = "</script><img src=x onerror=alert(1)>"


def runs(factor: float, **more: Any) -> list[dict[str, Any]]:
    """Six runs of two models, of which one takes `factor` times as long."""
    return [
        make_record(model, time=10 * (factor if model == "vgg16" else 1), repeat=repeat, seed=factor, **more)
        for model in ("alexnet", "vgg16")
        for repeat in range(1, 7)
    ]


def page_of(a: list[dict[str, Any]], b: list[dict[str, Any]], title: str | None = None) -> str:
    made = compare(declared(a), b)
    return comparison_html(made, comparison_table(made), title=title)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_row_has_its_verdict_the_interval_and_the_values_of_its_runs() -> None:
    before, now = runs(1), runs(1.3)
    made = compare(declared(before), now)
    data = data_of(comparison_html(made, comparison_table(made)))
    row = next(row for row in data["rows"] if row["label"] == "vgg16")
    match = next(match for match in made.matches if match.label == "vgg16")
    assert match.estimate is not None
    assert match.estimate.interval is not None
    assert row["verdict"] == "slower"
    assert (row["ratio"], row["low"], row["high"]) == (
        match.estimate.ratio, match.estimate.interval.low, match.estimate.interval.high,
    )  # fmt: skip
    assert [value for value, _ in row["values"][0]] == [
        record["results.throughput"] for record in before if record["exp.model"] == "vgg16"
    ]
    assert data["threshold"] == 0.03


def test_the_distribution_of_batches_goes_from_the_least_to_the_greatest() -> None:
    now = runs(1.3)
    row = next(row for row in data_of(page_of(runs(1), now))["rows"] if row["label"] == "vgg16")
    times = [time for record in now if record["exp.model"] == "vgg16" for time in record["results.time_data"]]
    shares = row["batches"][1]
    assert len(shares) == 41
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(min(times), rel=1e-4)
    assert shares[20] == pytest.approx(sorted(times)[len(times) // 2], rel=1e-2)
    assert shares[-1] == pytest.approx(max(times), rel=1e-4)


def test_doubtful_runs_that_were_left_out_are_marked() -> None:
    now = runs(1.3)
    now[0]["results.warnings"] = ["drift: batch times +7 %"]
    row = next(row for row in data_of(page_of(runs(1), now))["rows"] if row["label"] == "alexnet")
    assert [doubt for _, doubt in row["values"][1]] == [2, 0, 0, 0, 0, 0]
    assert row["runs"] == ["6", "5 of 6"]


def test_what_differs_between_the_sides_is_listed() -> None:
    a = runs(1, runtime__malloc="system", exp__env__kernel="6.1", exp__framework_version="2.12", exp__env__cpu="EPYC")
    b = runs(1.3, runtime__malloc="keep", exp__env__kernel="6.5", exp__framework_version="2.13", exp__env__cpu="EPYC")
    page = page_of(a, b)
    assert "<td>runtime.malloc</td><td>system</td><td>keep</td>" in page
    assert "<td>exp.env.kernel</td><td>6.1</td><td>6.5</td>" in page
    assert "exp.env.cpu</td>" not in page
    assert page.count("<td>2.12</td><td>2.13</td>") == 1


def test_what_ended_well_on_one_side_only_is_a_row_without_a_ratio() -> None:
    now = [*runs(1.3)[:6], *(make_record("vgg16", repeat=n, status="failure") for n in range(1, 7))]
    rows = {row["label"]: row for row in data_of(page_of(runs(1), now))["rows"]}
    assert rows["vgg16"]["verdict"] == "broken"
    assert rows["vgg16"]["ratio"] is None
    assert rows["vgg16"]["values"][1] == []
    assert "ok → failure" in rows["vgg16"]["notes"]


def test_values_of_a_parameter_are_rows_of_their_own() -> None:
    records = [
        make_record(time=time, repeat=repeat, seed=kind, runtime__malloc=kind)
        for kind, time in (("system", 10), ("keep", 8), ("huge", 12))
        for repeat in range(1, 7)
    ]
    made = compare_by(declared(records), Rules(by="runtime.malloc"))
    page = comparison_html(made, comparison_table(made))
    assert [(row["value"], row["verdict"]) for row in data_of(page)["rows"]] == [("keep", "faster"), ("huge", "slower")]
    assert "<td>runtime.malloc</td><td>system</td><td>keep</td><td>huge</td>" in page
    assert "keep ran 1.2" in page


def test_without_a_script_the_verdicts_are_in_a_table() -> None:
    static = re.findall(r"<noscript>(.*?)</noscript>", page_of(runs(1), runs(1.3)), re.DOTALL)[0]
    assert re.search(r"<td>vgg16</td>.*<td[^>]*>slower</td>", static)
    assert static.count("<tr>") == 3


def test_sides_have_names_and_sources_everywhere(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "a", runs(1))
    make_logs(tmp_path / "b", runs(1.3))
    usual = dlbs("compare", "a", "b").stdout
    assert "A: a\n" in usual
    assert "B: b\n" in usual
    named = dlbs("compare", "a", "b", "--names", "main, branch")
    assert "branch over main with 95 % CI" in named.stdout
    assert "main, median" in named.stdout
    assert "main: a\n" in named.stdout
    assert "geometric mean of branch over main" in named.stderr
    document = json.loads(dlbs("compare", "a", "b", "--names", "main,branch", "--format", "json").stdout)
    assert (document["sides"], document["sources"]) == (["main", "branch"], ["a", "b"])
    dlbs("compare", "a", "b", "--names", "<main>,branch", "--html", "c.html")
    page = (tmp_path / "c.html").read_text()
    assert "branch compared with &lt;main&gt;</h1>" in page
    assert "&lt;main&gt;: a</p>" in page
    assert data_of(page)["sides"] == ["<main>", "branch"]


@pytest.mark.parametrize("names", ["main", "a,a", "a,b,c", ",b"])
def test_two_different_names_are_required(dlbs: RunDlbs, names: str) -> None:
    done = dlbs("compare", "a", "b", "--names", names)
    assert done.returncode == 2
    assert "write two different names" in done.stderr


def test_hostile_values_are_escaped() -> None:
    a = [{**record, HOSTILE: HOSTILE} for record in runs(1, exp__dtype=HOSTILE, exp__env__cpu="x")]
    b = runs(1.3, exp__dtype="float16", exp__env__cpu=HOSTILE)
    b[-1] |= {"exp.status": "failure", "exp.status_msg": HOSTILE}
    b[0]["results.warnings"] = [HOSTILE]
    page = page_of(a, b, title=HOSTILE)
    assert "<img src=x" not in page
    assert "</script><img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_is_one_file_under_the_strict_policy_with_a_title(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "a", runs(1))
    make_logs(tmp_path / "b", runs(1.3))
    done = dlbs("compare", "a", "b", "--html", "out/c.html", "--title", "Is it <faster>?", "--fail-on-regression")
    assert done.returncode == 3
    assert "1 slower" in done.stderr
    page = (tmp_path / "out" / "c.html").read_text()
    assert "<title>Is it &lt;faster&gt;?</title>" in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].replace("&#39;", "'").startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert set(re.findall(r'(?:src|href)="([a-z]+):', page)) <= {"data"}
    done = dlbs("compare", "a", "b", "--title", "x")
    assert done.returncode == 2
    assert "--title requires --html FILE" in done.stderr


@pytest.mark.integration
def test_many_comparisons_make_a_page_of_less_than_four_megabytes() -> None:
    def side(seed: int) -> list[dict[str, Any]]:
        return [
            make_record(f"model{n % 50}", 1 + n // 50, repeat=repeat, batches=20, seed=seed)
            for n in range(2_000)
            for repeat in range(1, 4)
        ]

    page = page_of(side(1), side(2))
    assert len(data_of(page)["rows"]) == 2_000
    assert len(page.encode()) < 4_000_000
