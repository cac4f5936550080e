"""`dlbs parse -P` adds keys that are computed from others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LogError
from dlbs.results.read.query import compile_additions
from dlbs.results.runs import Runs
from tests.conftest import RunDlbs

RECORD = {"exp.model": "alexnet", "exp.replica_batch": 16, "exp.note": "$(1 + 1)$ ${exp.model}", "results.time": 80.0}


def added_to(given: list[str]) -> dict[str, Any]:
    (record,) = compile_additions(given).of(Runs.of([RECORD])).records()
    return record


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (["my.a=1"], {"my.a": 1}),
        (["my.a=${exp.model} ${exp.replica_batch}"], {"my.a": "alexnet 16"}),
        (["my.a=$(${exp.replica_batch} * 1000 / ${results.time})$"], {"my.a": 200.0}),
        (['{"my.a": "${exp.model}", "my.b": [1, 2]}'], {"my.a": "alexnet", "my.b": [1, 2]}),
        (["my.a=${exp.model}", "my.b=${my.a}!"], {"my.a": "alexnet", "my.b": "alexnet!"}),
        (["exp.model=other"], {"exp.model": "other"}),
        (["my.a=${exp.missing}", "my.b=${my.a}", "my.c=1"], {"my.c": 1}),
        (["my.a=${exp.note}"], {"my.a": "$(1 + 1)$ ${exp.model}"}),
    ],
)
def test_keys_are_added(given: list[str], added: dict[str, Any]) -> None:
    assert added_to(given) == {**RECORD, **added}


def test_the_environment_is_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert added_to(["my.a=${SECRET}"]) == RECORD


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("my.a", "is not name=value"),
        ("{", "is not JSON"),
        ("my.a=$(1 +)$", "-Pmy.a"),
        ("my.a=${my.a}", "the value refers to the key itself"),
        ("my.a=${${exp.model}}", "must not be computed"),
        ("my.a=$(1 / 0)$", "-Pmy.a"),
    ],
)
def test_bad_additions_are_clear_errors(given: str, said: str) -> None:
    with pytest.raises(LogError) as raised:
        added_to([given])
    assert said in str(raised.value)


def test_parse_adds_and_accepts_options_of_old_scripts(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.log").write_text(
        "".join(f"__{key}__= {json.dumps(value)}\n" for key, value in RECORD.items())
    )
    (tmp_path / "r.json").write_text("older")
    name = "-Pmy.name=${exp.model} b${exp.replica_batch}"
    done = dlbs(
        "parse", "deep", "--recursive", "--overwrite", name, "--output-params", "my.name,results.time", "-o", "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["data"] == [{"my.name": "alexnet b16", "results.time": 80.0}]
    assert "note: --recursive is always on" in done.stderr
    assert "note: --overwrite is always on" in done.stderr
