"""Results in notebooks: typed columns, and queries that mean what they mean on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dlbs as package
from dlbs.core.errors import LogError
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_logs, make_record

QUERIES = [
    '{"exp.model": "a.*"}',
    '{"exp.replica_batch": [2, 4], "exp.model": "b"}',
    "${results.time} < 15",
    "'${exp.status}' == 'failure'",
]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    records = [
        make_record(model, batch, time=10 * batch, exp__docker=False, my__list=[1, 2])
        for model in ("a", "b")
        for batch in (1, 2)
    ]
    records.append(make_record("a", 4, status="failure", exp__docker=True))
    return make_logs(tmp_path / "logs", records)


def test_columns_are_typed(logs: Path) -> None:
    frame = package.load_results(str(logs))
    kinds = {name: str(frame[name].dtype) for name in frame.columns}
    assert len(frame) == 5
    assert kinds["exp.replica_batch"] == "Int64"
    assert kinds["results.time"] == "float64"
    assert kinds["exp.docker"] == "boolean"
    assert kinds["exp.model"] == "string"
    assert kinds["exp.start_time"].startswith("datetime64")
    assert kinds["results.time_data"] == kinds["my.list"] == "object"
    assert frame["results.time"].isna().tolist() == [False] * 4 + [True]
    assert frame["exp.status"].tolist() == ["ok"] * 4 + ["failure"]


@pytest.mark.parametrize("query", QUERIES)
def test_queries_agree_with_the_command_line(dlbs: RunDlbs, logs: Path, query: str) -> None:
    frame = package.load_results([str(logs)])
    parsed = json.loads(dlbs("parse", "logs", "--filter-query", query).stdout)["data"]
    assert 0 < len(parsed) < 5
    expected = [record["exp.id"] for record in parsed]
    assert package.filter_results(frame, query)["exp.id"].tolist() == expected
    assert package.load_results([str(logs)], query)["exp.id"].tolist() == expected


def test_queries_may_be_mappings_and_functions(logs: Path) -> None:
    frame = package.load_results([str(logs)])
    assert len(package.filter_results(frame, {"exp.model": "a", "exp.replica_batch": [1, 2]})) == 2
    assert len(package.filter_results(frame, lambda row: row.get("results.time", 0) > 15)) == 2
    with pytest.raises(LogError, match="bad regular expression"):
        package.filter_results(frame, {"exp.model": "("})


def test_a_misspelt_key_is_an_error_and_no_empty_frame(logs: Path) -> None:
    for query in ({"exp.modle": "a"}, "${exp.modle} == 'a'"):
        with pytest.raises(LogError, match=r"no experiment has 'exp\.modle'.*did you mean 'exp\.model'"):
            package.load_results(str(logs), query)
    with pytest.raises(LogError, match="no experiment has"):
        package.filter_results(package.load_results(str(logs)), {"exp.modle": "a"})
    assert len(package.load_results(str(logs), {"exp.model": "nobody"})) == 0


def test_set_values_changes_the_rows_that_fit_and_leaves_the_frame_alone(logs: Path) -> None:
    frame = package.load_results([str(logs)])
    made = package.set_values(
        frame, {"exp.model": "a"}, {"exp.model": "A", "my.double": lambda row: 2 * row["exp.replica_batch"]}
    )
    assert made["exp.model"].tolist() == ["A", "A", "b", "b", "A"]
    assert made["my.double"].dtype == "Int64"
    assert made["my.double"].isna().tolist() == [False, False, True, True, False]
    assert made["my.double"].dropna().tolist() == [2, 4, 8]
    assert frame["exp.model"].tolist() == ["a", "a", "b", "b", "a"]
    assert "my.double" not in frame


def test_large_numbers_and_mixed_values_survive(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text('__x__= 1\n__y__= "text"\n__exp.start_time__= "yesterday"\n')
    (tmp_path / "b.log").write_text("__x__= 2.5\n__y__= 3\n")
    frame = package.load_results([str(tmp_path / "a.log"), str(tmp_path / "b.log")])
    assert frame["x"].tolist() == [1.0, 2.5]
    assert frame["y"].tolist() == ["text", 3]
    assert frame["exp.start_time"].tolist()[0] == "yesterday"


@pytest.mark.integration
def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = "import sys, dlbs, dlbs.experimenter; print({'pandas', 'numpy', 'matplotlib', 'sqlalchemy', 'torch', 'starlette'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_values_of_several_types_and_lists_stay_as_they_are(tmp_path: Path) -> None:
    values = [[1, 2], "2", None, 1, 1.0, True, [1, 2]]
    records = [make_record(batch=n, my__odd=value, my__big=2**70) for n, value in enumerate(values)]
    del records[2]["my.odd"]
    frame = package.load_results(str(make_logs(tmp_path / "logs", records)))
    assert repr(frame["my.odd"].tolist()) == repr(values)
    frame["my.odd"][0].append(3)
    assert frame["my.odd"][6] == [1, 2]
    some = package.load_results(str(tmp_path / "logs"), lambda run: run["exp.replica_batch"] in (3, 5))
    assert some["my.odd"].tolist() == [1, True]
    one = package.load_results(str(tmp_path / "logs"), {"exp.replica_batch": 3})
    assert str(one["my.odd"].dtype) == "Int64"
