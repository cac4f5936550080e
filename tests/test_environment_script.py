"""scripts/environment.sh: what it sets in a user's shell, and that it changes nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration  # starts shells

PROMISED = {"DLBS_ROOT", "PATH", "experimenter", "logparser", "reporter", "plotter"}

# Everything that a shell can tell about itself. What changes by itself, such as the time, is left out.
STATE = {
    "bash": "{ declare -p; alias; declare -f; shopt; set +o; trap; pwd; umask; complete; }"
    " | grep -vE '^declare -[^ ]* (_|BASH_[A-Z]*|LINENO|PIPESTATUS|RANDOM|SRANDOM|SECONDS|EPOCH[A-Z]*|FUNCNAME)='",
    "zsh": "{ typeset; alias; functions; setopt; trap; pwd; umask; dirs; }"
    " | grep -vE '^([^=]* )?(_|[?!$]|LINENO|RANDOM|SECONDS|EPOCH[A-Z]*|TTYIDLE|status|pipestatus|ZSH_EVAL_CONTEXT)='",
}

START = {"bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"]}

shells = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed"))
        for shell in STATE
    ],
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with its virtual environment, in a directory with a difficult name."""
    root = tmp_path / "check out $(touch pwned)"
    for directory in ("scripts", "dlbs", ".venv/bin", "elsewhere"):
        (root / directory).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment.sh", root / "scripts")
    for program in ("experimenter", "logparser", "report", "plotter"):
        shutil.copy(ROOT / "dlbs" / f"{program}.py", root / "dlbs")
    program = root / ".venv" / "bin" / "dlbs"
    program.write_text('#!/bin/sh\necho "dlbs $*"\n')
    program.chmod(0o755)
    return root


def run(shell: str, script: str, directory: Path, environ: Mapping[str, str] | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DLBS_ROOT"}
    done = subprocess.run(
        [*START[shell], "-c", script],
        cwd=directory,
        env={**environment, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not done.stderr
    assert done.returncode == 0
    return done.stdout


@shells
def test_nothing_but_what_is_promised_changes(shell: str, checkout: Path) -> None:
    script = f"{STATE[shell]} >before; . ../scripts/environment.sh; {STATE[shell]} >after"
    run(shell, f"alias cd='echo no' ls='ls -l'; CDPATH=/tmp:/; set -u; {script}", checkout / "elsewhere")
    before, after = [set((checkout / "elsewhere" / name).read_text().splitlines()) for name in ("before", "after")]
    changed = {
        re.sub(r"^(alias|declare -x|export|array tied PATH|tied path) ", "", line).split("=")[0]
        for line in before ^ after
    }
    assert changed - {"path"} == PROMISED  # path is zsh's list of what PATH has
    assert not list(checkout.parent.rglob("pwned"))


@shells
@pytest.mark.parametrize("way", [". ../scripts/environment.sh", "source {root}/scripts/environment.sh"])
def test_what_is_set(shell: str, way: str, checkout: Path) -> None:
    quoted = str(checkout).replace("$", "\\$").replace(" ", "\\ ").replace("(", "\\(").replace(")", "\\)")
    shown = 'printf "%s\\n" "$DLBS_ROOT" "$PATH" "$experimenter" "$logparser" "$reporter" "$plotter"'
    output = run(shell, f"{way.format(root=quoted)}; {shown}", checkout / "elsewhere", {"PATH": "/usr/bin:/bin"})
    root = str(checkout)
    assert output.splitlines() == [
        root,
        f"{root}/.venv/bin:/usr/bin:/bin",
        *(f"{root}/dlbs/{program}.py" for program in ("experimenter", "logparser", "report", "plotter")),
    ]


@shells
def test_sourcing_it_again_changes_nothing_more(shell: str, checkout: Path) -> None:
    once, twice = [
        run(shell, f'{". scripts/environment.sh; " * times} echo "$PATH"; alias', checkout) for times in (1, 2)
    ]
    assert once == twice


@shells
def test_the_aliases(shell: str, checkout: Path) -> None:
    expand = "shopt -s expand_aliases; " if shell == "bash" else ""
    calls = "\n".join(f"eval '{name} a --b'" for name in ("experimenter", "logparser", "reporter", "plotter"))
    output = run(shell, f"{expand}. scripts/environment.sh\n{calls}", checkout)
    assert output.splitlines() == ["dlbs a --b", "dlbs parse a --b", "dlbs report a --b", "dlbs plot a --b"]


@shells
def test_the_variables_name_programs_that_start(shell: str, checkout: Path) -> None:
    each = 'for p in "$experimenter" "$logparser" "$reporter" "$plotter"; do test -f "$p" && echo ok; done'
    script = f". {ROOT}/scripts/environment.sh 2>/dev/null; {each}"
    assert run(shell, script, checkout).split() == ["ok"] * 4


@shells
def test_without_the_program_it_says_so(shell: str, checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    output = run(shell, '. scripts/environment.sh 2>&1; echo "$PATH"', checkout, {"PATH": "/usr/bin:/bin"})
    message, path = output.splitlines()
    assert "make venv" in message
    assert path == "/usr/bin:/bin"


def test_another_shell_is_told_so(checkout: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", ". scripts/environment.sh"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if "BASH_VERSION" in subprocess.run(["sh", "-c", "set"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("sh is bash here")
    assert done.stderr == "environment.sh: made for bash and zsh\n"


@shells
def test_an_installed_copy(shell: str, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "dlbs"
    (package / "shipped" / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment.sh", package / "shipped" / "scripts")
    (package / "experimenter.py").touch()
    program = tmp_path / "bin" / "dlbs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = f"{program.parent}:/usr/bin:/bin"
    script = f'. {package}/shipped/scripts/environment.sh; echo "$DLBS_ROOT $experimenter $PATH"'
    assert run(shell, script, tmp_path, {"PATH": path}).split() == [
        str(package / "shipped"),
        str(package / "experimenter.py"),
        path,
    ]
