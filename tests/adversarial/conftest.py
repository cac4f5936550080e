"""What the tables of hostile input share: they are integration tests, and one process runs their command lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversarial.commands import Commands


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the test: hostile input is given to processes of their own."""
    item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Command lines of dlbs, each in a child process with limits."""
    with Commands() as running:
        yield running
