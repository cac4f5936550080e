"""Every registry is the only list of its names: verbs offer exactly those, the manual describes all, and each leads to a function."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from dlbs.cli.main import cli
from dlbs.core.errors import LogError, Registry, registered
from dlbs.results.plots.kinds import KINDS as PLOTS
from dlbs.results.statistics.ratio import ESTIMATORS
from dlbs.results.tables.cells import AGGREGATES
from dlbs.results.tables.formats import BINARY_FORMATS, FORMATS, TERMINAL
from dlbs.results.tables.report import KINDS as TABLES
from tests.conftest import ROOT

REGISTRIES = {
    "plots": PLOTS,
    "tables": TABLES,
    "aggregates": AGGREGATES,
    "formats": FORMATS,
    "binary formats": BINARY_FORMATS,
    "estimators": ESTIMATORS,
}

OPTIONS = [
    ("plot", "--type", list(PLOTS)),
    ("report", "--type", list(TABLES)),
    ("report", "--aggregate", list(AGGREGATES)),
    ("report", "--format", [TERMINAL, *FORMATS, *BINARY_FORMATS]),
    ("compare", "--format", [TERMINAL, *FORMATS, *BINARY_FORMATS]),
    ("compare", "--estimator", list(ESTIMATORS)),
    ("parse", "--failed-benchmarks", ["keep", "discard", "keep_separately"]),
]


@pytest.mark.parametrize(
    ("registry", "name"), [(kind, name) for kind, registry in REGISTRIES.items() for name in registry]
)
def test_every_name_leads_to_a_function(registry: str, name: str) -> None:
    assert callable(registered(REGISTRIES[registry], name, "name"))


def test_an_unknown_name_is_an_error_with_a_hint() -> None:
    registry: Registry = {"bars": ("a:b", "bars")}
    with pytest.raises(LogError, match=r"unknown plot 'bar' \(did you mean 'bars'"):
        registered(registry, "bar", "plot")
    with pytest.raises(LogError, match=r"unknown plot 'x' \(choose from bars"):
        registered(registry, "x", "plot")


@pytest.mark.parametrize(("verb", "flag", "names"), OPTIONS)
def test_verbs_offer_what_is_registered(verb: str, flag: str, names: list[str]) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    (option,) = [one for one in command.params if flag in one.opts]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == names


@pytest.mark.parametrize(("verb", "flag", "names"), OPTIONS)
def test_the_manual_names_everything_that_is_registered(verb: str, flag: str, names: list[str]) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    section = page.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
    if (verb, flag) == ("compare", "--format"):  # refers to report
        section = page.partition("\n## report\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| `{flag}")]
    if (verb, flag) == ("plot", "--type"):  # refers to the page about plots
        row = (ROOT / "docs" / "plots.md").read_text()
    assert set(names) <= set(re.findall(r"[\w-]+", row)), row


@pytest.mark.integration
@pytest.mark.parametrize("verb", ["plot", "report", "compare", "bisect", "parse", "db", "serve"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = (
        f"import sys; sys.argv = ['dlbs', '{verb}', '--help']\n"
        "from dlbs.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'pandas', 'numpy', 'matplotlib', 'scipy', 'sqlalchemy', 'rich.table'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
