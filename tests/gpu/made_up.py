"""Parts of a session whose cases are made up: they need no torch, and do what a test says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.journal import Case, Journal, cases_of
from scripts.gpu.parts import Part, run_part
from tests.conftest import ROOT
from tests.waiting import PATIENCE

__all__ = ["PROGRAM", "environment", "made_up", "outcomes", "run", "start_session", "wait_for"]

# It plans its cases and runs those that are left, as pytest does in a session.
PROGRAM = """
import os, sys, time
from pathlib import Path
from benchmarks.gpu.journal import Case, Journal, out_of_time
journal = Journal.of_environment()
cases = {cases}
for name in journal.plan(list(cases)):
    if out_of_time():
        break
    journal.start(name)
    begin = time.time()
    exec(cases[name])
    journal.finish(Case("", name, "passed", time.time() - begin))
    print("ran", name, flush=True)
"""

# A session with made-up parts on a made-up machine.
SESSION_PROGRAM = """
import scripts.gpu.__main__ as session
from scripts.gpu.parts import Part
session.PARTS = {parts}
session.install = lambda wheels, target: ([], [])
session.ask_machine = lambda environment: dict(torch="2.11.0", gpu="made up")
session.source_digest = lambda: "abc"
raise SystemExit(session.main())
"""


def made_up(name: str, cases: dict[str, str], seconds: float = 1.0, **more: Any) -> Part:
    """A part with these cases, name → Python code."""
    return Part(name, seconds, ("-c", PROGRAM.format(cases=repr(cases))), **more)


def wait_for(*paths: Path) -> str:
    """Code of a case that waits for files."""
    return "\n".join(f"while not Path({str(path)!r}).exists(): time.sleep(0.02)" for path in paths)


def environment() -> dict[str, str]:
    """That of the processes of a part."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(tmp_path: Path, cases: dict[str, str], seconds: float = PATIENCE) -> dict[str, Case]:
    """Run a part with these cases; what the journal says then."""
    journal = Journal(tmp_path / "journal.jsonl")
    run_part(made_up("part", cases), journal, environment(), time.time() + seconds, tmp_path / "log.txt")
    return cases_of(journal.path)


def outcomes(cases: dict[str, Case]) -> dict[str, str]:
    """The outcome of each case."""
    return {name: case.outcome for name, case in cases.items()}


def start_session(parts: tuple[Part, ...], directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a session with these parts, which keeps its state in a directory."""
    program = SESSION_PROGRAM.format(parts=repr(parts))
    return subprocess.Popen(
        [sys.executable, "-c", program, "--state", str(directory), "--out", str(directory), *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
