"""One table of exit codes, in the code and in the manual."""

from __future__ import annotations

import re

from benchmark_core.exits import EXIT_CODES
from tests.conftest import ROOT


def test_the_manual_has_the_same_table() -> None:
    section = (ROOT / "docs" / "command-line.md").read_text().split("\n## Exit codes\n")[1].split("\n## ")[0]
    rows = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in section.splitlines() if "|" in row]
    assert tuple(rows[2:]) == EXIT_CODES


def test_launchers_and_benchmarks_use_the_codes_of_the_table() -> None:
    codes = {code for whose, code, _ in EXIT_CODES if whose == "a benchmark"}
    used = re.findall(r'"\$code" -eq (\d+)', (ROOT / "scripts" / "launchers" / "base.sh").read_text())
    assert used
    assert set(used) <= codes
