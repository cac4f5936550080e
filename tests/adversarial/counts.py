"""How many hostile cases there are, by surface: `python -m tests.adversarial.counts`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.adversarial.test_launchers import CONTEXTS, VALUES
from tests.conftest import ROOT

__all__ = ["counts"]


def counts() -> Counter[str]:
    """Cases by test file; a case of a context of launchers is one value in it."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header", "tests/adversarial"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = Counter(
        line.split("::")[0].split("/")[-1].removeprefix("test_").removesuffix(".py") for line in listed if "::" in line
    )
    found["launchers"] += len(CONTEXTS) * (len(VALUES) - 1)
    return found


if __name__ == "__main__":
    for surface, count in counts().most_common():
        print(f"{count:6,} {surface}")
