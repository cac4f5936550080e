"""docs/migrating.md says what the program does."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from dlbs.cli.former_options import FORMER_OPTIONS, FORMER_VALUES
from dlbs.cli.main import cli
from dlbs.config.load import load_config
from dlbs.config.migration import EXPRESSIONS, NAMES, Former
from dlbs.text import text
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text()

DECLARED = load_config().declarations


def row_of(one: Former) -> str:
    """A row of the page's table of names, as the program's table has it."""
    new = f"`{one.new}`" if one.new else ""
    changes = []
    for value, settings in one.values.items():
        if settings is None:
            changes.append(f"`{value}` has no equivalent")
        else:
            becomes = " ".join(f"`{name}={text(setting)}`" for name, setting in settings.items())
            changes.append(f"`{value}`: {becomes or 'leave it out'}")
    changes += [f"`{old}`: {f'`{word}`' if word else 'nothing'}" for old, word in one.words.items()]
    if not new and not changes:
        new = "declare it, or rename it" if one.own else "leave it out" if one.omit else "none"
    return f"| `{one.name}` | {', '.join(filter(None, (new, *changes)))} | {one.why} |".replace("|  |", "| |")


@pytest.mark.parametrize("one", NAMES, ids=lambda one: one.name)
def test_every_name_of_the_table_is_in_the_page(one: Former) -> None:
    assert row_of(one) in PAGE


@pytest.mark.parametrize("one", EXPRESSIONS, ids=lambda one: one.shown)
def test_every_expression_is_in_the_page(one: Any) -> None:
    assert f"| {one.shown} | {one.say} |".replace("\\", "") in PAGE


def test_the_tables_have_nothing_else() -> None:
    names = re.findall(r"^\| `([\w.*]+)` \|", PAGE.split("## Names and values")[1].split("\n## ")[0], re.MULTILINE)
    assert names == [one.name for one in NAMES]


def test_every_option_of_the_table_is_in_the_page() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| `(--\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert {(verb, option.replace("_", "-"), said) for verb, option, said in rows} == {
        (verb, option, said) for verb, options in FORMER_OPTIONS.items() for option, said in options.items()
    }


def test_every_value_of_the_table_is_in_the_page() -> None:
    for verb, options in FORMER_VALUES.items():
        for option, values in options.items():
            for value, said in values.items():
                assert f"| `{verb}` | `{option} {value}` | {said} |" in PAGE


def commands() -> list[tuple[str, list[str]]]:
    """Verbs that the page speaks of, with the options behind each."""
    found = []
    for command in re.findall(r"`dlbs ([a-z-]+(?: [^`]*)?)`", PAGE):
        verb, *rest = command.split()
        found.append((verb, [word.split("=")[0] for word in rest if re.fullmatch(r"--[a-z_-]+(=.*)?", word)]))
    return found


@pytest.mark.parametrize(("verb", "options"), commands())
def test_the_commands_exist_with_their_options(verb: str, options: list[str]) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    known = {opt for parameter in command.params for opt in (*parameter.opts, *parameter.secondary_opts)}
    if not isinstance(command, click.Group):
        assert {option.replace("_", "-") for option in options} <= known


def test_the_parameters_that_the_page_advises_exist() -> None:
    advised = set(re.findall(r"`-[PV]((?:exp|pytorch|runtime|monitor|slurm)\.[\w.]+)=", PAGE))
    assert advised
    assert advised <= set(DECLARED)


def test_the_log_keys_exist() -> None:
    keys = (ROOT / "docs" / "log-format.md").read_text()
    section = PAGE.split("## Log keys")[1].split("\n## ")[0]
    rows = [row.split("|") for row in section.splitlines() if row.startswith("| `")]
    assert rows
    for row in rows:
        for key in re.findall(r"`((?:results|exp)\.[\w.]+)`", row[2]):
            assert f"`{key}`" in keys or key in DECLARED or key.rpartition(".")[0] + ".*`" in keys, key
