"""The one-file report: what is in it; tests/integration/test_browser.py looks at it in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlbs.config.load import load_config
from dlbs.results.page.page import page_html
from dlbs.version import __version__
from tests.conftest import RunDlbs
from tests.made_logs import make_logs, make_record, write_log

HOSTILE = "<img src=x onerror=alert(1)>'\"&{{ 7*7 }}\x1b[0m"


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
    page = page_html([record, make_record("b")], load_config().declarations)
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
    dlbs("report", "logs", "--html", "r.html", check=True)
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
    dlbs("report", "logs", "--html", "from_logs.html", check=True)
    dlbs("parse", "logs", "--output_file", "r.json", check=True)
    text = (tmp_path / "r.json").read_text().replace("logs/a.log", str(secret))
    (tmp_path / "r.json").write_text(text)
    dlbs("report", "r.json", "--html", "from_results.html", check=True)
    for name in ("from_logs.html", "from_results.html"):
        assert "the secret" not in (tmp_path / name).read_text()
    assert "make it from the logs" in (tmp_path / "from_results.html").read_text()


def test_machines_and_doubts_are_told() -> None:
    records = [
        make_record(
            batch=batch,
            exp__env__cpu="EPYC",
            exp__env__cpu_mhz=2000 + batch,
            results__warnings=["drift: batch times +7 %"],
        )
        for batch in (1, 2)
    ]
    page = page_html(records, load_config().declarations)
    assert "2 experiments: drift" in page
    assert re.search(r'<th scope="row">exp.env.cpu</th><td>EPYC</td>', page)
    assert "2 different values" in page


def test_the_accuracy_of_a_training_and_the_version_are_told() -> None:
    page = page_html([make_record(results__accuracy_top1=71.2345)], load_config().declarations)
    assert '<button type="button">accuracy, %</button>' in page
    assert "71.23" in page
    assert f"dlbs {__version__}" in page


@pytest.mark.integration
def test_many_experiments_make_a_page_of_bearable_size() -> None:
    records = [make_record(f"m{n % 50}", 2 ** (n % 5), repeat=n // 250, batches=2) for n in range(2500)]
    page = page_html(records, load_config().declarations)
    assert page.count("<tr data-status=") == 2500
    assert len(page) < 1000 * 2500
