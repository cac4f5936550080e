"""The manual keeps up with the program."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from dlbs.cli.main import cli
from dlbs.config.load import load_config
from dlbs.language.functions import FUNCTIONS
from dlbs.results.keys import markdown_table
from tests.conftest import ROOT, RunDlbs

DOCS = ROOT / "docs"


@pytest.mark.parametrize("verb", cli.list_commands(click.Context(cli)))
def test_every_option_is_in_the_command_line_page(verb: str) -> None:
    page = (DOCS / "command-line.md").read_text()
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert f"\n## {verb}\n" in page
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}" in page, parameter.opts


def test_every_function_is_in_the_expressions_page() -> None:
    page = (DOCS / "expressions.md").read_text()
    for name in FUNCTIONS:
        assert re.search(rf"\b{name.split('.')[-1]}\b", page), name


def test_the_table_of_keys_is_that_of_the_program() -> None:
    page = (DOCS / "log-format.md").read_text()
    assert page.partition("-->\n\n")[2].partition("\n<!-- end of keys")[0] == markdown_table()


def examples() -> list[tuple[str, str]]:
    """Commands in the manual that need no logs, with what they print; `...` stands for the rest."""
    found = []
    for page in ("configuration.md", "expressions.md"):
        for command, output in re.findall(
            r"^    \$ dlbs (.*)\n((?:    (?!\$).*\n)*)", (DOCS / page).read_text(), re.MULTILINE
        ):
            found.append((command, output))
    return found


@pytest.mark.parametrize(("command", "output"), examples())
def test_examples_print_what_the_manual_says(dlbs: RunDlbs, command: str, output: str) -> None:
    done = dlbs(*shlex.split(command))
    printed = (done.stdout + done.stderr).replace(f"{ROOT}/", "").split()
    expected = output.split()
    if expected[-1] == "...":
        expected.pop()
        printed = printed[: len(expected)]
    assert " ".join(printed) == " ".join(expected)


def test_links_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", *ROOT.glob("examples/*/README.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def test_examples_are_valid_plans() -> None:
    for plan in ROOT.glob("examples/*/*.yaml"):
        assert load_config([plan])


def test_the_repository_names_no_machine_paths() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        assert "/root/" not in page.read_text()


# zsh refuses a word with an unquoted bracket that matches no file.
_UNQUOTED = re.compile(r"(?<![\"'])-[PVE][\w.,]*=\[|pip install (?:-\S+ )*[\w.]+\[")


@pytest.mark.parametrize("directory", ["README.md", "docs", "examples", "dlbs", "config", "python", "scripts"])
def test_examples_can_be_pasted_into_zsh(directory: str) -> None:
    place = ROOT / directory
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.suffix in _PAGES]
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _UNQUOTED.search(line)
    ]
    assert not found, "\n".join(found)


_PAGES = {".md", ".py", ".yaml", ".sh", ".ipynb", ".html", ".j2"}
