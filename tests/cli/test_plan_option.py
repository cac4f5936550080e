"""`--plan FILE` reads a grid or experiments, and `build -o FILE` replaces nothing but experiments."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from dlbs.config.load import load_config
from dlbs.plan.build import build
from tests.conftest import PATIENCE, RunDlbs

DUMMY = {"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""}
GRID = {"parameters": DUMMY, "variables": {"exp.seed": [1, 2]}}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a plan in each form, and other files."""
    experiments = list(build(load_config(parameters=DUMMY, variables=GRID["variables"])))
    lines = "".join(f"{json.dumps(one)}\n" for one in experiments)
    contents = {
        "grid.yaml": json.dumps(GRID),
        "grid.json": json.dumps(GRID),
        "experiments.json": json.dumps(experiments),
        "experiments.jsonl": lines,
        "declared.yaml": "parameters: {my.x: {val: 1, desc: x}}",
        "list.yaml": "- exp.model: a\n",
        "results.json": json.dumps({"data": [{"exp.id": "1", "results.time": 1.0}]}),
        "results.jsonl": json.dumps({"exp.id": "1", "results.time": 1.0}),
        "list.json": '[{"a": 1}]',
        "notes.json": "to do",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "experiments.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return tmp_path


@pytest.mark.parametrize("option", ["--plan", "--config"])
@pytest.mark.parametrize(
    "name", ["grid.yaml", "grid.json", "experiments.json", "experiments.jsonl", "experiments.jsonl.gz"]
)
@pytest.mark.parametrize("verb", ["validate", "build", "explain"])
def test_all_verbs_read_both_forms(dlbs: RunDlbs, files: Path, verb: str, name: str, option: str) -> None:
    done = dlbs(verb, option, name, *(["exp.seed"] if verb == "explain" else []), check=True)
    if verb == "build":
        assert [one["exp.seed"] for one in json.loads(done.stdout)] == [1, 2]
    else:
        said = {"validate": "2 experiments, no problems found", "explain": f"exp.seed = 1  (set at {name}:"}
        assert said[verb] in done.stdout


def test_run_reads_both_forms(dlbs: RunDlbs, files: Path) -> None:
    assert dlbs("run", "-q", "--plan", "grid.yaml").returncode == 0
    assert dlbs("run", "-q", "--plan", "experiments.json", "-Pexp.log_dir=other").returncode == 0
    assert len(list((files / "logs").glob("*.log"))) == len(list((files / "other").glob("*.log"))) == 2


def test_a_grid_beside_experiments_may_declare_parameters(dlbs: RunDlbs, files: Path) -> None:
    dlbs("validate", "--plan", "declared.yaml", "--plan", "experiments.json", "-Pmy.x=2", check=True)
    assert "variables cannot be combined" in dlbs("run", "--plan", "grid.yaml", "--plan", "experiments.json").stderr


def test_a_grid_is_the_plan_that_results_are_checked_against(dlbs: RunDlbs, files: Path) -> None:
    dlbs("run", "-q", "--plan", "grid.yaml", check=True)
    assert "2 experiments, all with results" in dlbs("validate", "--plan", "grid.yaml", "--results", "logs").stdout
    (files / "more.yaml").write_text(json.dumps({**GRID, "variables": {"exp.seed": [1, 2, 3]}}))
    assert "1 problem" in dlbs("validate", "--plan", "more.yaml", "--results", "logs").stdout


def test_experiments_can_be_resolved_later(dlbs: RunDlbs, files: Path) -> None:
    direct = dlbs("build", "--resolve", "--plan", "grid.yaml", check=True).stdout
    dlbs("build", "--plan", "grid.yaml", "-o", "plan.jsonl", check=True)
    assert dlbs("build", "--resolve", "--plan", "plan.jsonl", check=True).stdout == direct


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--plan", ""], "--plan: the name of the file is empty"),
        (["build", "-o", ""], "-o: the name of the file is empty"),
        (["run", "--plan", "list.yaml"], "experiments are a JSON list, in a .json or .jsonl file"),
        (["run", "--plan", "no.yaml"], "no.yaml: no such file"),
        (["run", "--plan", "no.json"], "no.json: no such plan (dlbs build -o no.json writes one)"),
        (["run", "--plan", "notes.json"], "notes.json:1: not JSON"),
        (
            ["run", "--plan", "experiments.json", "--plan", "experiments.jsonl"],
            "give one list of experiments at a time",
        ),
        (["run", "--plan", "experiments.json", "-Vexp.seed=[1,2]"], "cannot be combined with a list of experiments"),
        (["run", "--plan", "experiments.json", "--", "true"], "experiments and a command cannot be combined"),
        (["print-config", "--plan", "experiments.json"], "experiments.json: holds experiments"),
        (["build", "new.json"], "the plan is written to a file with -o new.json"),
        (["build", "grid.yaml"], "a plan is given with --plan grid.yaml"),
    ],
)
def test_mistakes_are_explained(dlbs: RunDlbs, files: Path, words: list[str], said: str) -> None:
    done = dlbs(*words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not (files / "logs").exists()


def test_a_pipe_is_validated_but_not_run(dlbs: RunDlbs, files: Path) -> None:
    os.mkfifo(files / "pipe")
    writer = threading.Thread(
        target=(files / "pipe").write_text, args=[(files / "experiments.json").read_text()], daemon=True
    )
    writer.start()
    assert "2 experiments" in dlbs("validate", "--plan", "pipe", check=True).stdout
    writer.join(PATIENCE)
    assert "pipe: is a pipe, which can be read only once" in dlbs("run", "--plan", "pipe").stderr


@pytest.mark.parametrize(
    "name", ["grid.yaml", "grid.json", "results.json", "results.jsonl", "list.json", "list.yaml", "notes.json"]
)
def test_build_replaces_no_other_file(dlbs: RunDlbs, files: Path, name: str) -> None:
    before = (files / name).read_bytes()
    done = dlbs("build", "-Pexp.framework=dummy", "-o", name)
    assert (done.returncode, (files / name).read_bytes()) == (2, before)
    assert f"{name}: exists, and holds no experiments of a plan" in done.stderr


@pytest.mark.parametrize(
    "name", ["experiments.json", "experiments.jsonl", "experiments.jsonl.gz", "new.json", "empty.json"]
)
def test_build_replaces_experiments(dlbs: RunDlbs, files: Path, name: str) -> None:
    (files / "empty.json").touch()
    for _ in range(2):
        dlbs("build", "-Pexp.framework=dummy", "-Vexp.seed=[1,2,3]", "-o", name, check=True)
    assert "3 experiments" in dlbs("validate", "--plan", name, "-Pexp.docker=false", "-Pexp.gpus=", check=True).stdout


def test_a_dash_is_standard_output(dlbs: RunDlbs, files: Path) -> None:
    printed = dlbs("build", "--plan", "grid.yaml", check=True).stdout
    assert dlbs("build", "--plan", "grid.yaml", "-o", "-", check=True).stdout == printed
    (files / "printed.json").write_text(printed)
    dlbs("build", "--plan", "grid.yaml", "-o", "printed.json", check=True)


def test_the_former_name_of_the_option_is_not_shown(dlbs: RunDlbs) -> None:
    shown = dlbs("run", "--help", check=True).stdout
    assert "--plan FILE" in shown
    assert "--config" not in shown
