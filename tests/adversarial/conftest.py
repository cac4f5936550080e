"""What the tables of hostile input share: one process that runs their command lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversarial.commands import Commands


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Command lines of dlbs, each in a child process with limits."""
    with Commands() as running:
        yield running
