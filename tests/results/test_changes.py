"""Code and software between the sides of a comparison, and in a history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import LogError
from dlbs.results.changes import change_words, changes
from dlbs.results.runs import Runs
from dlbs.results.statistics.compare import compare_by
from dlbs.results.statistics.ratio import Rules
from dlbs.results.store.store import Store
from dlbs.results.trends import change_lines, regression_of, trends_of
from tests.conftest import RunDlbs

GOOD, BAD = "a" * 40, "b" * 40


def run(commit: str | None, **more: Any) -> dict[str, Any]:
    return {
        "exp.status": "ok", "results.time": 1.0, "exp.model": "m", "exp.code.commit": commit, "exp.code.dirty": False, "exp.code.diff": None,
        **{name.replace("__", "."): value for name, value in more.items()},
    }  # fmt: skip


def test_sides_with_other_code_and_packages() -> None:
    a = run(GOOD, exp__code__files={"x.py": "1", "y.py": "1", "same": "1"}, exp__software__packages="0" * 16,
            exp__software__package_list=["# Python 3.11", "torch==2.12.0", "b==1", "c==1"], exp__software__versions={"torch": "2.12.0"})  # fmt: skip
    b = run(BAD, exp__code__files={"x.py": "2", "y.py": "2", "same": "1"}, exp__software__packages="1" * 16,
            exp__software__package_list=["# Python 3.11", "torch==2.13.0", "b==2"], exp__software__versions={"torch": "2.13.0"})  # fmt: skip
    found = changes(Runs.of([a]), Runs.of([b]))
    assert found == {
        "versions": [["aaaaaaa"], ["bbbbbbb"]],
        "files": ["x.py", "y.py"],
        "packages": {"b": ["1", "2"], "c": ["1", None], "torch": ["2.12.0", "2.13.0"]},
        "decisive": ["torch"],
    }
    assert change_words(found) == ["torch 2.12.0 → 2.13.0, 2 other packages", "commit aaaaaaa → bbbbbbb, 2 files"]


def test_equal_and_unknown_sides_have_no_changes() -> None:
    assert changes(Runs.of([run(GOOD)]), Runs.of([run(GOOD)])) == {}
    assert changes(Runs.of([run(None)]), Runs.of([run(GOOD)])) == {}
    assert change_words({}) == []


def test_a_difference_is_a_version() -> None:
    other = run(GOOD, exp__code__dirty=True, exp__code__diff="1")
    assert change_words(changes(Runs.of([run(GOOD)]), Runs.of([other]))) == ["commit aaaaaaa → aaaaaaa-dirty"]


def test_data_and_other_repositories_of_the_sides() -> None:
    def side(weights: str, difference: str, *outputs: str) -> Runs:
        return Runs.of([
            run(GOOD, exp__code__data={"w.pt": weights, "out": one}, exp__code__editable={"mine": {"path": "/p", "commit": GOOD, "diff": difference}})
            for one in outputs
        ])  # fmt: skip

    found = changes(side("1", "", "x", "y"), side("2", "c0ffee99", "z"))
    assert found == {"data": ["w.pt"], "repositories": {"mine": [["aaaaaaa"], ["aaaaaaa-c0ffee"]]}}
    assert change_words(found) == ["data w.pt changed", "mine aaaaaaa → aaaaaaa-c0ffee"]


def test_compare_names_the_difference_everywhere(dlbs: RunDlbs, tmp_path: Path) -> None:
    """In the terminal, on the page and for programs; the list of packages is in a file beside the logs."""
    for side, commit, version in (("a", GOOD, "2.12.0"), ("b", BAD, "2.13.0")):
        records = [
            run(commit, exp__id=str(at), exp__repeat=at, exp__start_time=f"2026-01-0{at}T10:00:00+0000",
                exp__software__packages=version, exp__software__versions={"torch": version})
            for at in (1, 2, 3)
        ]  # fmt: skip
        (tmp_path / f"{side}.json").write_text(json.dumps(records))
    done = dlbs("compare", "a.json", "b.json", check=True).stdout
    assert "from A to B: torch 2.12.0 → 2.13.0\n" in done
    assert "from A to B: commit aaaaaaa → bbbbbbb" in done
    document = json.loads(dlbs("compare", "a.json", "b.json", "--format", "json", check=True).stdout)
    assert document["changes"]["packages"] == {"torch": ["2.12.0", "2.13.0"]}
    dlbs("compare", "a.json", "b.json", "--html", "page.html", check=True)
    assert "commit aaaaaaa → bbbbbbb" in (tmp_path / "page.html").read_text()
    by = dlbs("compare", "a.json", "b.json", "--by", "exp.code.commit", check=True).stdout
    assert "aaaaaaa" in by
    assert GOOD not in by


def test_commits_that_begin_alike_are_compared_apart() -> None:
    one, two = "abcdef1" + "2" * 33, "abcdef1" + "3" * 33
    records = [run(commit, exp__repeat=at) for commit in (one, two, GOOD) for at in range(3)]
    by = compare_by(records, Rules(by="exp.code.commit,exp.model"))
    assert len({*by.values, by.baseline}) == 3
    assert compare_by(records, Rules(by="exp.code.commit", baseline="abcdef13")).baseline == two
    with pytest.raises(LogError, match=r"2 values of .* begin with it"):
        compare_by(records, Rules(by="exp.code.commit", baseline="abcdef1"))


def history(tmp_path: Path) -> str:
    """A store in which a commit made an experiment slower."""
    url = str(tmp_path / "results.db")
    records = [
        run(f"{day:02x}" * 20, exp__id=f"{day}-{repeat}", exp__start_time=f"2026-01-{day:02}T10:00:0{repeat}+0000",
            **{"results.time": (10.0 if day <= 8 else 12.0) + 0.01 * (day % 3) + 0.001 * repeat})
        for day in range(1, 17)
        for repeat in range(3)
    ]  # fmt: skip
    with Store(url) as store:
        store.add(Runs.of(records))
    return url


def test_a_change_lies_between_commits(tmp_path: Path) -> None:
    with Store(history(tmp_path), declarations=load_config().declarations) as store:
        (trend,) = trends_of(store.runs(), "results.time")
        (change,) = trend.changes
        assert trend.points[change.at].day == "2026-01-09"
        assert trend.between(change) == ("0808080", "0909090")
        assert regression_of(store, "m", None) == ("0808080", "0909090")
        assert change_lines(store.runs()) == [
            "Batch time: +20.0 % (worse) at 2026-01-09 0909090: last before it 0808080, first after it 0909090"
        ]
        with pytest.raises(LogError, match="no such experiment"):
            regression_of(store, "other", None)


def test_the_history_of_an_experiment_tells_its_changes(dlbs: RunDlbs, tmp_path: Path) -> None:
    history(tmp_path)
    done = dlbs("db", "query", "--history", "m", check=True)
    assert "last before it 0808080, first after it 0909090" in done.stderr
    assert len(json.loads(dlbs("db", "query", '{"exp.code.commit": "0909.*"}', "--json", check=True).stdout)) == 3
    refused = dlbs("bisect", "--good", "x", "--", "true")
    assert refused.returncode == 2
    assert "--bad" in refused.stderr
    assert dlbs("bisect", "--history", "m", "--good", "x", "--", "true").returncode == 2
    assert "--db requires --history" in dlbs("bisect", "--db", "x.db", "--good", "a", "--bad", "b", "--", "true").stderr


def test_a_cell_with_several_versions_of_the_code_is_reported(dlbs: RunDlbs, tmp_path: Path) -> None:
    records = [
        run(commit, exp__id=commit, exp__start_time=f"2026-01-0{at}") for at, commit in enumerate((GOOD, BAD), 1)
    ]
    (tmp_path / "mixed.json").write_text(json.dumps(records))
    assert "cells mix 2 versions of the code (aaaaaaa, bbbbbbb)" in dlbs("report", "mixed.json", check=True).stdout
    separate = dlbs("report", "mixed.json", "--rows", "exp.code.commit", check=True).stdout
    assert "cells mix" not in separate
