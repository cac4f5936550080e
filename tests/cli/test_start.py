"""The start of the program: verbs import what they use, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

_PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ['dlbs', *sys.argv[1:]]
from dlbs.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(*sorted(sys.modules), sep='\\n', file=open('modules', 'w'))
"""
DUMMY = ["-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus="]

# Module → the runs that need it. All others start without it.
ELSEWHERE = {
    "click.shell_completion": "shell completion",
    "sqlite3": "a store",
    "dlbs.cli.completion": "shell completion",
    "secrets": "serving pages",
}
OF_RUNS = {
    "dlbs.executors.slurm": "--executor slurm",
    "dlbs.executors.ssh": "--nodes",
    "dlbs.packs.typed_names": "a parameter that only the command line sets",
    "dlbs.machine.monitor": "monitor.interval",
    "dlbs.packs.extend": "a pack",
    "dlbs.plan.explain": "dlbs explain",
    "dlbs.adaptive": "--until-known",
    "dlbs.results": "--until-known",
    "rich": "a terminal",
    "statistics": "monitor.interval",
}


def imported(directory: Path, *arguments: str) -> set[str]:
    """The modules that a verb has imported when it ends."""
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], cwd=directory, capture_output=True, text=True, check=True
    )
    return set((directory / "modules").read_text().splitlines())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], {"dlbs.config", "dlbs.language", "dlbs.plan", "subprocess", "tempfile", "yaml"}),
        (
            ["build", "-o", "plan.json", *DUMMY],
            {"dlbs.launch", "dlbs.run", "jinja2", "subprocess", "tempfile"},
        ),
        (["run", "--quiet", *DUMMY], {*OF_RUNS}),
        (["run", "--quiet", "--no-validation", *DUMMY], {*OF_RUNS, "dlbs.run.validate"}),
    ],
    ids=["version", "build", "run", "run without validation"],
)
def test_a_verb_imports_nothing_for_what_it_does_not_do(tmp_path: Path, arguments: list[str], absent: set[str]) -> None:
    assert imported(tmp_path, *arguments) & {*ELSEWHERE, *absent} == set()


@pytest.mark.integration
def test_running_a_plan_builds_none(tmp_path: Path) -> None:
    imported(tmp_path, "build", "-o", "plan.json", *DUMMY)
    modules = imported(tmp_path, "run", "--quiet", "--plan", "plan.json")
    assert modules & {*ELSEWHERE, *OF_RUNS, "dlbs.plan.build"} == set()
    assert "dlbs.plan.compile" in modules


@pytest.mark.integration
def test_the_shipped_configuration_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "yaml" in imported(tmp_path, "run", "--quiet", *DUMMY)
    assert "yaml" not in imported(tmp_path, "run", "--quiet", *DUMMY)


@pytest.mark.integration
def test_a_report_on_few_logs_needs_neither_plans_nor_a_cache(tmp_path: Path) -> None:
    imported(tmp_path, "run", "--quiet", *DUMMY)
    modules = imported(tmp_path, "report", "logs")
    assert (
        modules & {*ELSEWHERE, "dlbs.launch", "dlbs.plan.compile", "dlbs.results.read.query", "rich._emoji_codes"}
        == set()
    )
    assert "dlbs.results.tables.table" in modules
