"""Run tutorial pages and notebooks: `python -m scripts.tutorials FILE...` runs their commands or cells and writes the output into them.

A page contains files, each a fenced block after a line with only the file's name, and commands: indented lines that begin with `$`, followed by the output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_core.doubts import KINDS
from scripts import ROOT

_FILE = r"^`(?P<name>[\w./-]+)`:\n\n```\w*\n(?P<text>.*?)^```$"
_COMMAND = r"^    \$ (?P<command>[^\n]*)\n(?P<output>(?:(?!    \$)(?:    [^\n]*)?\n)*)"
_PART = re.compile(f"{_FILE}|{_COMMAND}", re.MULTILINE | re.DOTALL)
_VERDICTS = "faster|slower|same|inconclusive"


@dataclass(frozen=True)
class GivenFile:
    """A file that the page shows."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command with its output in the page."""

    command: str
    output: str


def parts(page: str) -> Iterator[GivenFile | Command]:
    """The files and commands of a page, from top to bottom."""
    for found in _PART.finditer(page):
        if found["name"]:
            yield GivenFile(found["name"], found["text"])
        else:
            yield Command(found["command"], textwrap.dedent(found["output"]).strip("\n"))


def run_page(page: str, directory: Path, environment: Mapping[str, str]) -> Iterator[tuple[Command, str, int]]:
    """Run a page in an empty directory; yields each command with its output and exit code.

    Args:
        page: Text of the page.
        directory: Directory for `work`, where the files are written and the commands run, and for `dlbs`, a checkout of DLBS.
        environment: Additional environment variables.
    """
    programs, work = directory / "bin", directory / "work"
    programs.mkdir()
    work.mkdir()
    for name, module in (("dlbs", " -m dlbs"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{module} "$@"\n')
        (programs / name).chmod(0o755)
    (directory / "dlbs").symlink_to(ROOT)
    whole = {
        **os.environ, **environment, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(directory),
        "COLUMNS": "120",
    }  # fmt: skip
    for part in parts(page):
        if isinstance(part, GivenFile):
            path = work / part.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(part.text, encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", part.command],
            cwd=work,
            env=whole,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        yield part, "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines()), done.returncode


def masked(output: str) -> list[str]:
    """Mask numbers in lines, and remove everything that depends on them or on the machine's load: warnings and verdicts."""
    kinds = "|".join(map(re.escape, KINDS))
    lines = []
    for line in output.splitlines():
        if re.search(
            rf"^⚠|⚠:|doubtful|turns were disturbed|^  ({kinds}):|would decide it|hardly help|vary too much|^ +--threshold$|^  ({_VERDICTS}):| times as (fast|long) as|: ({_VERDICTS}) \(|^  ±|as fast as",
            line,
        ):
            continue
        line = re.sub(r" ⚠ [^│|]*$", "", line).replace("⚠", "")
        line = re.sub(r"\b[0-9a-f]{7,40}\b", "#", line)
        line = re.sub(r"(?<![A-Za-z_])[-−]?\d[\d.,]*(e[-+]\d+)?( [KMGk]?B\b)?", "#", line)
        line = re.sub(r"# ± #|\\?\[#, #( at # %)?\\?\]", "#", line)
        line = re.sub(rf"\b({_VERDICTS})\b", "VERDICT", line)
        line = re.sub(r"[━─═]+", "─", line)
        line = re.sub(r"# \(?#\)?|# #", "#", line)
        lines.append(" ".join(line.split()))
    return [line for line in lines if line]


def _rewritten(page: str, environment: Mapping[str, str]) -> str:
    """The page with the current output of its commands."""
    with tempfile.TemporaryDirectory() as directory:
        printed = iter(list(run_page(page, Path(directory), environment)))

    def replace(found: re.Match[str]) -> str:
        if found["name"]:
            return found[0]
        command, output, code = next(printed)
        print(f"$ {command.command}\n{output}\nexit code {code}", file=sys.stderr)
        return f"    $ {command.command}\n" + textwrap.indent(output, "    ") + ("\n" if output else "") + "\n"

    return _PART.sub(replace, page)


def executed(path: Path, directory: Path) -> Any:
    """Run a notebook in a directory, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(directory)}}).execute()
    return notebook


def main() -> None:
    """Run the given pages and notebooks."""
    for path in map(Path, sys.argv[1:]):
        if path.suffix == ".ipynb":
            import nbformat

            with tempfile.TemporaryDirectory() as directory:
                nbformat.write(executed(path, Path(directory)), path)
        else:
            path.write_text(_rewritten(path.read_text(encoding="utf-8"), {}), encoding="utf-8")


if __name__ == "__main__":
    main()
