"""Configuration files and flags: merging, and errors that say where, what, and what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.config import Config, parse_value
from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError
from dlbs.plan.build import build


def load(tmp_path: Path, text: str = "", name: str = "c.yaml", **flags: Any) -> Config:
    if not text:
        return load_config(**flags)
    path = tmp_path / name
    path.write_text(text)
    return load_config([path], **flags)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("alexnet", "alexnet"),
        ("0,1", "0,1"),
        ("0", 0),
        ("", ""),
        ("true", True),
        ("1.5", 1.5),
        ('"1"', "1"),
        ("[1, 2]", [1, 2]),
        ("[a,b]", "[a,b]"),
        ("null", None),
        ("a=b", "a=b"),
        ("{'a'", "{'a'"),
    ],
)
def test_parameter_values_are_json_or_text(given: str, expected: Any) -> None:
    assert parse_value(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[alexnet,resnet18]", ["alexnet", "resnet18"]),
        ("[1,2,4]", [1, 2, 4]),
        ('["a", 1, true]', ["a", 1, True]),
        ("[a, 1, true]", ["a", 1, True]),
        ("[]", []),
        ("alexnet", "alexnet"),
    ],
)
def test_variable_values_are_lists_of_json_or_bare_words(given: str, expected: Any) -> None:
    assert parse_value(given, words=True) == expected


def test_flags_win_over_files_and_later_files_over_earlier(tmp_path: Path) -> None:
    for name, batch in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"parameters:\n  exp.replica_batch: {batch}\n  my.{name}: {batch}\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    config = load_config(files)
    assert config.settings["exp.replica_batch"].value == 2
    assert config.settings["exp.replica_batch"].where == f"{files[1]}:2"
    assert config.settings["my.a"].value == 1
    config = load_config(files, parameters=["exp.replica_batch=3"])
    assert config.settings["exp.replica_batch"].value == 3
    assert config.settings["exp.replica_batch"].where == "-Pexp.replica_batch"


def test_json_files_are_configurations_too(tmp_path: Path) -> None:
    document = {"parameters": {"exp.model": "vgg16"}, "variables": {"exp.replica_batch": [1, 2]}}
    config = load(tmp_path, json.dumps(document, indent=1), "c.json")
    assert config.settings["exp.model"].value == "vgg16"
    assert config.settings["exp.model"].where.endswith("c.json:3")
    assert config.variables == {"exp.replica_batch": [1, 2]}


def test_a_declaration_adds_to_what_is_known(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "parameters:\n  my.size: {val: 3, type: int, desc: How big., val_domain: [3, 4]}\n  exp.model: {desc: Other words.}\n",
        parameters=["my.size=4"],
    )
    assert config.settings["my.size"].value == 4
    assert config.declarations["my.size"].domain == (3, 4)
    assert config.declarations["exp.model"].desc == "Other words."
    assert config.declarations["exp.model"].type == "str"


@pytest.mark.parametrize(
    ("declaration", "cast", "domain"),
    [
        ("val: 1, type: float, val_domain: [0.5, 1, 2]", 1.0, (0.5, 1.0, 2.0)),
        ("val: 12, type: str, val_domain: [11, 12]", "12", ("11", "12")),
        ("val: a b, type: list, val_domain: [[a, b], c]", ["a", "b"], (["a", "b"], ["c"])),
        ("val: yes, type: bool, val_domain: [1]", True, (True,)),
        ("val: 1, val_domain: [1, null, 1.5]", 1, (1, None, 1.5)),
    ],
)
def test_allowed_values_are_cast_like_the_value(
    tmp_path: Path, declaration: str, cast: Any, domain: tuple[Any, ...]
) -> None:
    config = load(tmp_path, f"parameters:\n  my.x: {{{declaration}, desc: x}}\n")
    declared = config.declarations["my.x"]
    assert [(one, type(one)) for one in declared.domain or ()] == [(one, type(one)) for one in domain]
    assert declared.check(config.settings["my.x"].value) == cast


def test_allowed_values_of_a_redeclared_type_are_cast(tmp_path: Path) -> None:
    for name, keys in (("a", "val: 1, type: int, val_domain: [1, 2]"), ("b", "type: str")):
        (tmp_path / f"{name}.yaml").write_text(f"parameters:\n  my.x: {{{keys}, desc: x}}\n")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], parameters={"my.x": 2})
    assert config.declarations["my.x"].domain == ("1", "2")


def test_a_mapping_without_declaration_keys_is_a_value(tmp_path: Path) -> None:
    assert load(tmp_path, "parameters:\n  my.table: {a: 1}\n").settings["my.table"].value == {"a": 1}


def test_discard_default_keeps_declarations(tmp_path: Path) -> None:
    config = load(tmp_path, discard_default=True, parameters=["exp.model=m"])
    assert list(config.settings) == ["exp.model"]
    assert config.declarations["exp.replica_batch"].type == "int"


def test_typed_variables_replace_those_of_files(tmp_path: Path) -> None:
    text = 'variables:\n  "exp.model,exp.replica_batch": [[alexnet, 1], [vgg16, 2]]\n'
    assert list(load(tmp_path, text).variables) == ["exp.model,exp.replica_batch"]
    assert list(load(tmp_path, text, variables=["exp.model=[a]"]).variables) == ["exp.model"]


@pytest.mark.parametrize(
    "variables",
    [
        ['exp.model,exp.replica_batch=[["a",1],["b",2]]', "exp.replica_batch=[4,8]"],
        {"exp.replica_batch": [4, 8], "exp.model,exp.replica_batch": [["a", 1], ["b", 2]]},
    ],
)
def test_typed_variables_that_overlap_are_an_error(variables: Any) -> None:
    with pytest.raises(ConfigError, match=r"-Vexp\..*set the same parameter"):
        load_config(variables=variables)


def test_spaces_in_names_of_variables_do_not_matter(tmp_path: Path) -> None:
    text = 'variables:\n  "exp.model, exp.seed": [[alexnet, 1], [vgg16, 2]]\n'
    assert list(load(tmp_path, text).variables) == ["exp.model,exp.seed"]
    variables = load(tmp_path, text, variables=['exp.model,exp.seed=[["a",3]]']).variables
    assert variables == {"exp.model,exp.seed": [["a", 3]]}
    with pytest.raises(
        ConfigError, match=r"c\.yaml:3: .*'exp\.model, exp\.seed' and 'exp\.model,exp\.seed' set the same"
    ):
        load(tmp_path, text + '  "exp.model,exp.seed": [[c, 3]]\n')


@pytest.mark.parametrize("value", ["c", "{val: c}"])
def test_parameters_of_later_files_replace_variables_of_earlier_ones(
    tmp_path: Path, messages: list[str], value: str
) -> None:
    (tmp_path / "a.yaml").write_text(
        'variables:\n  "exp.model,exp.seed": [[a, 1], [b, 2]]\n  my.a: [1, 2]\n'
        "parameters:\n  sys.plan_builder.var_order: [my.a, 'exp.model,exp.seed']\n"
    )
    (tmp_path / "b.yaml").write_text(f"parameters:\n  exp.model: {value}\n")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert config.variables == {"my.a": [1, 2], "exp.seed": [1, 2]}
    (message,) = messages
    assert re.search(r"b\.yaml:2 replaces the values that .*a\.yaml:2 gives to exp\.model", message)
    made = [(one["my.a"], one["exp.model"], one["exp.seed"]) for one in build(config)]
    assert made == [(1, "c", 1), (1, "c", 2), (2, "c", 1), (2, "c", 2)]


def test_declarations_of_later_files_keep_variables_of_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("variables:\n  my.a: [1, 2]\n  exp.model: [a, b]\n")
    (tmp_path / "b.yaml").write_text("parameters:\n  my.a: {val: 3, type: int, desc: x}\n  exp.model: {desc: x}\n")
    assert load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"]).variables == {
        "my.a": [1, 2],
        "exp.model": ["a", "b"],
    }


def test_variables_of_a_file_vary_parameters_that_it_sets(tmp_path: Path) -> None:
    config = load(tmp_path, "variables: {exp.model: [a, b]}\nparameters: {exp.model: c}\n")
    assert config.variables == {"exp.model": ["a", "b"]}


ERRORS = [
    # text of c.yaml, then what the message must have, besides the file name
    ("parameterz: {}", [":1", "unknown key 'parameterz'", "did you mean 'parameters'"]),
    ("parameters:\n  exp.modle: a", [":2", "unknown parameter 'exp.modle'", "did you mean 'exp.model'"]),
    ("parameters:\n  exp.replica_batch: many", [":2", "exp.replica_batch must be of type int", '"many"']),
    ("parameters:\n  a: 1\n  exp.phase: trainning", [":3", "exp.phase is", "did you mean 'training'"]),
    ("parameters:\n  exp.gpus: all", [":2", 'exp.gpus is "all", which must be numbers (0,1 or 0:1,2:3), any:2']),
    ("parameters:\n  my.x: {val: a, val_regexp: b, desc: A b}", [":2", "does not match 'b'", "(A b)"]),
    ("parameters:\n  my.x: {val: 1, typ: int}", [":2", "unknown key 'typ'", "did you mean 'type'"]),
    ("parameters:\n  my.x: {val: 1, type: itn}", [":2", 'not "itn"', "did you mean 'int'"]),
    (
        "parameters:\n  my.x: {val: 1, type: int, val_domain: [1, a]}",
        [":2", 'val_domain of my.x: my.x must be of type int, not "a"'],
    ),
    ("parameters:\n  my.x: {val: 1, val_domain: 1}", [":2", "val_domain of my.x must be a list"]),
    ("parameters:\n  my.x: '${a'", [":2", "reference without its end"]),
    ("parameters:\n  my.x: $(().__class__)$", [":2", "__class__"]),
    ("parameters:\n  'my x': 1", [":2", "not a parameter name"]),
    ("parameters:\n  exp.replica_batch: 0", [":2", "exp.replica_batch is 0, which must be at least 1"]),
    ("parameters:\n  exp.timeout: -1", [":2", "exp.timeout is -1"]),
    ("parameters:\n  my.x: {val: 1, identity: never}", [":2", "identity of my.x must be true or false"]),
    ("parameters:\n  my.x: {val: 1, val_regexp: 3}", [":2", "val_regexp of my.x must be a string"]),
    ("parameters:\n  my.x: {1: a, 01: b}", [":2", "key 1 is not a string", "in quotes"]),
    ("parameters:\n  2026-01-02: a", [":2", "key 2026-01-02 is not a string"]),
    ("parameters:\n  my.x: 2026-01-02", [":2", "'2026-01-02' has no equivalent in JSON"]),
    ("parameters:\n  my.x: !!set {a: null}", [":2", "has no equivalent in JSON"]),
    ("parameters: [1]", [":1", "must be a mapping"]),
    ("parameters:\n  a: 1\n  a: 2", [":3", "duplicate key"]),
    ("variables:\n  exp.model: []", [":2", "has no values"]),
    ("variables:\n  exp.replica_batch: [1, x]", [":2", "must be of type int"]),
    ('variables:\n  "exp.model,exp.replica_batch": [[a]]', [":2", "must be a list of 2"]),
    ('variables:\n  exp.model: [a]\n  "exp.model,exp.seed": [[b, 1]]', [":3", "set the same parameter"]),
    ("extensions:\n  - conditions: {}", [":2", "unknown key 'conditions'", "did you mean 'condition'"]),
    ("extensions:\n  - condition: {exp.model: a}\n    cases: [1]", [":2", "each case must be a mapping"]),
    (
        "extensions:\n  - condition: {exp.model: a}\n    parameters: {exp.replica_batch: x}",
        [":2", "must be of type int"],
    ),
    ("parameters:\n", [": is empty"]),
    ("# nothing yet\n", [": is empty: it describes no experiment", "write parameters: or variables:"]),
    ("exp.model: alexnet", [":1", "unknown key 'exp.model'", "write it below parameters:"]),
    ("parameters:\n  exp.model:alexnet", [":1", "must be a mapping", "write a space after the colon"]),
    ("parameters:\n\texp.model: alexnet", [":2: a tab in the indentation"]),
    (
        "parameters:\n  exp.model: [a, b]",
        [":2: exp.model is one value, not a list", "move it from parameters to variables"],
    ),
    ("parameters:\n  exp.seed: '[1, 2]'", [":2: exp.seed is one value, not a list"]),
    ("parameters:\n  exp.dtype: fp16", [":2: exp.dtype is", "did you mean 'float16'?"]),
    ("parameters:\n  exp.timeout: soon", [":2: exp.timeout must be of type seconds", "write 90, 90s, 5m or 1h30m"]),
    ("variables:\n  exp.gpus: 0,1", [":2: '0,1' may be one value or several", "exp.gpus: [0,1]"]),
    ("variables:\n  exp.model: a,,b", [":2: 'a,,b' has an empty value"]),
    ("exclude: [1]", [":1", "must be a condition"]),
    ("a: [", ["not YAML"]),
    ("- a", ["must contain a mapping"]),
    ("parameters:\n  a: &x [*x]", ["alias inside itself"]),
    (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        ["aliases"],
    ),
]


@pytest.mark.parametrize(("text", "said"), ERRORS, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_errors_name_file_and_line(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    message = str(raised.value)
    assert "c.yaml" in message
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"parameters": ["exp.modle=a"]}, ["-Pexp.modle", "did you mean 'exp.model'"]),
        ({"parameters": ["exp.model"]}, ["-P", "not name=value"]),
        ({"parameters": ["exp.replica_batch=x"]}, ["-Pexp.replica_batch", "of type int"]),
        ({"variables": ["exp.replica_batch=[1,x]"]}, ["-Vexp.replica_batch", "of type int"]),
        ({"variables": ["exp.model=[]"]}, ["-Vexp.model", "no values"]),
        ({"extensions": ["{"]}, ["-E", "not JSON"]),
        ({"extensions": ["1"]}, ["-E", "must be a mapping"]),
        ({"files": ["nope.yaml"]}, ["nope.yaml", "no such file"]),
        ({"files": ["config.txt"]}, ["config.txt"]),
    ],
)
def test_errors_name_the_flag(flags: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(**flags)
    for part in said:
        assert part in str(raised.value)


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"c\.json:2: not JSON"):
        load(tmp_path, '{\n"a" 1}', "c.json")
    with pytest.raises(ConfigError, match=r"c\.json:3: duplicate key 'a'"):
        load(tmp_path, '{"parameters": {\n"a": 1,\n"a": 2}}', "c.json")


def test_every_shipped_parameter_is_declared_and_described() -> None:
    config = load_config()
    for name in config.settings:
        assert config.declarations[name].desc, name
        assert config.declarations[name].type != "any" or name in {
            "command.env",
            "dummy.env",
            "jax.env",
            "onnxruntime.env",
            "pytorch.env",
            "pack.env",
            "train.env",
            "exp.num_warmup_batches",
        }
    # Only experiments that set it have it, so that exp.id of all others does not contain it.
    assert set(config.settings) == set(config.declarations) - {"exp.working_dir"}


REFERENCE = [
    "cudnn_benchmark",
    "cudnn_fastest",
    "docker_image",
    "args",
    "bench_path",
    "data_backend",
    "data_dir",
    "data_shuffle",
    "docker_args",
    "env",
    "host_libpath",
    "host_python_path",
    "launcher",
    "num_loader_threads",
]


def test_every_parameter_of_the_reference_is_there() -> None:
    assert {f"pytorch.{name}" for name in REFERENCE} <= set(load_config().settings)


@pytest.mark.parametrize("word", ["true", "t", "yes", "y", "on", "1", "T", "True", "ON"])
def test_words_for_true(word: str) -> None:
    assert load_config().declarations["exp.docker"].check(word) is True


@pytest.mark.parametrize("word", ["false", "f", "no", "n", "off", "0", "F", "False", "OFF"])
def test_words_for_false(word: str) -> None:
    assert load_config().declarations["exp.docker"].check(word) is False


def test_what_a_program_changes_in_its_configuration_is_not_in_the_next_one() -> None:
    first = load_config()
    before = {name: json.dumps(setting.value) for name, setting in first.settings.items()}
    for setting in first.settings.values():
        if isinstance(setting.value, (dict, list)):
            setting.value.clear()
    for extension in first.extensions:
        extension.parameters.clear()
    second = load_config()
    assert {name: json.dumps(setting.value) for name, setting in second.settings.items()} == before
    assert all(extension.parameters or extension.cases for extension in second.extensions)


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    for model in ("alexnet", "vgg16"):
        assert load(tmp_path, f"parameters: {{exp.model: {model}}}").settings["exp.model"].value == model


DEEP = 101  # levels, one more than allowed


@pytest.mark.parametrize(
    "value",
    [
        "[" * DEEP + "]" * DEEP,
        '["]", ' * DEEP + "]" * DEEP,
        "['[]', {a: [1]}, " * DEEP + "]" * DEEP,
        "[ # ]\n   " * DEEP + "]" * DEEP,
    ],
    ids=["lists", "quoted brackets", "flat lists inside", "comments"],
)
def test_yaml_that_is_nested_too_deeply_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(tmp_path, f"parameters:\n  my.value: {value}\n")


def test_any_number_of_lists_beside_each_other_is_accepted(tmp_path: Path) -> None:
    value = "".join(f"  - [a, [{number}], '[[']\n" for number in range(DEEP))
    setting = load(tmp_path, f"parameters:\n  my.value:\n{value}").settings["my.value"]
    assert setting.value[-1] == ["a", [DEEP - 1], "[["]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("exp.model=alexnet,resnet18", ["alexnet", "resnet18"]),
        ("exp.replica_batch=1, 2,4", [1, 2, 4]),
        ("my.file=a,b", ["a", "b"]),
        ("exp.model=alexnet", ["alexnet"]),
        ('exp.model=["a,b"]', ["a,b"]),
    ],
)
def test_values_of_a_variable_are_separated_by_commas(given: str, values: list[Any]) -> None:
    name = given.partition("=")[0]
    assert load_config(variables=[given]).variables == {name: values}


def test_seconds_are_durations() -> None:
    config = load_config(parameters=["exp.timeout=1h30m", "monitor.interval=0.5"])
    assert config.declarations["exp.timeout"].check(config.settings["exp.timeout"].value) == 5400.0
    assert config.declarations["monitor.interval"].check("2 min") == 120.0
