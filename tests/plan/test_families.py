"""Parameters of frameworks that a plan does not use are left out of its experiments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlbs.config.load import load_config
from dlbs.packs.extend import add_packs
from dlbs.plan.build import build
from tests.conftest import ROOT, RunDlbs


def families(*parameters: str, variables: tuple[str, ...] = (), extensions: tuple[str, ...] = ()) -> set[str]:
    """The families of a plan's first experiment, but for those that all have."""
    config = load_config(parameters=parameters, variables=variables, extensions=extensions)
    experiment = next(build(config))
    return {name.split(".")[0] for name in experiment} - {"exp", "monitor", "runtime", "slurm", "sys"}


ALL = {"dummy", "pack", "pytorch", "train", "voir"}


@pytest.mark.parametrize(
    ("framework", "kept"),
    [
        ("pytorch", {"pytorch"}),
        ("train", {"train", "pytorch"}),
        ("dummy", {"dummy"}),
        ("pack", {"pack", "voir", "pytorch"}),
    ],
)
def test_an_experiment_has_the_parameters_that_its_launcher_needs(framework: str, kept: set[str]) -> None:
    assert families(f"exp.framework={framework}") == kept


def test_general_parameters_are_always_there() -> None:
    (dummy,) = build(load_config(parameters=["exp.framework=dummy"]))
    assert {"exp.pack", "exp.model", "slurm.partition", "monitor.interval"} <= dummy.keys()


def test_what_varies_or_is_set_by_extensions_counts() -> None:
    assert families(variables=("exp.framework=[pytorch,dummy]",)) == {"pytorch", "dummy"}
    extension = '{"condition": {"exp.model": "alexnet"}, "parameters": {"exp.framework": "train"}}'
    assert families(extensions=(extension,)) == {"pytorch", "train"}


def test_what_the_user_sets_or_refers_to_stays() -> None:
    config = load_config(parameters=["exp.framework=dummy", "train.lr=0.5"])
    (experiment,) = build(config)
    assert experiment["train.lr"] == 0.5
    assert "train.epochs" not in experiment
    assert families("exp.framework=dummy", "exp.project=$(${train.epochs} + 1)$") == {"dummy", "pytorch", "train"}
    assert families("exp.framework=dummy", variables=("exp.project=[a,${voir.stop}]",)) >= {"dummy", "voir"}


@pytest.mark.parametrize("launcher", ["${own.other}", "/dev/zero", "/nowhere/own.sh", "/tmp"])
def test_a_launcher_that_cannot_be_read_keeps_everything(launcher: str) -> None:
    flags = ("exp.framework=own", f"own.launcher={launcher}", "own.other=${own.launcher}")
    assert families(*flags) == ALL | {"own"}


@pytest.mark.parametrize(
    "flag", ["exp.framework=${exp.project}", "exp.project=${${exp.framework}.x}", "exp.framework=unknown"]
)
def test_if_it_cannot_be_told_everything_stays(flag: str) -> None:
    assert families(flag) == ALL


def test_a_launcher_of_ones_own_is_looked_at(tmp_path: Path) -> None:
    own = tmp_path / "own.sh"
    own.write_text('{% extends "base.sh" %}{% block benchmark %}{{ pytorch.data_dir }}{% endblock %}')
    assert families("exp.framework=own", f"own.launcher={own}") == {"own", "pytorch"}
    own.write_text('{% extends "train.sh" %}')
    assert families("exp.framework=own", f"own.launcher={own}") == {"own", "pytorch", "train"}
    own.chmod(0o755)  # a program gets all parameters
    assert families("exp.framework=own", f"own.launcher={own}") == ALL | {"own"}


def test_what_a_file_of_the_users_declares_stays(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "parameters:\n  note.who: {val: me, type: str, desc: Who asked.}\n  train.mine: {val: 1, desc: Mine.}\n"
    )
    (experiment,) = build(load_config([own], parameters=["exp.framework=dummy"]))
    assert (experiment["note.who"], experiment["train.mine"]) == ("me", 1)


def test_a_new_parameter_of_another_framework_does_not_change_what_an_experiment_is(
    dlbs: RunDlbs, tmp_path: Path
) -> None:
    ids = []
    for name in ("before", "after"):
        root = tmp_path / name
        for part in ("config", "scripts"):
            shutil.copytree(ROOT / part, root / part)
        if name == "after":
            with (root / "config" / "train.yaml").open("a") as file:
                file.write("  train.new:\n    val: 1\n    type: int\n    desc: A new one.\n")
        flags = ("-Pexp.gpus=", "-Pexp.docker=false")
        ids.append(dlbs("explain", "exp.id", *flags, check=True, DLBS_ROOT=str(root)).stdout.splitlines()[0])
    assert ids[0] == ids[1]
    left_out = dlbs("explain", "train.lr")
    assert left_out.returncode == 2
    assert "train.lr is no parameter of experiments of the framework pytorch (dlbs help train.lr)" in left_out.stderr


def test_an_architecture_is_launched_as_a_model_is(
    dlbs: RunDlbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dlbs("pack", "new", "mynet", "--template", "architecture", check=True)
    monkeypatch.chdir(tmp_path)
    config = load_config(parameters=["exp.framework=pack", "exp.pack=mynet"])
    add_packs(config)
    assert {name.split(".")[0] for name in next(build(config))} >= {"pack", "pytorch"}
