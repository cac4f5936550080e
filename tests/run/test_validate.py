"""Problems of a plan, all at once, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark_core.gpus import gpu_count
from dlbs.config.load import load_config
from dlbs.config.names import known_models
from dlbs.core.experiment import Problem
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for
from dlbs.run.validate import Validator
from tests.conftest import RunDlbs


def problems(directory: Path, *parameters: str, variables: tuple[str, ...] = (), **flags: Any) -> list[str]:
    given = ["exp.docker=false", "exp.gpus=", *parameters]
    config = load_config(parameters=given, variables=variables, **flags)
    validator = Validator(directory=directory)
    validator.check_all(processor_for(config).resolve_all(build(config)))
    return [str(problem) for problem in validator.problems]


def test_a_good_plan_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, variables=("exp.model=[alexnet,resnet18]",)) == []


CASES = [
    (["exp.model=alexnte"], ["unknown model 'alexnte'", "did you mean 'alexnet'"]),
    (["exp.framework=pytroch"], ["no launcher", "did you mean 'pytorch'"]),
    (["exp.framework=tensorflow"], ["no launcher", "tensorflow is not included in DLBS: write a launcher"]),
    (
        ["exp.framework=jax", "exp.phase=serving"],
        ["jax does not support the phase serving", "set exp.framework=pytorch"],
    ),
    (["exp.framework=onnxruntime", "exp.phase=serving"], ["onnxruntime does not support the phase serving"]),
    (["pytorch.launcher=/nope.sh"], ["no launcher /nope.sh", "set pytorch.launcher to"]),
    (["pytorch.data_dir=/nope"], ["data directory /nope does not exist"]),
    (["exp.gpus=97"], ["GPU 97 does not exist"]),
    (["exp.gpus=97,98"], ["GPUs 97, 98 do not exist"]),
    (["exp.gpus=0:,1"], ["is not a list of GPUs"]),
    (["exp.num_nodes=2"], ["exp.num_nodes is 2"]),
    (["exp.gpus=0:1"], ["but a replica of pytorch_benchmarks uses one GPU"]),
    (
        ["exp.num_gpus=2"],
        ["exp.num_gpus is 2, but exp.gpus is empty, which is the CPU", "for 2, exp.gpus=any:2"],
    ),
    (["exp.gpus=any:2", "exp.num_gpus=4", "exp.num_nodes=1"], ["exp.num_gpus is 4, but exp.gpus is any:2", "any:4"]),
    (["exp.num_local_gpus=1"], ["exp.num_local_gpus is 1, but exp.gpus is empty"]),
    (["exp.device_type=gpu"], ["exp.device_type is gpu, but exp.gpus is empty"]),
    (["exp.device_type=gpu", "exp.num_gpus=8"], ["exp.num_gpus is 8, but exp.gpus is empty"]),
    (
        ["exp.device_type=gpu", "exp.num_local_gpus=2", "exp.num_gpus=3"],
        ["exp.num_gpus is 3, but exp.num_local_gpus is 2"],
    ),
    (["exp.gpus=0", "exp.device_type=cpu"], ["exp.device_type is cpu, but exp.gpus is 0"]),
    (["exp.num_replicas=2"], ["exp.num_replicas is 2, but exp.num_local_replicas is 1", "set exp.num_local_replicas"]),
    (
        ["exp.gpus=any:2", "exp.num_local_replicas=1"],
        ["exp.num_local_replicas is 1, but exp.gpus selects 2 GPUs", "set exp.gpus alone"],
    ),
    (["runtime.python=/nope/python"], ["Python interpreter '/nope/python' not found"]),
    (["exp.log_file="], ["exp.log_file is empty"]),
    (["pytorch.env=rm -rf x"], ["pytorch.env"]),
    (["exp.docker=true", "exp.docker_launcher=nodocker"], ["command 'nodocker' not found", "-Pexp.docker=false"]),
]


@pytest.mark.parametrize(("parameters", "said"), CASES, ids=lambda value: str(value[0]))
def test_problem(tmp_path: Path, parameters: list[str], said: list[str]) -> None:
    found = problems(tmp_path, *parameters)
    assert len(found) >= 1
    for part in said:
        assert part in "\n".join(found)
    assert "experiment 1 (" in found[0]


@pytest.mark.parametrize(
    "parameters",
    [
        ["exp.num_local_replicas=2"],
        ["exp.num_gpus=0"],
        ["exp.framework=dummy", "exp.num_local_replicas=3"],
        ["exp.device_type=gpu", "exp.num_local_gpus=1"],  # neither NVIDIA's nor AMD's
        ["exp.framework=dummy", "exp.device_type=gpu", "exp.num_local_gpus=8", "exp.num_local_replicas=8"],
    ],
)
def test_numbers_of_devices_that_agree_are_no_problem(tmp_path: Path, parameters: list[str]) -> None:
    assert problems(tmp_path, *parameters) == []


def test_a_plan_without_declarations_may_have_texts_for_numbers(tmp_path: Path) -> None:
    validator = Validator(directory=tmp_path)
    validator.check({"exp.framework": "dummy", "exp.log_file": "a.log", "exp.gpus": "", "exp.num_gpus": "two"})
    validator.check({"exp.framework": "dummy", "exp.log_file": "b.log", "exp.gpus": "any:x", "exp.num_gpus": 2})
    validator.check({"exp.framework": "dummy", "exp.log_file": "c.log", "exp.num_nodes": 0, "exp.num_gpus": 2})
    assert [one.problem.what for one in validator.problems if "exp.num_gpus" in str(one)] == [
        "exp.num_gpus is 2, but exp.gpus is empty, which is the CPU"
    ]


def test_collisions_name_both_experiments(tmp_path: Path) -> None:
    found = problems(tmp_path, "exp.log_file=a.log", variables=("exp.replica_batch=[1,2]",))
    assert found == [
        f"experiment 2 (alexnet, training, float32, cpu, batch 2): writes to the same log file as experiment 1: {tmp_path}/a.log "
        "(make exp.log_file unique, for example with ${exp.id})"
    ]


def test_a_value_that_is_given_twice_is_named_as_such(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "exp.framework=command", "command.argv=[true]", variables=("size=[1,1]",))
    assert found.endswith("is equal to experiment 1 (is a value given twice? -Pexp.repeats=2 repeats all)")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["echo", "{size}"], "size"),
        (["echo", "--size={size}"], "size"),
        (["echo", "${size}"], ""),
        (["echo", "{other}"], ""),  # no parameter
        (["python3", "-c", "print(f'{size}')"], ""),
    ],
)
def test_a_placeholder_in_a_file_is_not_replaced(tmp_path: Path, words: list[str], name: str) -> None:
    given = {"exp.framework": "command", "size": 1, "command.argv": words}
    validator = Validator(directory=tmp_path)
    config = load_config(parameters={"exp.docker": False, "exp.gpus": "", **given})
    validator.check_all(processor_for(config).resolve_all(build(config)))
    said = [Problem(f"command.argv: {{{name}}} is literal text", f"in files, write ${{{name}}}")] if name else []
    assert [one.problem for one in validator.problems] == said


def test_all_problems_at_once_and_each_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path, "pytorch.data_dir=/nope", variables=("exp.model=[x,alexnet,x]", "exp.phase=[training,inference]")
    )
    assert sum("data directory" in line for line in found) == 1
    assert any("(6 experiments)" in line for line in found)
    assert any("unknown model 'x'" in line and "(4 experiments)" in line for line in found)


@pytest.mark.parametrize(
    ("framework", "variable", "said"),
    [
        ("dummy", "dummy.launcher=[./own.sh,./missing.sh]", "no launcher missing.sh"),
        ("dummy", "dummy.env=[A=1,rm]", "dummy.env contains 'rm'"),
        ("jax", 'jax.docker_image=["","x"]', "no docker image is set"),
        ("jax", 'jax.docker_image=["x",""]', "no docker image is set"),
        ("command", "runtime.env.PATH=[/bin,/nowhere]", "program 'true' not found"),
    ],
)
def test_a_value_of_a_later_experiment_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, variable: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.sh").write_text('{% extends "base.sh" %}{% block benchmark %}true{% endblock %}')
    given = [f"exp.framework={framework}", "exp.log_file=$(uuid4())$"]
    if framework == "jax":
        given += ["exp.docker=true", "exp.docker_launcher=/bin/true", "exp.phase=inference"]
    if framework == "command":
        given += ["command.argv=[true]"]
    found = problems(tmp_path, *given, variables=(variable,))
    assert len(found) == 1
    assert said in found[0]
    assert "experiments)" not in found[0]


def test_the_same_problem_of_different_values_is_reported_once(tmp_path: Path) -> None:
    own = ("exp.framework=command", 'command.argv=["nope","${size}"]')
    (found,) = problems(tmp_path, *own, variables=("size=[1,2,3]",))
    assert "program 'nope' not found" in found
    assert found.endswith("(3 experiments)")


def test_the_way_around_stands_beside_the_number_of_problems(dlbs: RunDlbs) -> None:
    first, second = dlbs("run", "--", "no-such-program").stderr.splitlines()
    assert first == "error: 1 problem in the plan; nothing was run (use --no-validation to run it anyway)"
    assert second.startswith("  experiment 1 ")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("dlbs/jax:gpu", "dlbs images build docker/jax/gpu --docker /bin/false"),
        ("dlbs/jax:tpu", "/bin/false pull dlbs/jax:tpu"),
        ("pytorch:gpu", "/bin/false pull pytorch:gpu"),
    ],
)
def test_a_missing_image_of_dlbs_is_built_others_are_pulled(tmp_path: Path, image: str, said: str) -> None:
    given = ["exp.docker=true", "exp.docker_launcher=/bin/false", f"exp.docker_image={image}"]
    config = load_config(parameters=["exp.gpus=", *given])
    validator = Validator(directory=tmp_path, may_run=True)
    validator.check_all(processor_for(config).resolve_all(build(config)))
    (found,) = validator.problems
    assert f"(run `{said}`, or run on bare metal with -Pexp.docker=false)" in str(found)


def test_a_python_without_torch(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    (found,) = problems(tmp_path, f"runtime.python={fake}")
    assert "cannot import torch" in found
    assert "pip install" in found


def test_validating_starts_no_program_that_the_plan_names(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    program.chmod(0o755)
    for flags in (
        ["-Pexp.docker=false", f"-Pruntime.python={program}"],
        ["-Pexp.docker=true", f"-Pexp.docker_launcher={program}"],
        ["-Pexp.docker=false", "-Pexp.framework=mine", f"-Pmine.launcher={program}"],
    ):
        dlbs("validate", "-Pexp.gpus=", *flags)
        dlbs("build", "--resolve", "-Pexp.gpus=", *flags)
        dlbs("run", "--dry-run", "-Pexp.gpus=", *flags)
        assert not (tmp_path / "pwned").exists(), flags


def test_inactive_experiments_are_not_checked(tmp_path: Path) -> None:
    assert problems(tmp_path, "exp.model=x", "exp.status=inactive") == []


def test_the_gpu_that_is_there_is_fine(tmp_path: Path) -> None:
    if gpu_count():
        assert problems(tmp_path, "exp.gpus=0") == []
    else:
        assert "this machine has none" in problems(tmp_path, "exp.gpus=0")[0]


def test_known_models_are_those_that_are_registered() -> None:
    from pytorch_benchmarks.model_factory import list_models
    from pytorch_benchmarks.models.model import BUILDERS

    ours = [name for name in list_models() if BUILDERS[name].__module__.startswith("pytorch_benchmarks.")]
    assert sorted(known_models()) == ours  # other tests may have registered theirs in this process
    assert all(known_models().values())


def test_run_refuses_a_plan_with_problems_and_runs_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", "-Pexp.docker=false", "-Pexp.gpus=", "-Vexp.model=[alexnet,nope]", "-Ppytorch.data_dir=/nope")
    assert done.returncode == 2
    assert "2 problems" in done.stderr
    assert "nope" in done.stderr
    assert not (tmp_path / "logs").exists()
    assert dlbs("validate", "-Pexp.docker=false", "-Pexp.gpus=").returncode == 0


@pytest.mark.integration
def test_no_validation_runs_it_all_the_same(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", "--no-validation", "-Pexp.docker=false", "-Pexp.gpus=", "-Pexp.model=nope")
    assert done.returncode == 1
    assert "unknown model 'nope'" in done.stderr
    assert len(list(tmp_path.glob("logs/*.log"))) == 1
