"""How many hostile cases there are, by surface: `python -m tests.adversarial.counts`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.adversarial import test_documents as documents
from tests.adversarial import test_launchers as launchers
from tests.adversarial import test_migrate as migrate
from tests.adversarial import test_names as names
from tests.adversarial import test_patterns as patterns
from tests.adversarial import test_results as results
from tests.adversarial import test_until_known as until_known
from tests.conftest import ROOT

__all__ = ["counts"]


def counts() -> Counter[str]:
    """Cases by test file; of a test that runs a whole table, each line is one, in each context, place, way or verb."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header", "tests/adversarial"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = Counter(
        line.split("::")[0].split("/")[-1].removeprefix("test_").removesuffix(".py") for line in listed if "::" in line
    )
    found["documents"] += sum(
        len(table) - 1 for table in (documents.YAML, documents.JSON, documents.PLANS, documents.FLAGS)
    )
    found["until_known"] += len(until_known.OPTIONS) - 1
    found["launchers"] += len(launchers.CONTEXTS) * (len(launchers.VALUES) - 1)
    found["migrate"] += len(migrate.DOCUMENTS) - 1
    found["names"] += len(names.THROUGH) * (len(names.WAYS) - 1)
    found["patterns"] += len(patterns.PATTERNS) * (len(patterns.PLACES) - 1) + len(patterns.PRINTABLE) - 1
    found["results"] += sum(len(results.verbs_of(value)) - 1 for value in results.VALUES)
    found["results"] += len(results.KNOWN) * (len(results.MORE) - 1)
    return found


if __name__ == "__main__":
    for surface, count in counts().most_common():
        print(f"{count:6,} {surface}")
