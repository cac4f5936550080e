"""Small experiments for tests that run plans with real processes, and what these leave behind."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from dlbs.logs import parse_line
from tests.conftest import start_dlbs
from tests.forked import Program

DUMMY = ("-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=")


def logs(directory: Path) -> list[Path]:
    """The finished logs of a test's directory."""
    return sorted((directory / "logs").glob("*.log"))


def values(log: Path) -> dict[str, Any]:
    """What a log says."""
    return dict(pair for pair in map(parse_line, log.read_text().splitlines()) if pair)


def launcher(directory: Path, body: str) -> str:
    """A template whose benchmark is `body`, as a -P flag."""
    path = directory / "own.sh"
    path.write_text('{% extends "base.sh" %}{% block benchmark %}\n' + body + "\n{% endblock %}")
    return f"-Pdummy.launcher={path}"


def start(directory: Path, *arguments: str, **environment: str) -> Program | subprocess.Popen[str]:
    """A `dlbs run` of dummies in the background."""
    return start_dlbs(directory, "run", *DUMMY, *arguments, **environment)
