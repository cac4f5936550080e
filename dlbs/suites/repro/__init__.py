"""Repro (github.com/danieldeutsch/repro): model files written for it run as container packs, their unit tests with `pytest -p dlbs.suites.repro`."""

from __future__ import annotations

from pathlib import Path

from benchmark_core.provided import provide
from dlbs.packs.containers import ContainerKind
from dlbs.packs.definition import find_packs
from dlbs.packs.kinds import Provided, kind_of
from dlbs.packs.pack import Pack, imports

# Module of Repro → module here with its names.
MODULES = {
    "repro": "dlbs.suites.repro.models",
    "repro.commands": "",
    "repro.commands.subcommand": "dlbs.suites.repro.models",
    "repro.common": "dlbs.suites.repro.data",
    "repro.common.checks": "dlbs.suites.repro.data",
    "repro.common.docker": "dlbs.suites.repro.models",
    "repro.common.io": "dlbs.suites.repro.data",
    "repro.common.registrable": "dlbs.packs.container_model",
    "repro.common.tempdir": "dlbs.suites.repro.data",
    "repro.common.util": "dlbs.suites.repro.values",
    "repro.data": "",
    "repro.data.dataset_readers": "dlbs.suites.repro.data",
    "repro.data.output_writers": "dlbs.suites.repro.data",
    "repro.data.types": "dlbs.suites.repro.values",
    "repro.models": "dlbs.suites.repro.models",
    "repro.models.model": "dlbs.suites.repro.models",
    "repro.testing": "dlbs.suites.repro.values",
    "overrides": "dlbs.suites.repro.models",
}


class ReproKind(ContainerKind):
    """A container pack whose model file was written for Repro."""

    name = "repro"
    precedence = 30
    files = ""  # those of a container
    template = None

    def recognises(self, directory: Path) -> bool:
        return super().recognises(directory) and any(
            imports(directory / name, "repro") for name in ("model.py", "models.py")
        )

    def provides(self, pack: Pack) -> Provided:
        from dlbs.suites.repro import data  # noqa: F401  # it registers readers and writers of Repro's names

        if (pack.directory / "__init__.py").is_file():
            beside = [one for one in pack.directory.parent.iterdir() if (one / "__init__.py").is_file()]
            return Provided(MODULES, {_package(one): one for one in beside})  # some import modules of packs beside them
        repository, _, version = pack.image.rpartition(":")
        constants = {
            "MODEL_NAME": pack.directory.name,
            "DEFAULT_IMAGE": pack.image,
            "DOCKERHUB_REPO": repository or pack.image,
            "VERSION": version,
            "AUTOMATICALLY_PUBLISH": False,
        }
        return Provided(MODULES, constants={_package(pack.directory): constants})


KIND = ReproKind


def _package(directory: Path) -> str:
    return f"repro.models.{directory.name}"


def pytest_configure() -> None:
    """Let tests import Repro's modules, and each container pack that is found as `repro.models.NAME`."""
    packs = (pack for pack in find_packs().values() if isinstance(kind_of(pack), ContainerKind))
    provide(
        MODULES,
        packages={
            _package(pack.directory): pack.directory for pack in packs if (pack.directory / "__init__.py").is_file()
        },
    )
