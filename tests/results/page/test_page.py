"""The one-file report: what is in it; tests/integration/test_page_in_browser.py looks at it in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dlbs.core.version import __version__
from dlbs.results.page.report import Chosen, page_html
from dlbs.results.page.summary import failures_of, where_measured
from dlbs.results.runs import Runs
from tests.conftest import RunDlbs
from tests.made_logs import declared, make_logs, make_record, write_log

HOSTILE = "<img src=x onerror=alert(1)>'\"&{{ 7*7 }}\x1b[0m"


def page_of(records: list[dict[str, Any]]) -> str:
    """The page without plots, which take most of its time."""
    return page_html(declared(records), chosen=Chosen(kinds=()))


def test_nothing_comes_from_elsewhere_and_only_its_own_script_may_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", [make_record(batch=batch) for batch in (1, 2)])
    done = dlbs("report", "logs", "--html", "out/report.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert set(re.findall(r'(?:src|href)="([a-z]+):', page)) <= {"data"}
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "data:image/svg+xml;base64," in page


def test_hostile_values_are_escaped() -> None:
    record = make_record(
        HOSTILE,
        status="failure",
        exp__status_msg=HOSTILE,
        exp__env__cpu=HOSTILE,
        exp__project=HOSTILE,
        exp__log_file=HOSTILE,
    )
    record[HOSTILE] = HOSTILE
    page = page_html(declared([record, make_record("b")]), chosen=Chosen(title=HOSTILE))
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "{{ 7*7 }}" in page
    assert "\x1b" not in page
    assert "dlbs rerun &#39;" in page  # quoted for the shell, then for HTML


def test_failed_experiments_show_the_end_of_their_log_and_how_to_repeat_them(dlbs: RunDlbs, tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "logs" / "a.log", make_record(status="failure"), output="\n".join(f"line {n}" for n in range(100))
    )
    with log.open("a") as stream:
        stream.write("RuntimeError: <b>out of memory</b>\n")
    dlbs("report", "logs", "--html", "r.html", "--plots", "bars", check=True)
    page = (tmp_path / "r.html").read_text()
    assert "RuntimeError: &lt;b&gt;out of memory&lt;/b&gt;" in page
    assert "dlbs rerun logs/a.log" in page
    assert "line 99" in page
    assert "line 50" not in page


def test_a_record_cannot_make_the_page_show_other_files(dlbs: RunDlbs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret\n")
    record = make_record(status="failure", exp__log_file=str(secret))
    write_log(tmp_path / "logs" / "a.log", record)
    dlbs("report", "logs", "--html", "from_logs.html", "--plots", "bars", check=True)
    dlbs("parse", "logs", "--output-file", "r.json", check=True)
    text = (tmp_path / "r.json").read_text().replace("logs/a.log", str(secret))
    (tmp_path / "r.json").write_text(text)
    dlbs("report", "r.json", "--html", "from_results.html", "--plots", "bars", check=True)
    for name in ("from_logs.html", "from_results.html"):
        assert "the secret" not in (tmp_path / name).read_text()
    assert "create the page from logs" in (tmp_path / "from_results.html").read_text()


def test_machines_and_doubts_are_shown() -> None:
    records = [
        make_record(
            batch=batch,
            exp__env__cpu="EPYC",
            exp__env__cpu_mhz=2000 + batch,
            exp__env__memory=8 << 30,
            exp__env__cpu_governor="",
            results__warnings=["drift: batch times +7 %"],
        )
        for batch in (1, 2)
    ]
    page = page_of(records)
    assert "2 experiments: drift" in page
    assert '<th scope="row">CPU</th><td>EPYC</td>' in page
    assert '<th scope="row">memory</th><td>8.000 GiB</td>' in page
    assert "governor" not in page.partition('id="machines"')[2], "a fact without a value is left out"
    assert "2 different values" in page


def test_numbers_of_experiments_have_the_intervals_of_their_runs() -> None:
    records = [
        make_record(batch=1, results__throughput=50.0, results__throughput_ci95=[48.0, 52.0]),
        make_record(batch=2),
    ]
    figures = {figure["key"]: figure for figure in data_of(page_of(records))["figures"]}
    assert figures["results.throughput"]["bounds"][0] == [48.0, 52.0]


def data_of(page: str) -> dict[str, Any]:
    """What the script of a page draws from."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def column(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in data["parameters"] if one["name"] == name)


def test_the_accuracy_of_a_training_and_the_version_are_shown() -> None:
    page = page_of([make_record(results__accuracy_top1=71.2345)])
    figure = data_of(page)["figures"][0]
    assert (figure["title"], figure["values"]) == ("top-1 accuracy, %", [71.2345])
    assert f"dlbs {__version__}" in page


def test_facets_have_exact_values_and_numbers_in_their_order() -> None:
    records = [
        make_record("model10", 16, exp__dtype="float16"),
        make_record("model2", 2, exp__dtype="bfloat16"),
        make_record("model2", 128, exp__dtype="float16"),
    ]
    data = data_of(page_of(records))
    assert column(data, "exp.dtype")["values"] == ["bfloat16", "float16"]
    assert column(data, "exp.dtype")["codes"] == [1, 0, 1]
    assert column(data, "exp.replica_batch")["values"] == ["2", "16", "128"]
    assert column(data, "exp.replica_batch")["numbers"] == [2, 16, 128]
    assert column(data, "exp.model")["values"] == ["model2", "model10"]
    assert column(data, "exp.model")["numbers"] is None


def test_what_follows_from_a_label_and_the_machine_are_facets_but_no_columns() -> None:
    records = [make_record(batch=batch, exp__env__host=f"node{batch}", exp__id=f"{batch}") for batch in (1, 2, 1, 2)]
    data = data_of(page_of(records))
    assert column(data, "exp.replica_batch")["label"] is True
    assert column(data, "exp.env.host") | {"codes": []} == {
        "name": "exp.env.host", "title": "host", "label": False, "values": ["node1", "node2"], "codes": [], "numbers": None,
    }  # fmt: skip
    assert "exp.id" not in [one["name"] for one in data["parameters"]]


def test_a_parameter_of_several_types_is_a_facet_of_texts() -> None:
    records = [make_record(batch=1, my__x=value) for value in (True, "true", 1, "1", None, [1, 2], 10**400)]
    found = column(data_of(page_of(records)), "my.x")
    assert found["numbers"] is None
    assert found["codes"][:5] == [found["codes"][0]] * 2 + [found["codes"][2]] * 2 + [-1]
    assert all(len(value) <= 121 for value in found["values"])


def test_the_summary_says_what_was_measured_where() -> None:
    records = [
        make_record(model, exp__env__host=host, exp__framework_version="2.13", exp__seconds=30)
        for model in ("alexnet", "vgg16")
        for host in ("node1", "node2")
    ]
    records.append(make_record("vgg19", status="failure", exp__env__host="node2", exp__framework_version="2.13"))
    records.append(
        make_record("vgg19", exp__env__host="node2", exp__framework_version="2.13", results__warnings=["drift: 7 %"])
    )
    rows = where_measured(Runs.of(records))["rows"]
    assert [(row["host"], row["count"], row["ok"], row["doubtful"], row["failed"]) for row in rows] == [
        ("node2", 4, 3, 1, 1),
        ("node1", 2, 2, 0, 0),
    ]
    assert rows[0]["software"] == "pytorch 2.13"
    assert rows[1]["what"] == "alexnet, vgg16, training"
    page = page_of(records)
    assert page.index('id="where"') < page.index('id="experiments"')
    assert page.index("1 × failure: exit code 1") < page.index('id="experiments"')


def test_failures_are_gathered_by_reason_and_none_is_lost() -> None:
    records = [make_record(batch=n, status="failure", exp__status_msg=f"reason {n % 2}") for n in range(1, 12)]
    found = failures_of(Runs.of(records), ())
    assert [(one["message"], one["count"], len(one["shown"])) for one in found] == [
        ("reason 1", 6, 3),
        ("reason 0", 5, 3),
    ]
    many = [make_record(batch=n, status="failure", exp__status_msg=f"reason {n}") for n in range(1, 151)]
    assert "And 50 experiments with other reasons" in page_of(many)


def test_regressions_since_earlier_results_stand_in_the_summary(dlbs: RunDlbs, tmp_path: Path) -> None:
    def records(factor: float) -> list[dict[str, Any]]:
        return [
            make_record(m, time=10 * (factor if m == "vgg16" else 1), repeat=r, seed=factor)
            for m in ("alexnet", "vgg16")
            for r in range(1, 7)
        ]

    make_logs(tmp_path / "before", records(1))
    make_logs(tmp_path / "now", records(1.3))
    dlbs(
        "report",
        "now",
        "--html",
        "r.html",
        "--against",
        "before",
        "--title",
        "Release <2>",
        "--plots",
        "bars",
        check=True,
    )
    page = (tmp_path / "r.html").read_text()
    assert "<title>Release &lt;2&gt;</title>" in page
    assert '<h3 id="regressions">Since before</h3>' in page
    assert re.search(r"<td>vgg16</td><td>slower</td><td>0\.7\d* \[", page)
    assert page.count("slower") == 2  # the one in the list, and how many there are
    assert page.index('id="regressions"') < page.index('id="experiments"')
    dlbs("report", "now", "--html", "r.html", "--plots", "bars", check=True)
    assert "not compared with earlier results" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("flag", ["--title=x", "--plots=bars", "--against=logs"])
def test_options_of_the_page_need_the_page(dlbs: RunDlbs, tmp_path: Path, flag: str) -> None:
    make_logs(tmp_path / "logs", [make_record()])
    done = dlbs("report", "logs", flag)
    assert done.returncode == 2
    assert f"{flag.partition('=')[0]} requires --html FILE" in done.stderr


def test_any_kind_of_plot_can_be_shown_and_one_that_cannot_be_drawn_says_why(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", [make_record(m, batch) for m in ("a", "b") for batch in (1, 2)])
    dlbs("report", "logs", "--html", "r.html", "--plots", "heatmap,roofline", check=True)
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 1
    assert re.search(r"Not drawn: operations per second over operations per byte: \S+", page)
    done = dlbs("report", "logs", "--html", "r.html", "--plots", "heatmpa")
    assert done.returncode == 2
    assert "heatmap" in done.stderr


def test_links_lead_from_the_page_to_logs_that_were_read_and_to_no_other_file(dlbs: RunDlbs, tmp_path: Path) -> None:
    odd = "a b#%?'\"<.log"
    write_log(tmp_path / "logs" / odd, make_record(batch=1))
    write_log(tmp_path / "logs" / "b.log", make_record(batch=2))
    dlbs("report", "logs", "--html", "out/r.html", "--plots", "bars", check=True)
    links = data_of((tmp_path / "out" / "r.html").read_text())["links"]
    addresses = [links["prefix"] + one for one in links["rest"]]
    assert all(address.startswith("./../logs/") for address in addresses)  # so that none has a scheme
    assert sorted((tmp_path / "out" / unquote(address)).resolve().name for address in addresses) == [odd, "b.log"]
    dlbs("parse", "logs", "--output-file", "r.json", check=True)
    text = (tmp_path / "r.json").read_text().replace("logs/b.log", "javascript:alert(1)")
    (tmp_path / "r.json").write_text(text)
    dlbs("report", "r.json", "--html", "r.html", "--plots", "bars", check=True)
    assert data_of((tmp_path / "r.html").read_text())["links"]["rest"] == [None, None]


def test_values_cannot_end_the_data() -> None:
    page = page_of([make_record("</script><script>alert(1)</script>"), make_record("<!--<script>")])
    assert "</script><script>alert" not in page
    assert "<!--<script" not in page
    assert column(data_of(page), "exp.model")["values"] == ["<!--<script>", "</script><script>alert(1)</script>"]


@pytest.mark.integration
def test_ten_thousand_experiments_make_a_page_of_less_than_four_megabytes(tmp_path: Path) -> None:
    records = [
        make_record(
            f"m{n % 50}", 2 ** (n % 5), repeat=n // 250, batches=2, results__memory_device_reserved=n << 20, exp__dtype=["float32", "float16"][n // 5000],
            exp__log_file=f"/a/directory/of/logs/pytorch_m{n % 50}_training_b{2 ** (n % 5)}_{n:016x}.log",
            status="failure" if n % 20 == 0 else "ok", exp__status_msg=f"reason {n}", results__warnings=["drift: batch times +7 %"] * (n % 7 == 0),
        )
        for n in range(10_000)
    ]  # fmt: skip
    page = page_html(declared(records), chosen=Chosen(kinds=["bars", "heatmap"]))
    assert data_of(page)["count"] == 10_000
    assert page.count("data:image/svg+xml;base64,") == 2
    assert len(page.encode()) < 4_000_000
