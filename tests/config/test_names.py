"""What you typed is what runs: unknown names are errors, wherever they are set, and likeness alone refuses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.pipeline import resolved_plan
from tests.conftest import RunDlbs
from tests.packs.test_packs import write_pack


def failure(**flags: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        configure(**flags)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("exp.batch_size", "exp.replica_batch"),
        ("exp.batch", "exp.replica_batch"),
        ("exp.warmup", "exp.num_warmup_batches"),
        ("exp.precision", "exp.dtype"),
        ("exp.modle", "exp.model"),
        ("pytorch.epochs", "train.epochs"),
        ("model", "exp.model"),
        ("fp16", "exp.dtype=float16"),
        ("batch-size", "exp.replica_batch"),
        ("EPOCHS", "train.epochs"),
    ],
)
def test_a_common_word_gets_ours(name: str, meant: str) -> None:
    assert f"did you mean '{meant}'" in failure(parameters={name: 1})
    assert f"-V{name}: " in failure(variables={name: [1, 2]})


EVERYWHERE: list[tuple[str, dict[str, Any]]] = [
    ("-Pexp.foo", {"parameters": {"exp.foo": 1}}),
    ("-Vexp.foo", {"variables": {"exp.foo": [1]}}),
    ("-Vexp.foo,exp.model", {"variables": {"exp.foo,exp.model": [[1, "a"]]}}),
    ("-E", {"extensions": [{"condition": {"exp.model": "a"}, "parameters": {"exp.foo": 1}}]}),
    ("-E", {"extensions": [{"condition": {"exp.model": "a"}, "cases": [{"exp.model": "b"}, {"exp.foo": 1}]}]}),
]


@pytest.mark.parametrize(("where", "flags"), EVERYWHERE)
def test_a_family_of_ours_has_declared_names_only_on_the_command_line(where: str, flags: dict[str, Any]) -> None:
    assert failure(**flags).startswith(f"{where}: unknown parameter 'exp.foo'")


@pytest.mark.parametrize(
    "text",
    [
        "parameters:\n  exp.foo: 1",
        "parameters:\n  exp.foo: {val: 1}",
        "variables:\n  exp.foo: [1]",
        "extensions:\n  - {condition: {exp.model: a}, parameters: {exp.foo: 1}}",
    ],
)
def test_a_family_of_ours_has_declared_names_only_in_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert "c.yaml:2: unknown parameter 'exp.foo'" in failure(files=[tmp_path / "c.yaml"])


def test_a_family_of_ours_has_declared_names_only_in_plans(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"exp.model": "a"}, {"exp.model": "a", "exp.foo": 1}]))
    with pytest.raises(ConfigError, match=r"plan\.json: experiment 2: unknown parameter 'exp\.foo'"):
        list(resolved_plan(load_config(), str(plan))())


def test_a_declaration_with_a_description_makes_a_name_known(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("parameters:\n  exp.foo: {val: 1, desc: Mine.}\n")
    assert configure([tmp_path / "c.yaml"], parameters={"exp.foo": 2}).settings["exp.foo"].value == 2


@pytest.mark.parametrize("name", ["runtime.env.FOO", "slurm.qos", "exp.sys.kernel", "voir.own"])
def test_open_families_take_any_name(name: str) -> None:
    assert configure(parameters={name: "x"}).settings[name].value == "x"


def test_likeness_refuses_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("parameters:\n  workload.num_batches: 3\n  exps.model: a\n")
    config = configure([tmp_path / "c.yaml"], parameters={"workload.num_batches": 4})
    assert config.settings["workload.num_batches"].value == 4


def test_a_typed_name_that_nothing_uses_is_an_error() -> None:
    assert "the parameter 'my.x' is not used" in failure(parameters={"my.x": 1})
    assert "the parameter 'my.x' is not used" in failure(variables={"my.x": [1, 2]})
    extension = {"condition": {"exp.model": "alexnet"}, "parameters": {"my.x": 1}}
    assert "-E: the parameter 'my.x' is not used" in failure(extensions=[extension])


@pytest.mark.parametrize(
    "used",
    [
        {"parameters": {"exp.project": "${my.x}"}},
        {"parameters": {"exp.project": "$(${my.x} + 1)$"}},
        {"parameters": {"exp.project": "${my.${exp.model}}"}},
        {"variables": {"exp.project": ["a", "$<my.x>"]}},
        {"extensions": [{"condition": {"my.x": 1}, "parameters": {"exp.seed": 2}}]},
        {"extensions": [{"condition": {"exp.model": "a"}, "cases": [{"exp.project": "${my.x}"}]}]},
    ],
)
def test_a_reference_or_a_condition_uses_a_name(used: dict[str, Any]) -> None:
    used = {**used, "parameters": {"my.x": 1, **used.get("parameters", {})}}
    assert configure(**used).settings["my.x"].value == 1


BODY = '{% extends "base.sh" %}{% block benchmark %}{{ BODY }}{% endblock %}'


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ("{{ my.x }}", True),
        ("{% if my.x > 1 %}a{% endif %}", True),
        ("{{ my.x.upper() | words }}", True),
        ("{% set family = my %}{{ family.x }}", True),
        ('{{ parameters["my.x"] }}', True),
        ('{{ parameters["my." ~ exp.model] }}', True),
        ("{% for name in parameters %}{{ name }}{% endfor %}", True),
        ("{% include exp.model %}", True),
        ("my.x {# my.x #}", False),
        ("{{ my.y }}{{ other.my }}", False),
        ('{{ parameters["my.y"] }}{{ "my.x" }}', False),
    ],
)
def test_a_launcher_uses_what_it_reads(tmp_path: Path, body: str, reads: bool) -> None:
    (tmp_path / "part.sh").write_text(BODY.replace("{{ BODY }}", body))
    (tmp_path / "own.sh").write_text('{% extends "part.sh" %}')
    given = {"exp.framework": "own", "own.launcher": str(tmp_path / "own.sh"), "my.x": 1}
    if reads:
        configure(parameters=given)
    else:
        assert "the parameter 'my.x' is not used" in failure(parameters=given)


def test_a_program_reads_everything(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("#!/bin/sh\n")
    (tmp_path / "own").chmod(0o755)
    configure(parameters={"exp.framework": "own", "own.launcher": "${my.dir}/own", "my.dir": str(tmp_path), "my.x": 1})


def test_options_of_a_pack_are_known_by_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "packs" / "mine", "mine: {argv: {--batch-size: 4}}")
    monkeypatch.chdir(tmp_path)
    pack = {"exp.framework": "pack", "exp.pack": "mine"}
    (made,) = build(configure(parameters={**pack, "argv.batch_size": 8}))
    assert made["argv.batch_size"] == 8
    assert "did you mean 'argv.batch_size'" in failure(parameters={**pack, "argv.batchsise": 8})


def test_names_of_a_plan_are_known(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('[{"exp.framework": "dummy", "my.x": 1}]')
    configure(parameters={"my.x": 2}, plan=plan)
    with pytest.raises(ConfigError, match=r"the parameter 'my\.y' is not used"):
        configure(parameters={"my.y": 2}, plan=plan)


HOSTILE = [
    "a\nb",
    "exp.model\n",
    "a b",
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a\0",
    "__x",
    "__condition.a",
    "a;b",
    "$(a)",
    "a'b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_name_makes_no_experiment(tmp_path: Path, name: str) -> None:
    sources: list[dict[str, Any]] = [
        {"parameters": {name: 1}},
        {
            "variables": {name if name == name.strip() else f"{name}x": [1]}
        },  # blanks around a variable's names are left out
        {"extensions": [{"condition": {"exp.model": "alexnet"}, "parameters": {name: 1}}]},
        {"extensions": [{"condition": {"exp.model": "alexnet"}, "cases": [{name: 1}]}]},
    ]
    (tmp_path / "c.json").write_text(json.dumps({"parameters": {name: 1}}))
    for flags in (*sources, {"files": [tmp_path / "c.json"]}):
        assert "is not a parameter name" in failure(**flags)


@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.startswith("__c")] + ["__condition.a\nb"])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_malformed_name_in_a_plan(tmp_path: Path, name: str, suffix: str) -> None:
    plan = tmp_path / f"plan.{suffix}"
    experiments = [{"a": 1}, {name: 1}]
    plan.write_text(json.dumps(experiments) if suffix == "json" else "\n".join(map(json.dumps, experiments)))
    with pytest.raises(ConfigError, match="is not a parameter name"):
        list(resolved_plan(load_config(), str(plan))())


def test_a_malformed_name_in_a_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "packs" / "mine", 'mine: {voir: {"a\\nb": 1}}')
    monkeypatch.chdir(tmp_path)
    assert "is not a parameter name" in failure(parameters={"exp.framework": "pack", "exp.pack": "mine"})


def test_the_hidden_parameters_of_a_built_plan_are_fine(dlbs: RunDlbs) -> None:
    extension = (
        '{"condition": {"exp.model": "([a-z]+).*"}, "parameters": {"exp.project": "${__condition.exp.model_1}"}}'
    )
    dlbs("build", "-o", "p.json", "-E", extension, "-Pexp.framework=dummy", "-Pexp.docker=false", check=True)
    assert dlbs("validate", "--plan", "p.json").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exp.model=vgg16"], "write -Pexp.model=vgg16"),
        (["exp.repeat=5"], "(write -Pexp.repeats=5)"),
        (["--model", "vgg16"], "did you mean 'exp.model'? Parameters are set with -PNAME=VALUE"),
        (["--batch-size=4"], "did you mean 'exp.replica_batch'?"),
        (["-Pexp.repeat=5"], "exp.repeats=5"),
        (["-Vexp.repeat=[1,2]"], "exp.repeats=5"),
    ],
)
def test_habits_of_other_tools(dlbs: RunDlbs, arguments: list[str], said: str) -> None:
    done = dlbs("build", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_what_is_typed_wins_over_a_variable_of_a_file(tmp_path: Path, messages: list[str]) -> None:
    (tmp_path / "c.yaml").write_text(
        "parameters:\n  sys.plan_builder.var_order: [exp.seed, exp.model]\n"
        "variables:\n  exp.model: [alexnet, vgg16]\n  exp.seed: [1, 2]\n"
    )
    config = configure([tmp_path / "c.yaml"], parameters={"exp.model": "resnet18"})
    assert [(one["exp.model"], one["exp.seed"]) for one in build(config)] == [("resnet18", 1), ("resnet18", 2)]
    (message,) = messages
    assert "-Pexp.model replaces the values that" in message
    assert "c.yaml:4" in message


def test_what_is_typed_wins_over_one_of_several_that_vary_together(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        'variables:\n  "exp.model,exp.replica_batch": [[alexnet, 1], [vgg16, 2], [vgg19, 2]]\n'
    )
    config = configure([tmp_path / "c.yaml"], parameters={"exp.model": "resnet18"})
    assert [(one["exp.model"], one["exp.replica_batch"]) for one in build(config)] == [("resnet18", 1), ("resnet18", 2)]


def test_a_parameter_cannot_be_set_and_varied_on_one_command_line() -> None:
    flags = {"parameters": {"exp.model": "a"}, "variables": {"exp.model": ["b"]}}
    assert "-Vexp.model: -Pexp.model sets the same parameter" in failure(**flags)


def test_what_nothing_uses_is_no_suggestion_for_another() -> None:
    said = failure(parameters={"int.value": 1, "list.value": 2})
    assert said.count("is not used") == 2
    assert "did you mean" not in said
