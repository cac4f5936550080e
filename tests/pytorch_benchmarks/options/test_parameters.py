"""Parameters in config/ and options of the programs say the same: names, defaults, allowed values, texts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.options import Option, default_text, options_of
from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError, DlbsError
from dlbs.core.text import text
from dlbs.launch.script import make_launcher
from dlbs.plan.build import build
from dlbs.plan.compile import Processor
from pytorch_benchmarks.options import BenchmarkOptions, CommonOptions, ServingOptions, parse_benchmark_options
from pytorch_benchmarks.training.options import TrainingOptions, parse_training_options
from tests.conftest import ROOT

CONFIG = load_config()
ENVIRON = {"DLBS_ROOT": str(ROOT), "DLBS_PYTHON": "python3", "DLBS_VERSION": "0", "HOME": "/home/user"}
RECIPES = sorted(path.name for path in (ROOT / "config" / "recipes").glob("*.yaml"))

# Options that are no parameters: of a single run by hand, and those that the launcher of packs sets.
BY_HAND = {"json", "debug", "val_dir", "test_only", "local_rank"}
OF_PACKS = {"pack", "pack_loader", "pack_args", "own_batch", "jit"}
OF_NODES = {"num_nodes", "node_rank", "rendezvous", "rendezvous_timeout"}  # set by the launcher if there are several
# What a run by DLBS decides itself: checkpoints and logs of LoadGen lie beside the log, and a plan that is run again resumes its trainings.
OWN_DEFAULTS = {"train.output_dir", "train.resume", "serving.log_dir", "serving.requests", "serving.server_log"}


def shared() -> list[tuple[str, Any, Option]]:
    """Parameters that have the name of an option: the parameter, the field, the option."""
    found = []
    for kind, families in ((BenchmarkOptions, ["pytorch"]), (TrainingOptions, ["train"])):
        for one, known in options_of(kind):
            found += [
                (f"{family}.{one.name}", one, known)
                for family in families
                if f"{family}.{one.name}" in CONFIG.declarations
            ]
    # Of serving, the name of an option begins with the family.
    for one, known in options_of(ServingOptions):
        if (name := one.name.replace("serving_", "serving.", 1)) in CONFIG.declarations:
            found.append((name, one, known))
    return found


SHARED = shared()


def arguments_of(framework: str, *flags: str) -> dict[str, Any]:
    """The options that an experiment's program gets, by name."""
    parameters = [f"exp.framework={framework}", "exp.gpus=", "exp.docker=false", *flags]
    (experiment,) = Processor((config := load_config(parameters=parameters)).declarations, ENVIRON).resolve_all(
        build(config)
    )
    of_serving = {f"serving_{name}": value for name, value in experiment.get("serving.options", {}).items()}
    return {**experiment["pytorch.common_options"], **experiment[f"{framework}.options"], **of_serving}


@pytest.mark.parametrize(
    ("framework", "kind"), [("pytorch", BenchmarkOptions), ("train", TrainingOptions)], ids=["benchmarks", "train"]
)
def test_every_option_is_set_by_an_experiment_and_no_other(framework: str, kind: type[CommonOptions]) -> None:
    options = {one.name for one, _ in options_of(kind)} - BY_HAND - OF_PACKS - OF_NODES
    assert set(arguments_of(framework)) == {name for name in options if not name.startswith("serving_")}
    if framework == "pytorch":
        assert set(arguments_of(framework, "exp.phase=serving")) == options


def test_a_parameter_that_is_declared_as_an_option_has_the_name_of_one() -> None:
    known = {name for name, _, _ in SHARED}
    declared = {
        name
        for name, one in CONFIG.declarations.items()
        if one.option_in.startswith(("pytorch.", "serving.", "train."))
    }
    assert declared <= known
    assert len(declared) > 30


@pytest.mark.parametrize(("name", "one", "known"), SHARED, ids=[name for name, _, _ in SHARED])
def test_parameter_and_option_agree(name: str, one: Any, known: Option) -> None:
    parameter = CONFIG.declarations[name]
    assert parameter.desc == known.help
    assert list(parameter.domain or ()) == list(known.choices)
    if name not in OWN_DEFAULTS:
        assert text(parameter.default) == (default_text(one) or ("{}" if parameter.type == "dict" else ""))


SAMPLES: Sequence[Any] = (-1, 0, 1, 3, 0.0, 0.5, 1.0, 1.5, 1e-5, -0.5, "x", "none", "memory", "flops,memory", "time")


@pytest.mark.parametrize(("name", "one", "known"), SHARED, ids=[name for name, _, _ in SHARED])
def test_what_the_program_would_refuse_is_found_before_it_runs(name: str, one: Any, known: Option) -> None:
    parameter = CONFIG.declarations[name]
    if parameter.type == "bool":
        return  # every value that the type can have is one of the option
    for sample in SAMPLES:
        try:
            value = text(parameter.check(sample))
        except DlbsError:
            continue
        if value in known.choices:
            continue
        assert not known.choices
        try:
            known.convert(value)
        except argparse.ArgumentTypeError as error:
            pytest.fail(f"{name} may be {value!r}, but {error}")


def test_a_program_alone_warms_up_as_dlbs_run_does() -> None:
    declared = CONFIG.declarations["exp.num_warmup_batches"].default
    assert parse_benchmark_options(["--model=m"]).num_warmup_batches == declared


def test_values_of_the_experiment_arrive() -> None:
    made = arguments_of(
        "pytorch",
        "exp.model=vgg16",
        "exp.replica_batch=7",
        "exp.phase=inference",
        "exp.num_warmup_batches=auto",
        "pytorch.amp=true",
        'exp.model_opts={"depth": 3}',
    )
    assert (made["model"], made["batch_size"], made["forward_only"]) == ("vgg16", 7, True)
    assert (made["num_warmup_batches"], made["amp"], made["model_opts"]) == ("auto", True, {"depth": 3})


def test_what_serves_gets_the_options_of_serving_and_nothing_else_does() -> None:
    words = words_of("pytorch", "exp.phase=serving", "serving.scenario=server", "serving.target_qps=20")
    assert {"--serving=true", "--serving_scenario=server", "--serving_target_qps=20.0"} <= set(words)
    options = parse_benchmark_options(words)
    assert (options.serving, options.serving_scenario, options.serving_target_qps) == (True, "server", 20.0)
    assert options.serving_log_dir.endswith(".log.loadgen")
    assert not [word for word in words_of("pytorch", "exp.phase=inference") if word.startswith("--serving_")]


def test_files_are_where_a_container_has_them() -> None:
    flags = ("exp.docker=true", "pytorch.data_dir=/data/x", "pytorch.weights=/w/a.pt", "pytorch.architecture=/n/net.py")
    made = arguments_of("pytorch", *flags)
    assert made["data_dir"] == "/workspace/data"
    assert made["weights"] == "/workspace/weights/a.pt"
    assert made["architecture"] == "/workspace/architecture/net.py"
    assert arguments_of("train", *flags)["output_dir"] == "/workspace/output"
    assert arguments_of("pytorch", "exp.docker=true")["data_dir"] == ""


def words_of(framework: str, *flags: str) -> list[str]:
    """The command line of a program, as its launcher has it."""
    import shlex

    parameters = [f"exp.framework={framework}", "exp.gpus=", "exp.docker=false", *flags]
    config = load_config(parameters=parameters)
    (experiment,) = Processor(config.declarations, ENVIRON).resolve_all(build(config))
    source = make_launcher(experiment).source
    (line,) = [line for line in source.splitlines() if line.startswith("python3 ")]
    return shlex.split(line)[2:]


def test_what_is_empty_is_left_to_the_default_of_the_program() -> None:
    words = words_of("pytorch")
    assert not [word for word in words if word.endswith("=")]
    assert not [word for word in words if word.startswith(("--data_dir", "--compile", "--model_opts", "--profile"))]
    options = parse_benchmark_options(words)
    assert (options.data_dir, options.compile, options.model_opts) == ("", "", {})


def test_more_arguments_come_last_and_are_part_of_what_an_experiment_is() -> None:
    assert words_of("pytorch", "pytorch.args=--debug --json='a b.json'")[-2:] == ["--debug", "--json=a b.json"]
    assert words_of("train", 'train.args=["--test_only"]')[-1] == "--test_only"
    assert CONFIG.declarations["pytorch.args"].identity
    assert not CONFIG.declarations["pytorch.options"].identity


def test_a_declaration_is_all_that_an_option_of_ones_own_needs(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "parameters:\n"
        "  mine.options: {val: {model: '${exp.model}'}, type: dict}\n"
        "  mine.rate: {val: 0.5, type: float, option_in: mine.options}\n"
        "  mine.model: {val: other, type: str, option_in: mine.options}\n"
    )
    config = load_config([own], parameters=["exp.framework=dummy"])
    (experiment,) = Processor(config.declarations, ENVIRON).resolve_all(build(config))
    assert experiment["mine.options"] == {"model": "alexnet", "rate": 0.5}  # what stands there is not overwritten


def test_options_go_into_a_dictionary_only(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("parameters:\n  mine.rate: {val: 0.5, type: float, option_in: pytorch.option}\n")
    with pytest.raises(ConfigError, match="not declared as a dictionary") as raised:
        load_config([own])
    assert "pytorch.options" in raised.value.hint


UNDECAYED_NORMS = {"resnet50.yaml", "convnext_tiny.yaml", "efficientnet_b0.yaml", "vit_b_16.yaml"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_a_configuration_whose_command_is_understood(recipe: str) -> None:
    def resolved(*flags: str) -> dict[str, Any]:
        config = load_config([f"recipes/{recipe}"], parameters=["exp.docker=false", *flags])
        (experiment,) = Processor(config.declarations, ENVIRON).resolve_all(build(config))
        return experiment

    experiment = resolved("pytorch.data_dir=/data", "exp.gpus=0,1")
    import shlex

    source = make_launcher(experiment).source
    (line,) = [line for line in source.splitlines() if line.startswith("python3 ")]
    options = parse_training_options(shlex.split(line)[2:])
    assert options.model == Path(recipe).stem == experiment["exp.model"]
    assert options.num_replicas == 2
    assert options.lr == experiment["train.lr"] > 0
    assert options.norm_weight_decay == (0.0 if recipe in UNDECAYED_NORMS else None)
    more = resolved("exp.gpus=0,1,2,3")
    assert more["train.lr"] == pytest.approx(2 * experiment["train.lr"])  # it grows with the batch
