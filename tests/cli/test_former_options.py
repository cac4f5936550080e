"""Options of the original's programs are answered by what to write here."""

from __future__ import annotations

import re

import click
import pytest

from dlbs.cli.main import cli
from dlbs.cli.options import usage_hint
from dlbs.config.names import table
from tests.conftest import RunDlbs

ALL = [(verb, option, said) for verb, options in table().options.items() for option, said in options.items()]
CASES = [(verb, option, said) for verb, option, said in ALL if " " not in option]


def options_of(verb: str) -> set[str]:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(("verb", "option", "said"), CASES, ids=[f"{verb} {option}" for verb, option, _ in CASES])
def test_a_former_option_is_none_of_ours_and_what_it_leads_to_is_one(verb: str, option: str, said: str) -> None:
    assert option not in options_of(verb)
    named = re.search(r"dlbs ([a-z]+)", said)
    verb = named[1] if named else verb
    for other in re.findall(r"--[a-z-]+", said):
        assert other in {*options_of(verb), "--help"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--summary_file", "r.json", "--type", "weak"], "write the file alone: dlbs report FILE"),
        (["report", "r.json", "--target-variable=results.time"], "leave it out: --type prints times"),
        (["help", "--params", "exp.gpus"], "write the name alone: dlbs help NAME"),
        (["plot", "r.json", "--xparam", "exp.num_gpus", "-o", "x.png"], "write --x KEY"),
        (["parse", "logs", "--keys", "exp.model"], "write --output-params KEY,KEY"),
    ],
)
def test_the_error_says_what_to_write(dlbs: RunDlbs, arguments: list[str], said: str) -> None:
    done = dlbs(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", "").split())
    assert "Did you mean" not in done.stderr


VALUES = [(verb, *option.split(" "), said) for verb, option, said in ALL if " " in option]


@pytest.mark.parametrize(("verb", "option", "value", "said"), VALUES, ids=[case[2] for case in VALUES])
def test_a_former_value_is_answered_by_one_of_ours(verb: str, option: str, value: str, said: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    with pytest.raises(click.BadParameter) as raised:
        command.make_context(verb, ["r.json", option, value])
    assert usage_hint(raised.value) == said
    command.make_context(verb, ["r.json", *said.split()[1:]])


def test_another_wrong_value_has_no_such_answer() -> None:
    command = cli.get_command(click.Context(cli), "report")
    assert command is not None
    with pytest.raises(click.BadParameter) as raised:
        command.make_context("report", ["r.json", "--type", "explore"])
    assert not usage_hint(raised.value)


def test_filters_of_series_are_answered_by_names(dlbs: RunDlbs) -> None:
    done = dlbs("plot", "r.json", "--x", "exp.num_gpus", "--series", '[{"exp.model": "resnet50"}]', "-o", "x.png")
    assert done.returncode == 2
    assert "--series: requires names of parameters (write --series exp.model" in done.stderr


def test_a_path_that_the_shell_did_not_expand_says_so(dlbs: RunDlbs) -> None:
    assert "the quotes prevent the shell from expanding it" in dlbs("parse", "${HOME}/logs/*.log").stderr


def test_an_option_of_nobody_is_answered_as_ever(dlbs: RunDlbs) -> None:
    assert "No such option" in dlbs("report", "r.json", "--no-such").stderr
