"""The pytest plugin for unit tests that were written for Repro: `pytest -p dlbs.packs.repro.plugin packs/NAME/tests`."""

from __future__ import annotations

from dlbs.packs.definition import find_packs
from dlbs.packs.provided import provide
from dlbs.packs.repro import MODULES

__all__ = ["pytest_configure"]


def pytest_configure() -> None:
    """Let tests import Repro's modules, and each container pack that is found as `repro.models.NAME`."""
    packages = {
        f"repro.models.{pack.directory.name}": pack.directory
        for pack in find_packs().values()
        if pack.kind == "container" and (pack.directory / "__init__.py").is_file()
    }
    provide(MODULES, packages=packages)
