"""Checks of packs, as they are shown while they run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dlbs.packs.kinds import findings_of

PROGRAM = """
import json, pathlib, sys, time
print(json.dumps({"check": "first", "status": "ok", "message": "fine"}), flush=True)
print("what the model itself prints", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
print(json.dumps({"check": "second", "status": "failed", "message": "not fine"}))
"""


@pytest.mark.integration
def test_a_finding_is_shown_before_the_next_check_has_ended(tmp_path: Path) -> None:
    go = tmp_path / "go"
    findings = findings_of([sys.executable, "-c", PROGRAM, str(go)], dict(os.environ))
    assert next(findings) == (True, "first: fine")
    go.touch()
    assert list(findings) == [(False, "second: not fine")]


@pytest.mark.integration
def test_checks_that_say_nothing_have_failed() -> None:
    findings = findings_of([sys.executable, "-c", "raise SystemExit(7)"], dict(os.environ))
    assert list(findings) == [(False, "the checks ended with exit code 7 without output")]
