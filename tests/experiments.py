"""Small experiments for tests that run plans with real processes, and what these leave behind."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlbs.core.logs import parse_line
from tests.conftest import start_dlbs
from tests.forked import ForkServer, Program

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


def start_replicas(
    server: ForkServer, directories: Sequence[Path], program: str, *options: str
) -> list[Program | subprocess.Popen[str]]:
    """Processes of a benchmark or a training, one in each directory, with the environment that torchrun sets: they import no torch, unlike its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    common = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    common |= {"TORCHELASTIC_RUN_ID": "here", "WORLD_SIZE": str(len(directories))}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        server.start(
            program, *options, directory=directory, environment=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank, directory in enumerate(directories)
    ]
