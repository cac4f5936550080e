"""An experiment carries the parameters of its framework, those of every framework, and what their values refer to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.config import Config
from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError, LaunchError
from dlbs.launch.script import make_launcher
from dlbs.packs.configure import configure
from dlbs.plan.build import Carried, build
from dlbs.plan.pipeline import processor_for
from tests.conftest import ROOT, RunDlbs

GENERAL = {"exp", "monitor", "runtime", "slurm", "sys", "turns"}


def families(config: Config) -> list[set[str]]:
    """Of each experiment, the first parts of its names but for those that all have."""
    return [{name.split(".")[0] for name in experiment} - GENERAL for experiment in build(config)]


def family(*parameters: str, **flags: Any) -> set[str]:
    (found,) = families(load_config(parameters=parameters, **flags))
    return found


@pytest.mark.parametrize(
    ("framework", "kept"),
    [
        ("pytorch", {"pytorch"}),
        ("train", {"train", "pytorch"}),
        ("dummy", {"dummy"}),
        ("pack", {"pack", "voir"}),
        ("command", {"command"}),
        ("unknown", set()),
    ],
)
def test_an_experiment_has_the_parameters_of_its_framework(framework: str, kept: set[str]) -> None:
    assert family(f"exp.framework={framework}") == kept


def test_an_experiment_has_the_parameters_of_its_phase() -> None:
    assert family("exp.phase=serving") == {"pytorch", "serving"}
    assert family("exp.phase=serving", "exp.framework=dummy") == {"dummy"}
    assert families(load_config(variables=["exp.phase=[serving,training]"])) == [{"pytorch", "serving"}, {"pytorch"}]
    extension = '{"condition": {"exp.model": "vgg16"}, "parameters": {"exp.phase": "serving"}}'
    config = load_config(variables=["exp.model=[alexnet,vgg16]"], extensions=[extension])
    assert families(config) == [{"pytorch"}, {"pytorch", "serving"}]


def test_a_phase_of_which_nothing_depends_changes_nothing() -> None:
    carried = Carried(load_config(variables=["exp.phase=[training,inference]"]))
    assert carried.is_constant
    assert not Carried(load_config(variables=["exp.phase=[training,serving]"])).is_constant


def test_phases_are_a_list_of_names(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("parameters:\n  mine.rate: {val: 1, type: int, desc: x, phases: serving}\n")
    with pytest.raises(ConfigError, match=r"phases of mine\.rate must be a list"):
        load_config([own])
    own.write_text("phases: [serving]\nparameters:\n  mine.rate: {val: 1, type: int, desc: x}\n")
    training, serving = build(load_config([own], variables=["exp.phase=[training,serving]"]))
    assert "mine.rate" not in training
    assert serving["mine.rate"] == 1


def test_what_belongs_to_no_framework_is_always_there() -> None:
    (dummy,) = build(load_config(parameters=["exp.framework=dummy"]))
    assert {"exp.gpus", "slurm.partition", "monitor.interval"} <= dummy.keys()
    assert "exp.pack" not in dummy


def test_experiments_of_two_frameworks_each_have_their_own() -> None:
    assert families(load_config(variables=["exp.framework=[pytorch,dummy]"])) == [{"pytorch"}, {"dummy"}]
    extension = '{"condition": {"exp.model": "vgg16"}, "parameters": {"exp.framework": "train"}}'
    config = load_config(variables=["exp.model=[alexnet,vgg16]"], extensions=[extension])
    assert families(config) == [{"pytorch"}, {"pytorch", "train"}]


def test_a_plan_of_two_frameworks_has_the_experiments_of_each_alone() -> None:
    mixed = list(build(load_config(variables=["exp.framework=[pytorch,dummy]"])))
    for experiment, framework in zip(mixed, ("pytorch", "dummy"), strict=True):
        (alone,) = build(load_config(parameters=[f"exp.framework={framework}"]))
        assert experiment == alone


def test_what_the_user_sets_stays() -> None:
    (experiment,) = build(load_config(parameters=["exp.framework=dummy", "train.lr=0.5"]))
    assert experiment["train.lr"] == 0.5
    assert "train.epochs" not in experiment
    assert family("exp.framework=dummy", variables=["train.epochs=[90]"]) == {"dummy", "train"}


def test_what_an_extension_sets_stays_where_it_matches() -> None:
    extension = '{"condition": {"exp.framework": "dummy"}, "parameters": {"pytorch.amp": false}}'
    pytorch, dummy, train = build(
        load_config(variables=["exp.framework=[pytorch,dummy,train]"], extensions=[extension])
    )
    assert "pytorch.data_dir" in pytorch
    assert [name for name in dummy if name.startswith("pytorch.")] == ["pytorch.amp"]
    assert not any(name.startswith("dummy.") for name in train)


def test_what_a_value_refers_to_stays_step_by_step() -> None:
    def foreign(value: str) -> set[str]:
        (experiment,) = build(load_config(parameters=["exp.framework=dummy", f"exp.project={value}"]))
        return {name for name in experiment if name.split(".")[0] in {"pytorch", "train", "pack", "voir"}}

    assert foreign("$(${train.epochs} + 1)$") == {"train.epochs"}
    assert foreign("${pytorch.bench_path}") == {"pytorch.bench_path"}
    assert foreign("${pack.docker_args}") == {"pack.docker_args", "pack.dir", "pack.runner", "pack.variables"}
    assert foreign(r"\${train.epochs} pytorch.data_dir") == set()  # neither of these is a reference


def test_a_computed_reference_keeps_what_it_may_reach() -> None:
    (experiment,) = build(load_config(parameters=["exp.framework=dummy", "exp.project=${${exp.model}.launcher}"]))
    assert {"pytorch.launcher", "train.launcher", "pack.launcher", "command.launcher"} <= experiment.keys()
    assert "train.epochs" not in experiment


def test_only_experiments_whose_values_refer_to_something_have_it() -> None:
    config = load_config(parameters=["exp.framework=dummy"], variables=["exp.project=[a,${voir.stop}]"])
    assert families(config) == [{"dummy"}, {"dummy", "voir"}]


def test_a_framework_that_is_no_constant_keeps_everything() -> None:
    assert family("exp.framework=${exp.project}") == {
        *("command", "dummy", "jax", "onnxruntime", "pack", "pytorch", "train", "voir")
    }


def test_a_condition_on_a_parameter_of_another_framework_does_not_hold() -> None:
    extension = '{"condition": {"train.optimizer": "sgd"}, "parameters": {"exp.project": "hit"}}'
    for frameworks in (["train", "pytorch"], ["pytorch"]):
        config = load_config(variables=[f"exp.framework=[{','.join(frameworks)}]"], extensions=[extension])
        hits = [one["exp.framework"] for one in build(config) if one["exp.project"] == "hit"]
        assert hits == [name for name in frameworks if name == "train"]


def own(tmp_path: Path, configuration: str, launcher: str = "", flags: tuple[str, ...] = ()) -> Config:
    (tmp_path / "own.yaml").write_text(configuration)
    (tmp_path / "own.sh").write_text(launcher)
    parameters = ["exp.framework=own", f"own.launcher={tmp_path / 'own.sh'}", *flags]
    return load_config([tmp_path / "own.yaml"], parameters=parameters)


@pytest.mark.parametrize(
    ("frameworks", "kept"),
    [
        ("{}", {"own"}),
        ("{own: [pytorch]}", {"own", "pytorch"}),
        ("{own: [train]}", {"own", "pytorch", "train"}),
        ("{own: [other], other: [own, dummy]}", {"own", "dummy"}),
    ],
)
def test_a_framework_of_ones_own_says_what_it_builds_on(tmp_path: Path, frameworks: str, kept: set[str]) -> None:
    assert families(own(tmp_path, f"frameworks: {frameworks}\n")) == [kept]


def test_a_framework_of_ones_own_keeps_its_declarations_to_itself(tmp_path: Path) -> None:
    config = own(tmp_path, "frameworks: [own]\nparameters:\n  own.size: {val: 3, type: int, desc: How big.}\n")
    assert families(config) == [{"own"}]
    (tmp_path / "own.sh").unlink()
    dummy = load_config([tmp_path / "own.yaml"], parameters=["exp.framework=dummy"])
    assert families(dummy) == [{"dummy"}]


def test_what_a_file_without_frameworks_declares_is_for_all(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "parameters:\n  note.who: {val: me, type: str, desc: Who asked.}\n  train.mine: {val: 1, desc: Mine.}\n"
    )
    (experiment,) = build(load_config([path], parameters=["exp.framework=dummy"]))
    assert (experiment["note.who"], experiment["train.mine"]) == ("me", 1)


def test_a_printed_configuration_makes_the_same_experiments(dlbs: RunDlbs, tmp_path: Path) -> None:
    own(tmp_path, "frameworks: {own: [dummy]}\nparameters:\n  own.size: {val: 3, type: int, desc: How big.}\n")
    flags = ("--plan", "own.yaml", "-Pexp.docker=false", "-Vexp.framework=[own,pytorch]", "-Pown.launcher=own.sh")
    (tmp_path / "merged.json").write_text(dlbs("print-config", "--json", *flags, check=True).stdout)
    direct = dlbs("build", "--resolve", *flags, check=True).stdout
    assert dlbs("build", "--resolve", "--plan", "merged.json", check=True).stdout == direct


@pytest.mark.parametrize(
    ("frameworks", "said"),
    [
        ("pytorch", "must contain names of frameworks"),
        ("[1]", "must contain names of frameworks"),
        ("{own: pytorch}", "must contain names of frameworks"),
        ("{own: [pytroch]}", "did you mean 'pytorch'"),
    ],
)
def test_malformed_frameworks(tmp_path: Path, frameworks: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"own\.yaml:1: .*{said}"):
        own(tmp_path, f"frameworks: {frameworks}\n")


def test_a_comment_in_a_template_does_not_change_what_an_experiment_is(tmp_path: Path) -> None:
    body = '{% extends "base.sh" %}{% block benchmark %}true{% endblock %}'
    ids = []
    for launcher in (body, body + "\n{# as pytorch.data_dir and train.lr do #}\n# pack.dir\n"):
        config = own(tmp_path, "frameworks: {}\n", launcher)
        (experiment,) = processor_for(config).resolve_all(build(config))
        ids.append(experiment["exp.id"])
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("flags", "used"), [((), "pytorch.*"), (("pytorch.amp=false",), "pytorch.data_dir")], ids=["none", "one is set"]
)
def test_a_launcher_that_uses_a_parameter_of_another_framework_says_what_to_write(
    tmp_path: Path, flags: tuple[str, ...], used: str
) -> None:
    launcher = '{% extends "base.sh" %}{% block benchmark %}echo {{ pytorch.data_dir }}{% endblock %}'

    def render(frameworks: str) -> str:
        config = own(tmp_path, f"frameworks: {frameworks}\n", launcher, ("exp.docker=false", "exp.gpus=", *flags))
        (experiment,) = processor_for(config).resolve_all(build(config))
        return make_launcher(experiment, tmp_path).source

    with pytest.raises(LaunchError) as raised:
        render("{}")
    assert f"uses '{used}', of the framework pytorch, in an experiment of the framework own" in str(raised.value)
    assert "frameworks: {own: [pytorch]}" in raised.value.hint
    assert "\necho ''" in render("{own: [pytorch]}")


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
    assert "train.lr is not a parameter of experiments of the framework pytorch (dlbs help train.lr)" in left_out.stderr


def test_an_architecture_is_launched_as_a_model_is(
    dlbs: RunDlbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dlbs("pack", "new", "mynet", "--template", "architecture", check=True)
    monkeypatch.chdir(tmp_path)
    config = configure(parameters={"exp.framework": "pack", "exp.pack": "mynet"})
    assert {name.split(".")[0] for name in next(build(config))} >= {"pack", "pytorch"}


OF_MODELS = {
    "exp.model", "exp.model_title", "exp.model_opts", "exp.phase", "exp.dtype", "exp.replica_batch", "exp.effective_batch",
    "exp.num_batches", "exp.num_warmup_batches", "exp.seed", "exp.data",
}  # fmt: skip


def own_experiment(tmp_path: Path, *flags: str, configuration: str = "frameworks: {}\n") -> dict[str, Any]:
    config = own(tmp_path, configuration, flags=flags)
    (experiment,) = processor_for(config).resolve_all(build(config))
    return experiment


def test_a_program_of_ones_own_has_no_model_unless_somebody_says_so(tmp_path: Path) -> None:
    experiment = own_experiment(tmp_path)
    assert OF_MODELS.isdisjoint(experiment)
    assert {"exp.gpus", "exp.timeout", "runtime.malloc"} <= experiment.keys()
    given = own_experiment(tmp_path, "exp.model=mine", "exp.phase=inference")
    assert OF_MODELS & given.keys() == {"exp.model", "exp.model_title", "exp.phase"}
    assert given["exp.model_title"] == "mine"


def test_what_follows_from_a_parameter_is_there_with_it(tmp_path: Path) -> None:
    experiment = own_experiment(tmp_path, "exp.replica_batch=4", "exp.gpus=0,1")
    assert experiment["exp.effective_batch"] == 8
    (varied,) = build(own(tmp_path, "variables: {exp.replica_batch: [4]}\n"))
    assert "exp.effective_batch" in varied
    extension = "extensions: [{condition: {my.big: true}, parameters: {exp.replica_batch: 64}}]\n"
    both = build(own(tmp_path, f"parameters: {{my.big: true}}\nvariables: {{my.big: [true, false]}}\n{extension}"))
    assert ["exp.effective_batch" in one for one in both] == [True, False]


def test_what_a_value_refers_to_is_meant(tmp_path: Path) -> None:
    experiment = own_experiment(tmp_path, "own.args=--batch ${exp.replica_batch}", configuration=
        "frameworks: [own]\nparameters: {own.args: {val: '', desc: Arguments.}}\n")  # fmt: skip
    assert experiment["own.args"] == "--batch 16"
    assert OF_MODELS & experiment.keys() == {"exp.replica_batch", "exp.effective_batch"}


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ((), "own_"),
        (("exp.model=a b",), "own_a-b_"),
        (("exp.model=m", "exp.replica_batch=4"), "own_m_b4_"),
        (("exp.model=m", "exp.replica_batch=4", "exp.phase=inference"), "own_m_inference_b4_"),
        (("exp.replica_batch=4",), "own_"),
        (("exp.log_file=here.log",), None),
    ],
)
def test_log_files_are_named_by_what_experiments_have(tmp_path: Path, flags: tuple[str, ...], name: str | None) -> None:
    experiment = own_experiment(tmp_path, *flags)
    assert experiment["exp.log_file"] == (f"logs/{name}{experiment['exp.id']}.log" if name else "here.log")


def test_a_launcher_that_uses_a_model_that_nobody_set_says_what_to_do(tmp_path: Path) -> None:
    launcher = '{% extends "base.sh" %}{% block benchmark %}echo {{ exp.model }}{% endblock %}'
    config = own(tmp_path, "frameworks: {}\n", launcher, ("exp.docker=false", "exp.gpus="))
    (experiment,) = processor_for(config).resolve_all(build(config))
    with pytest.raises(
        LaunchError,
        match=r"uses 'exp\.model', of frameworks with models, in.*\(set exp\.model, or add 'frameworks: \{own: \[models\]\}'",
    ):
        make_launcher(experiment, tmp_path)


def test_a_declaration_may_follow_and_adapt(tmp_path: Path) -> None:
    configuration = """
frameworks: [other]
parameters:
  other.a: {val: 1, desc: A.}
  other.b: {val: "${other.a}", desc: B., follows: other.a}
  other.c: {val: "c ${other.a}", val_else: [c], desc: C., frameworks: []}
"""
    assert own_experiment(tmp_path, configuration=configuration)["other.c"] == "c"
    experiment = own_experiment(tmp_path, "other.a=2", configuration=configuration)
    assert (experiment["other.b"], experiment["other.c"]) == (2, "c 2")
    for wrong, said in (("val_else: c", "val_else of other.c must be a list"), ("follows: [1]", "follows of other.c")):
        with pytest.raises(ConfigError, match=said):
            own(tmp_path, f"parameters: {{other.c: {{val: 1, desc: C., {wrong}}}}}\n")


@pytest.mark.parametrize(
    ("template", "carried"),
    [
        ("benchmark", {"exp.model", "exp.model_title"}),
        ("architecture", OF_MODELS),
        (
            "container",
            {
                "exp.model",
                "exp.model_title",
                "exp.phase",
                "exp.replica_batch",
                "exp.effective_batch",
                "exp.num_batches",
                "exp.num_warmup_batches",
            },
        ),
    ],
)
def test_a_pack_has_what_its_kind_has(
    dlbs: RunDlbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, carried: set[str]
) -> None:
    dlbs("pack", "new", "mine", "--template", template, check=True)
    monkeypatch.chdir(tmp_path)
    config = configure(parameters={"exp.framework": "pack", "exp.pack": "mine"})
    (experiment,) = build(config)
    assert OF_MODELS & experiment.keys() - {"exp.replica_batch", "exp.effective_batch"} == carried - {
        "exp.replica_batch",
        "exp.effective_batch",
    }
    assert ("pytorch.data_dir" in experiment) == (template == "architecture")
