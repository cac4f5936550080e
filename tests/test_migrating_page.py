"""docs/migrating.md says what the program does."""

from __future__ import annotations

import re

import click
import pytest

from dlbs.cli.main import cli
from dlbs.config.load import load_config
from dlbs.config.names import table
from scripts.yaml_tables import with_tables
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text()

DECLARED = load_config().declarations


def test_its_tables_are_those_of_the_program() -> None:
    assert with_tables(PAGE) == PAGE, "make docs"
    for one in table().names:
        assert f"\n| `{one.name}` | " in PAGE
    for expression in table().expressions:
        assert f"| {expression.say} |" in PAGE
    for options in table().options.values():
        for said in options.values():
            assert f"| {said} |" in PAGE


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
