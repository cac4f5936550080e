"""Which experiments have no results, or lack some."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlbs.results.tables.lists import gaps, missing_logs
from dlbs.run.manifest import write_plan_file
from tests.conftest import RunDlbs
from tests.made_logs import make_record, write_log


def found(*arguments: object, **options: object) -> list[tuple[str, str]]:
    return [(gap.what, gap.experiment) for gap in gaps(*arguments, names=["exp.model"], **options)]  # type: ignore[arg-type]


def test_experiments_with_a_time_or_a_throughput_are_complete() -> None:
    throughput_alone = {key: value for key, value in make_record("b").items() if key != "results.time"}
    assert found([make_record("a"), throughput_alone]) == []


def test_experiments_that_failed_or_logged_nothing_are_gaps() -> None:
    empty = {key: value for key, value in make_record("b").items() if not key.startswith("results.")}
    assert found([make_record("a", status="failure"), empty]) == [
        ("failure: exit code 1", "a"),
        ("lacks results.time and results.throughput", "b"),
    ]


def test_required_keys_are_asked_for_instead_of_the_usual_ones() -> None:
    records = [make_record("a", results__energy=1.0), make_record("b")]
    assert found(records, ["results.energy", "exp.dtype"]) == [("lacks results.energy", "b")]


def test_experiments_of_the_plan_without_result_and_doubled_ones_are_gaps() -> None:
    a, b = make_record("a"), make_record("b")
    planned = {a["exp.id"]: "a of the plan", "other": "c of the plan"}
    assert found([a, b, b], planned=planned) == [
        (f"several results have exp.id {b['exp.id']}", "b"),
        ("no result", "c of the plan"),
    ]


def test_logs_of_the_plan_that_ran_and_are_not_there(tmp_path: Path) -> None:
    write_log(tmp_path / "a.log", make_record("a"))
    write_plan_file(tmp_path, ["exp.model"], ["a.log", "b.log"])
    (gap,) = missing_logs([str(tmp_path), str(tmp_path / "a.log")])
    assert (gap.what, gap.experiment) == ("no log: to do", str(tmp_path / "b.log"))


@pytest.mark.integration
def test_the_command(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (
        "-Pexp.framework=dummy",
        "-Vexp.model=[alexnet,resnet18]",
        "-Pexp.docker=false",
        "-Pexp.repeats=2",
        "-Pexp.log_dir=logs",
    )
    dlbs("build", *flags, "-o", "plan.json", check=True)
    dlbs("run", *flags, check=True)
    done = dlbs("validate", "--plan", "plan.json", "--results", "logs", check=True)
    assert done.stdout == "4 experiments, all with results\n"
    removed = min((tmp_path / "logs").glob("*resnet18*.log"))
    removed.unlink()
    done = dlbs("validate", "--results", "logs")
    assert done.returncode == 1
    assert done.stdout == f"3 experiments; 1 problem:\n  no log: to do (1)\n    logs/{removed.name}\n"
    done = dlbs("validate", "--plan", "plan.json", "--results", "logs", "--require", "results.time")
    assert done.returncode == 1
    assert "no result (1)\n    resnet18" in done.stdout
    done = dlbs("validate", "--results", "logs", "--require", "results.tmie")
    assert done.returncode == 2
    assert "did you mean 'results.time'" in done.stderr
    done = dlbs("validate", "--require", "results.time")
    assert done.returncode == 2
    assert "--require requires --results PATH" in done.stderr
