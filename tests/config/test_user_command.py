"""A command after `--`: which words are its own, what stands for parameters, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbs.config.config import Config
from dlbs.config.user_command import command_parameters, own_options, placeholders
from dlbs.core.errors import ConfigError
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for


def resolved(*words: str, **given: Any) -> list[dict[str, Any]]:
    config = configure(command=words, **given)
    return list(processor_for(config).resolve_all(build(config)))


def refused(*words: str, **given: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        configure(command=words, **given)
    return str(raised.value)


def test_the_example_of_the_manual() -> None:
    found = resolved("python", "bench.py", "--size", "{size}", "-Vsize=[1,2,4]")
    assert [one["command.argv"] for one in found] == [["python", "bench.py", "--size", size] for size in (1, 2, 4)]
    assert {one["command.line"] for one in found} == {"python bench.py --size {size}"}
    assert len({one["exp.id"] for one in found}) == 3


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("{size}", ["size"]),
        ("--a={a.b},{c-d}", ["a.b", "c-d"]),
        ("{x}{x}", ["x"]),
        ("{{x}}", []),
        ("${x}", []),
        ("{}", []),
        ("{0}", []),
        ('{"a": {"b": 1}}', []),
        ("{print $1}", []),
        ("{.Names}", []),
        ("{1..3}", []),
    ],
)
def test_what_stands_for_a_parameter(word: str, names: list[str]) -> None:
    assert placeholders([word]) == names


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("{size}", 3),
        ("--size={size}", "--size=3"),
        ("{{size}}", "{size}"),
        ("${size}", "${size}"),
        ("$(id) $<x> $((1 + 1))", "$(id) $<x> $((1 + 1))"),
        (r"\${size}", r"\${size}"),
        (r"a\{size}", r"a\3"),
        (r"a\\{size}\\", r"a\\3\\"),
        ('{"size": {"size": 1}}', '{"size": {"size": 1}}'),
        ("", ""),
    ],
)
def test_only_placeholders_change(word: str, value: Any) -> None:
    (found,) = resolved("run", word, parameters={"size": 3, "command.env": {"SIZE": "${size}"}})
    assert found["command.argv"] == ["run", value]


@given(st.lists(st.text(st.sampled_from("ab{}$()<>\\\" '/0"), max_size=12), min_size=1, max_size=3))
def test_words_without_placeholders_stay_as_they_are(words: list[str]) -> None:
    if not placeholders(words) and not any("{{" in word for word in words):
        template = command_parameters(["run", *words])["command.argv"]
        processor = processor_for(Config())
        assert processor.resolve({"command.argv": template})["command.argv"] == ["run", *words]


@pytest.mark.parametrize(
    ("words", "command", "parameters", "variables"),
    [
        (["b", "{n}", "-Vn=[1,2]"], ["b", "{n}"], [], ["n=[1,2]"]),
        (["b", "{n}", "{m}", "-Pm=1", "-Vn=[1,2]"], ["b", "{n}", "{m}"], ["m=1"], ["n=[1,2]"]),
        (["b", "{n}{m}", "-Vn,m=[[1,2]]"], ["b", "{n}{m}"], [], ["n,m=[[1,2]]"]),
        (["b", "-Vn=[1,2]"], ["b", "-Vn=[1,2]"], [], []),
        (["b", "-Vn=[1]", "{n}"], ["b", "-Vn=[1]", "{n}"], [], []),
        (["b", "{n}", "-Vm=[1]", "-Vn=[1]"], ["b", "{n}", "-Vm=[1]"], [], ["n=[1]"]),
        (["dlbs", "build", "-Pexp.model=a"], ["dlbs", "build", "-Pexp.model=a"], [], []),
    ],
)
def test_only_what_sets_a_placeholder_is_ours(
    words: list[str], command: list[str], parameters: list[str], variables: list[str]
) -> None:
    assert own_options(words) == (command, parameters, variables)


def test_an_option_of_ours_that_the_command_gets_is_pointed_out(messages: list[str]) -> None:
    (found,) = resolved("bench", "-x", "-Pexp.num_batches=3")
    assert found["command.argv"][-1] == "-Pexp.num_batches=3"
    assert found["exp.num_batches"] == 10
    assert "-Pexp.num_batches=3 is passed to the command; put options of dlbs before --" in messages[0]


def test_a_placeholder_without_a_value_is_an_error_with_a_place_and_a_hint() -> None:
    said = refused("bench", "--size", "{size}")
    assert said.startswith(
        "-- bench --size {size}: the placeholder {size} has no value (write -Vsize=1,2,4 or -Psize=VALUE"
    )
    assert "{{size}} is the literal text {size}" in said


def test_an_option_that_is_not_read_is_named_with_the_word_behind_it() -> None:
    said = refused("bench", "{size}", "-Psize=1", "-Pexp.num_batches=3")
    assert "-Psize=1 was not read, because -Pexp.num_batches=3 follows it (put options of dlbs before --)" in said


def test_an_option_for_a_placeholder_that_the_command_gets_is_pointed_out(messages: list[str]) -> None:
    (found,) = resolved("bench", "{size}", "-Psize=1", "-Pexp.num_batches=3", parameters={"size": 2})
    assert found["command.argv"] == ["bench", 2, "-Psize=1", "-Pexp.num_batches=3"]
    assert "-Psize=1 is passed to the command; put options of dlbs before --" in messages[0]
    resolved("bench", "-Psize=1", "-Vsize=1,2")
    assert [line for line in messages[2:] if "is passed" in line] == [
        "-Vsize=1,2 is passed to the command; put options of dlbs before --"
    ]


def test_a_misspelt_placeholder_gets_the_right_name() -> None:
    assert "did you mean 'size'?" in refused("bench", "{siez}", variables={"size": [1]})
    assert "did you mean 'size'?" in refused("bench", "{siez}", "-Vsize=[1]")
    assert "did you mean 'exp.num_batches' or" in refused("bench", "{exp.num_batchs}")


def test_a_default_of_another_framework_is_no_value() -> None:
    assert "the placeholder {exp.model} has no value" in refused("bench", "{exp.model}")
    (found,) = resolved("bench", "{exp.model}", "{exp.num_batches}", parameters={"exp.model": "mine"})
    assert found["command.argv"] == ["bench", "mine", 10]


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        ((), {}, "--: the command is missing"),
        (("",), {}, "--: the command is missing"),
        (("true",), {"parameters": {"exp.framework": "pytorch"}}, "a command requires the framework command"),
        (("true",), {"plan": "plan.json"}, "--plan: experiments and a command cannot be combined"),
        (("true",), {"variables": {"size": [1]}}, "-Vsize: the parameter 'size' is not used"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], given: dict[str, Any], said: str) -> None:
    assert said in refused(*words, **given)


def test_what_helps_a_command_may_use_its_placeholders() -> None:
    parameters = {"command.prepare": "rm -f out.{n}", "command.cleanup": ["rm", "-f", "x"]}
    found = resolved("bench", "{n}", parameters=parameters, variables={"n": [1, 2]})
    assert [one["command.prepare"] for one in found] == [["rm", "-f", "out.1"], ["rm", "-f", "out.2"]]


def test_defaults_that_suit_commands_and_give_way() -> None:
    (usual,) = resolved("true")
    assert (usual["exp.num_batches"], usual["exp.num_warmup_batches"], usual["command.min_seconds"]) == (10, 1, 3.0)
    assert (usual["exp.docker"], usual["runtime.malloc"]) == (False, "system")
    (own,) = resolved("true", parameters={"exp.num_batches": 5, "runtime.malloc": "keep"})
    assert (own["exp.num_batches"], own["command.min_seconds"], own["runtime.malloc"]) == (5, 0.0, "keep")
    (image,) = resolved("true", parameters={"exp.docker_image": "debian"})
    assert image["exp.docker"] is True


def test_a_command_has_no_model_phase_type_or_batch() -> None:
    (found,) = resolved("true")
    invented = {
        "exp.model",
        "exp.phase",
        "exp.dtype",
        "exp.replica_batch",
        "exp.effective_batch",
        "exp.seed",
        "exp.data",
    }
    assert invented.isdisjoint(found)
    assert not any(name.startswith("pytorch.") for name in found)


def test_log_files_have_the_command_in_their_names() -> None:
    first, second = resolved("./bench", "--size", "{n}", variables={"n": [1, 2]})
    assert first["exp.log_file"] == f"logs/command_.-bench---size-1_{first['exp.id']}.log"
    assert second["exp.log_file"] != first["exp.log_file"]


def test_a_file_may_say_the_command(tmp_path: Any) -> None:
    (tmp_path / "plan.yaml").write_text(
        "parameters: {exp.framework: command, command.argv: [bench, '--size', '${size}']}\nvariables: {size: [1, 2]}\n"
    )
    config = configure([tmp_path / "plan.yaml"])
    found = list(processor_for(config).resolve_all(build(config)))
    assert [one["command.line"] for one in found] == ["bench --size {size}"] * 2
    assert [one["exp.num_batches"] for one in found] == [10, 10]
