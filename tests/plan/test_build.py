"""From a configuration to a plan."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlbs.cli.plan import _print_plan
from dlbs.config.config import Config
from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError, DlbsError
from dlbs.language.template import escape
from dlbs.plan.build import build
from dlbs.plan.explain import described, explained, lines, tree
from dlbs.plan.files import read_plan, write_plan
from dlbs.plan.pipeline import processor_for


def config(tmp_path: Path, **sections: Any) -> Config:
    flags = sections.pop("flags", {})
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return load_config([path], discard_default=True, **flags)


def plan(tmp_path: Path, **sections: Any) -> list[dict[str, Any]]:
    return list(build(config(tmp_path, **sections)))


def test_no_variables_make_one_experiment(tmp_path: Path) -> None:
    assert plan(tmp_path, parameters={"my.a": 1}) == [{"my.a": 1}]


def test_variables_are_nested_in_written_order(tmp_path: Path) -> None:
    made = plan(tmp_path, variables={"my.a": [1, 2], "my.b": ["x", "y"]})
    assert [(one["my.a"], one["my.b"]) for one in made] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_var_order_overrides_it(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        parameters={"sys.plan_builder.var_order": ["my.b"]},
        variables={"my.a": [1, 2], "my.b": ["x", "y"]},
    )
    assert [(one["my.a"], one["my.b"]) for one in made] == [(1, "x"), (2, "x"), (1, "y"), (2, "y")]


@pytest.mark.parametrize(
    ("order", "variable"),
    [
        ("my.b,exp.seed", "my.b, exp.seed"),
        (["my.b, exp.seed"], "my.b, exp.seed"),
        ("'my.b, exp.seed' my.a", "my.b,exp.seed"),
    ],
)
def test_var_order_is_cast_and_its_spaces_do_not_matter(tmp_path: Path, order: Any, variable: str) -> None:
    made = plan(
        tmp_path,
        variables={"my.a": [1, 2], variable: [["x", 1], ["y", 2]]},
        flags={"parameters": {"sys.plan_builder.var_order": order}},
    )
    assert [(one["my.a"], one["my.b"]) for one in made] == [(1, "x"), (2, "x"), (1, "y"), (2, "y")]


def test_var_order_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'my\.alpha'"):
        plan(tmp_path, parameters={"sys.plan_builder.var_order": ["my.alpa"]}, variables={"my.alpha": [1]})


def test_var_order_names_each_variable_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names 'my\.a' twice"):
        plan(tmp_path, parameters={"sys.plan_builder.var_order": ["my.a", "my.a"]}, variables={"my.a": [1, 2]})


def test_zipped_variables(tmp_path: Path) -> None:
    made = plan(tmp_path, variables={"exp.model,exp.replica_batch": [["alexnet", 512], ["vgg16", 64]], "my.s": [1, 2]})
    assert [(one["exp.model"], one["exp.replica_batch"], one["my.s"]) for one in made] == [
        ("alexnet", 512, 1),
        ("alexnet", 512, 2),
        ("vgg16", 64, 1),
        ("vgg16", 64, 2),
    ]


def test_zipped_variables_can_be_innermost(tmp_path: Path) -> None:
    made = plan(tmp_path, variables={"my.s": [1, 2], "my.a,my.b": [[1, "x"], [2, "y"]]})
    assert [tuple(one.values()) for one in made] == [(1, 1, "x"), (1, 2, "y"), (2, 1, "x"), (2, 2, "y")]


def extended(tmp_path: Path, condition: dict[str, Any], value: Any, **extra: Any) -> bool:
    """Whether a condition holds for an experiment with `my.a` of that value."""
    extension = {"condition": condition, "parameters": {"my.hit": True}}
    made = plan(tmp_path, parameters={"my.a": value, **extra}, extensions=[extension])
    return bool(made[0].get("my.hit"))


@pytest.mark.parametrize(
    ("expected", "value", "holds"),
    [
        ("alex.*", "alexnet", True),
        ("alex", "alexnet", False),
        ("alexnet|vgg16", "vgg16", True),
        ("", "", True),
        ("1", 1, True),
        (1, 1, True),
        (1, "1", True),
        (1, True, True),
        ("yes", True, True),
        ("off", True, False),
        ("yes", "on", False),
        (True, True, True),
        (True, 1, False),
        (True, "true", True),
        (False, True, False),
        ([1, 2], 2, True),
        ([1, 2], 3, False),
        (["a", "b"], "b", True),
        ("true", True, True),
        (4, "$(2 * 2)$", True),
        ("a b", r"a b", True),
        (r"\$\{x\}", r"\${x}", True),
    ],
)
def test_condition(tmp_path: Path, expected: Any, value: Any, holds: bool) -> None:
    assert extended(tmp_path, {"my.a": expected}, value) is holds


def test_all_parts_of_a_condition_must_hold(tmp_path: Path) -> None:
    assert extended(tmp_path, {"my.a": 1, "my.b": 2}, 1, **{"my.b": 2})
    assert not extended(tmp_path, {"my.a": 1, "my.b": 2}, 1, **{"my.b": 3})


def test_condition_on_missing_name_does_not_match(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        parameters={"my.a": 1},
        extensions=[
            {"condition": {"my.later": 1}, "parameters": {"my.hit": True}},
            {"condition": {"my.a": 1}, "parameters": {"my.later": 1}},
        ],
    )
    assert made == [{"my.a": 1, "my.later": 1}]


def test_condition_on_a_name_that_nothing_defines_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"c.yaml:4: condition on 'my.b', which is not defined"):
        extended(tmp_path, {"my.b": 1}, 1)


@pytest.mark.parametrize("value", ["${my.b}", "x${my.b}", "$('${my.b}')$", "$(uuid4())$"])
def test_condition_on_a_value_that_is_not_constant_is_an_error(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="not constant"):
        extended(tmp_path, {"my.a": ".*"}, value, **{"my.b": 1})


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1"])
def test_bad_patterns_are_errors(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DlbsError, match="regular expression"):
        extended(tmp_path, {"my.a": pattern}, "a" * 60)


def test_cases_make_several_experiments(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        variables={"my.a": [1, 2]},
        extensions=[
            {"condition": {"my.a": 1}, "parameters": {"my.p": 0}, "cases": [{"my.c": 1}, {"my.c": 2, "my.p": 9}]}
        ],
    )
    assert made == [{"my.a": 1, "my.p": 0, "my.c": 1}, {"my.a": 1, "my.p": 9, "my.c": 2}, {"my.a": 2}]


def test_extensions_see_what_earlier_ones_added(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        parameters={"my.a": 1},
        extensions=[
            {"condition": {"my.a": 1}, "parameters": {"my.b": 2}},
            {"condition": {"my.b": 2}, "parameters": {"my.c": 3}},
        ],
    )
    assert made == [{"my.a": 1, "my.b": 2, "my.c": 3}]


def test_groups_of_a_condition(tmp_path: Path) -> None:
    sections = config(
        tmp_path,
        parameters={"exp.model": "resnet50-v'2"},
        extensions=[
            {
                "condition": {"exp.model": "([a-z]+)([0-9]+)-(.*)"},
                "parameters": {
                    "my.family": "${__condition.exp.model_1}",
                    "my.depth": "$(int('${__condition.exp.model_2}') * 2)$",
                    "my.quote": "$('<' + '${__condition.exp.model_3}' + '>')$",
                },
            },
        ],
    )
    resolved = processor_for(sections).resolve(next(build(sections)))
    assert resolved == {"exp.model": "resnet50-v'2", "my.family": "resnet", "my.depth": 100, "my.quote": "<v'2>"}


@pytest.mark.parametrize("source", ["block.yaml", "flow.yaml", "one.json", "flags", "calls"])
def test_groups_belong_to_their_extension(tmp_path: Path, source: str) -> None:
    extensions = [
        {"parameters": {"my.one": "${__condition.my.a_1}"}, "condition": {"my.a": "(.).*"}},
        {"parameters": {"my.two": "${__condition.my.a_1}"}, "condition": {"my.a": ".(.).*"}},
    ]
    if source == "flags":
        flags = {"extensions": [json.dumps(one) for one in extensions]}
        sections = load_config(discard_default=True, parameters={"my.a": "xyz"}, **flags)
    elif source == "calls":
        sections = load_config(discard_default=True, parameters={"my.a": "xyz"}, extensions=extensions)
    else:
        given = {"parameters": {"my.a": "xyz"}, "extensions": extensions}
        written = {
            "block.yaml": yaml.safe_dump(given),
            "flow.yaml": yaml.safe_dump(given, default_flow_style=True, width=1000),
            "one.json": json.dumps(given),
        }
        (tmp_path / source).write_text(written[source])
        sections = load_config([tmp_path / source], discard_default=True)
    resolved = processor_for(sections).resolve(next(build(sections)))
    assert (resolved["my.one"], resolved["my.two"]) == ("x", "y")


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        (r"\${__condition.my.a_1}", "${__condition.my.a_1}"),
        (r"\\${__condition.my.a_1}", r"\x"),
        (r"\\\$<__condition.my.a_1>", r"\$<__condition.my.a_1>"),
        (r"\${__condition.none_1}", "${__condition.none_1}"),
        (["a", {"b": "${__condition.my.a_1}"}], ["a", {"b": "x"}]),
    ],
)
def test_escaped_groups_are_literal(tmp_path: Path, written: Any, resolved: Any) -> None:
    sections = config(
        tmp_path,
        parameters={"my.a": "xyz"},
        extensions=[{"condition": {"my.a": "(.).*"}, "parameters": {"my.b": written}}],
    )
    assert processor_for(sections).resolve(next(build(sections)))["my.b"] == resolved


def test_groups_of_names_that_are_not_ascii(tmp_path: Path) -> None:
    sections = config(
        tmp_path,
        parameters={"größe": "xyz"},
        extensions=[{"condition": {"größe": "(.).*"}, "parameters": {"my.b": "${__condition.größe_1}"}}],
    )
    assert processor_for(sections).resolve(next(build(sections)))["my.b"] == "x"


def test_command_line_is_there_before_extensions_are_matched(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        parameters={"my.a": 1},
        extensions=[{"condition": {"my.a": 2}, "parameters": {"my.hit": True}}],
        flags={"parameters": ["my.a=2"]},
    )
    assert made == [{"my.a": 2, "my.hit": True}]


def test_an_extension_that_overwrites_the_command_line_warns(tmp_path: Path, messages: list[str]) -> None:
    made = plan(
        tmp_path,
        parameters={"my.a": 1},
        variables={"my.v": [1, 2]},
        extensions=[{"condition": {"my.v": ".*"}, "parameters": {"my.a": 3}}],
        flags={"parameters": ["my.a=2"]},
    )
    assert [one["my.a"] for one in made] == [3, 3]
    (message,) = messages
    assert "-Pmy.a" in message
    assert "c.yaml" in message


def test_exclude_drops_experiments(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        variables={"my.a": [1, 2], "my.b": ["x", "y"]},
        exclude=[{"my.a": 1, "my.b": "y"}, {"my.a": [2], "my.b": "x"}],
    )
    assert [(one["my.a"], one["my.b"]) for one in made] == [(1, "x"), (2, "y")]


def test_repeats(tmp_path: Path) -> None:
    made = plan(tmp_path, parameters={"exp.repeats": 3}, variables={"my.a": [1, 2]})
    assert [(one["my.a"], one["exp.repeat"]) for one in made] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("repeats", [2.0, "2", "2 "])
def test_repeats_are_cast(tmp_path: Path, repeats: Any) -> None:
    made = plan(tmp_path, flags={"parameters": {"exp.repeats": repeats}})
    assert [one["exp.repeat"] for one in made] == [1, 2]


def test_repeats_may_vary(tmp_path: Path) -> None:
    assert len(plan(tmp_path, variables={"exp.repeats": [1, 3]})) == 4


@pytest.mark.parametrize("repeats", [0, -1, "${x}", "many", None])
def test_bad_repeats(tmp_path: Path, repeats: Any) -> None:
    with pytest.raises(ConfigError, match=r"exp\.repeats"):
        plan(tmp_path, parameters={"exp.repeats": repeats, "x": 1})


@pytest.mark.parametrize("name", ["plan.json", "plan.jsonl", "plan.json.gz", "plan.jsonl.gz"])
def test_plans_can_be_written_and_read(tmp_path: Path, name: str) -> None:
    experiments = [{"a": 1, "b": "é\n${x}"}, {"a": [None, True, 1.5]}, {}]
    assert write_plan(tmp_path / name, iter(experiments)) == 3
    assert list(read_plan(tmp_path / name)) == experiments
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failing_build_leaves_no_plan(tmp_path: Path) -> None:
    def broken() -> Any:
        yield {"a": 1}
        raise ConfigError("no")

    (tmp_path / "plan.json").write_text("old")
    with pytest.raises(ConfigError):
        write_plan(tmp_path / "plan.json", broken())
    assert (tmp_path / "plan.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.json", "{}", "experiments must be a JSON list"),
        ("p.json", "[1]", "experiment 1"),
        ("p.json", "[\n{\n", "not JSON"),
        ("p.jsonl", "{}\n{", "p.jsonl:2"),
        ("p.jsonl", "[]", "an experiment must be a JSON object"),
    ],
)
def test_malformed_plans(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as raised:
        list(read_plan(tmp_path / name))
    assert said in str(raised.value)


def test_a_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such plan"):
        list(read_plan(tmp_path / "p.json"))


def test_a_resolved_plan_resolves_to_itself(tmp_path: Path) -> None:
    full = load_config(variables=["exp.model=[alexnet,vgg16]"], parameters=["my.text=\\${x}", "exp.docker=false"])
    resolved = list(processor_for(full).resolve_all(build(full)))
    write_plan(tmp_path / "p.jsonl", map(escape, resolved))
    assert list(processor_for(full).resolve_all(read_plan(tmp_path / "p.jsonl"))) == resolved


def test_group_0_is_all_that_matched(tmp_path: Path) -> None:
    extension = {
        "condition": {"my.a": "r(.)s.*", "my.n": [4, 8]},
        "parameters": {"my.all": "${__condition.my.a_0}+${__condition.my.a_1}", "my.number": "$<__condition.my.n_0>"},
    }
    made = config(tmp_path, parameters={"my.a": "resnet", "my.n": 8}, extensions=[extension])
    (resolved,) = processor_for(made).resolve_all(build(made))
    assert (resolved["my.all"], resolved["my.number"]) == ("resnet+e", "8")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "$(${__condition.my.a_1} * 2)$",
            "${__condition.my.a_1} is the text 'x', which cannot be multiplied (write int(${__condition.my.a_1})",
        ),
        ("$(int('${__condition.my.a_1}'))$", "failed"),
        ("${__condition.my.a_1}${my.nothing}", "my.nothing"),
    ],
)
def test_an_error_calls_a_group_as_it_was_written(tmp_path: Path, value: str, said: str) -> None:
    extension = {"condition": {"my.a": "(.).*"}, "parameters": {"my.b": value}}
    made = config(tmp_path, parameters={"my.a": "x"}, extensions=[extension])
    with pytest.raises(DlbsError) as raised:
        list(processor_for(made).resolve_all(build(made)))
    assert said in str(raised.value)
    assert not set(re.findall(r"__condition\.[\w.-]+", str(raised.value))) - {"__condition.my.a_1"}


def test_explain_calls_a_group_as_it_was_written(tmp_path: Path) -> None:
    extension = {"condition": {"my.a": "(.).*"}, "parameters": {"my.b": "${__condition.my.a_1}"}}
    made = config(tmp_path, parameters={"my.a": "x"}, extensions=[extension])
    assert next(tree(explained(made, "my.b"))).startswith('my.b = "x"  from "${__condition.my.a_1}"')


def test_descriptions_fit_into_80_columns() -> None:
    config = load_config()
    for printed in (tree(explained(config, "exp.docker")), lines(described(config, "exp.docker"))):
        shown = [line for line in printed if line.strip() in config.declarations["exp.docker"].desc]
        assert len(shown) > 1
        assert max(map(len, shown)) < 80


@pytest.mark.parametrize("hostile", ["$(1+1)$", "${HOME}", "${__identity__}", "\\$(1)$", "$<my.a>"])
def test_what_a_group_takes_from_a_value_is_data(tmp_path: Path, hostile: str) -> None:
    extension = {
        "condition": {"my.a": "(?s)<(.*)>"},
        "parameters": {"my.b": "${__condition.my.a_1}", "my.c": "$('${__condition.my.a_1}')$"},
    }
    made = config(tmp_path, parameters={"my.a": f"<{escape(hostile)}>"}, extensions=[extension])
    (resolved,) = processor_for(made).resolve_all(build(made))
    assert resolved["my.a"] == f"<{hostile}>"
    assert resolved["my.b"] == resolved["my.c"] == hostile


def test_a_group_that_is_not_there_is_an_error_without_internal_names(tmp_path: Path) -> None:
    extension = {"condition": {"my.a": "(.).*"}, "parameters": {"my.b": "${__condition.my.a_7}"}}
    made = config(tmp_path, parameters={"my.a": "x"}, extensions=[extension])
    with pytest.raises(ConfigError) as raised:
        list(build(made))
    assert "${__condition.my.a_7} is not a group" in str(raised.value)
    assert "my.a_0, my.a_1" in str(raised.value)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("exp.replica_batch=$(2**5)$", 32),
        ("exp.timeout=$(60*5)$", 300.0),
        ("exp.docker=$(1 > 2)$", False),
        ("exp.sys_info=host,cpu,memory,gpu,slurm", "host,cpu,memory,gpu,slurm"),
    ],
)
def test_a_typed_parameter_takes_any_expression(flag: str, value: Any) -> None:
    made = load_config(parameters=[flag])
    assert next(processor_for(made).resolve_all(build(made)))[flag.partition("=")[0]] == value


@pytest.mark.parametrize("name", ["plan.json", "plan.jsonl.gz", None])
def test_bytes_that_are_not_utf_8_are_refused_in_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str | None
) -> None:
    good, bad = {"a": "café \N{GRINNING FACE}"}, {"b": ["caf\udce9"]}
    _print_plan([good])
    assert json.loads(capsys.readouterr().out) == [good]
    with pytest.raises(ConfigError, match="b is not UTF-8, so it cannot be written to a plan"):
        write_plan(tmp_path / name, [good, bad]) if name else _print_plan([good, bad])
    assert not list(tmp_path.iterdir())
