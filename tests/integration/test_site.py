"""`make docs`: the site builds without a warning, finds its own pages, needs no other host, and has all that it is generated from; so do the man pages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import click
import pytest

import dlbs
from dlbs.cli.main import cli
from dlbs.config.load import load_config
from dlbs.results.keys import known_keys
from tests.conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.release]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `site/` and `man/`."""
    directory = tmp_path_factory.mktemp("built")
    done = build(ROOT, directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def build(root: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "scripts.site",
        "--output",
        str(directory / "site"),
        "--man",
        str(directory / "man"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "python")])}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def words(built: Path, page: str) -> str:
    """The text of a page of the site."""
    return unescape(re.sub(r"<[^>]+>", "", (built / "site" / page).read_text()))


def verbs(command: click.Command = cli, path: str = "dlbs") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None
            yield from verbs(child, f"{path} {name}")


def test_every_page_of_the_manual_is_there(built: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (built / "site" / f"{page.stem}.html").is_file()
    for example in (ROOT / "examples").glob("*/README.md"):
        assert (built / "site" / "examples" / f"{example.parent.name}.html").is_file()


def test_references_have_what_the_program_has(built: Path) -> None:
    commands = words(built, "reference/commands.html")
    for path, command in verbs():
        assert re.search(rf"^{re.escape(path)}\b", commands, re.MULTILINE), path
        for option in command.params:
            if isinstance(option, click.Option):
                assert max(option.opts, key=len) in commands
    parameters = words(built, "reference/parameters.html")
    for name in load_config().declarations:
        assert name in parameters
    keys = words(built, "reference/keys.html")
    assert [key for key in known_keys() if key not in keys] == []
    api = words(built, "reference/api.html")
    for name in dlbs.__all__:
        assert name == "__version__" or name in api
    assert "Raises" in api


def test_the_search_finds_pages(built: Path) -> None:
    index = json.loads((built / "site" / "search" / "search_index.json").read_text())
    found = {one["location"].partition("#")[0] for one in index["docs"] if "geometric mean" in one["text"]}
    assert "reporting.html" in found
    assert any(one["location"].startswith("reference/keys.html") for one in index["docs"])


def test_nothing_is_loaded_from_another_host(built: Path) -> None:
    for page in (built / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link rel="(?:stylesheet|preconnect|icon)")[^>]*(?:src|href)="(\w+://[^"]+)"',
            page.read_text(),
        )
        assert loaded == [], page


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    for name in ("config", "dlbs", "docs", "examples", "python", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "site-packages"))
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "pyproject.toml"):
        shutil.copy(path, tmp_path)
    with (tmp_path / "docs" / "store.md").open("a") as page:
        page.write("\nSee [there](nowhere.md) and [here](slurm.md#no-such-heading).\n")
    done = build(tmp_path, tmp_path)
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr
    assert "'slurm.md#no-such-heading'" in done.stderr


def test_every_command_has_a_man_page(built: Path) -> None:
    names = {path.replace(" ", "-"): command for path, command in verbs()}
    pages = {path.stem: path for path in (built / "man" / "man1").iterdir()}
    assert pages.keys() == names.keys()
    for name, path in pages.items():
        text = path.read_text()
        assert text.startswith('.TH "')
        options = ["OPTIONS"] if names[name].params else []
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", *options, "SEE ALSO"):
            assert f"\n.SH {section}\n" in text, (name, section)
        for other in re.findall(r"^\.BR (\S+) \(1\)$", text, re.MULTILINE):
            assert other.replace("\\-", "-") in names
    if shutil.which("groff"):
        files = [str(path) for path in pages.values()]
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", *files], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert "dlbs compare logs --by runtime.malloc --baseline system" in done.stdout
