"""Modules of a foreign suite for code that was written for it, unless the suite is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


def provide(
    names: Mapping[str, str],
    *,
    packages: Mapping[str, Path] | None = None,
    constants: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Make a suite's modules importable in this process, backed by modules of ours. An installed suite wins; a module of it that is neither is an ImportError.

    Args:
        names: Module of the suite → module of ours with its names; "" for an empty one.
        packages: Module of the suite → directory of the package to import under that name.
        constants: Module of the suite → its names, for modules without a file.
    """
    finder = next((one for one in sys.meta_path if isinstance(one, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.append(finder)
    finder.names.update(names)
    for name, directory in (packages or {}).items():
        if finder.packages.get(name) != directory:  # another pack of that name: reload its modules
            for loaded in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
                del sys.modules[loaded]
        finder.packages[name] = directory
    for name, values in (constants or {}).items():
        sys.modules.pop(name, None)
        finder.constants[name] = values


class _Finder(MetaPathFinder):
    """A finder of the provided modules."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.packages: dict[str, Path] = {}
        self.constants: dict[str, Mapping[str, object]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        directory = self.packages.get(fullname)
        if directory is not None:
            return importlib.util.spec_from_file_location(
                fullname, directory / "__init__.py", submodule_search_locations=[str(directory)]
            )
        if fullname in self.constants:
            return ModuleSpec(fullname, _Constants(self.constants[fullname]))
        if fullname in self.names:
            return ModuleSpec(fullname, _Provided(self.names[fullname]), is_package=True)
        suite = fullname.partition(".")[0]
        if suite in self.names and fullname.rpartition(".")[0] in self.names:
            raise ModuleNotFoundError(
                f"{fullname} is not provided by DLBS: install {suite}, or remove that import", name=fullname
            )
        return None


class _Provided(Loader):
    """A loader of modules with the names of a module of ours."""

    def __init__(self, ours: str) -> None:
        self.ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if self.ours:
            ours = importlib.import_module(self.ours)
            module.__dict__.update({name: value for name, value in vars(ours).items() if not name.startswith("__")})


class _Constants(Loader):
    """A loader of modules without a file."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self.values)
