"""Modules of other suites that DLBS provides to code that was written for them, unless the suite itself is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from dlbs.errors import LaunchError

__all__ = ["provide"]


def provide(
    names: Mapping[str, str],
    *,
    packages: Mapping[str, Path] | None = None,
    constants: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Let imports of a suite's modules find ours in this process. It comes last of all finders: an installed suite wins.

    Args:
        names: Module of the suite → our module that has its names; "" for an empty one.
        packages: Module of the suite → directory of a package that is imported under that name.
        constants: Module of the suite → the names in it, of modules that no file has.
    """
    finder = next((one for one in sys.meta_path if isinstance(one, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.append(finder)
    finder.names.update(names)
    for name, directory in (packages or {}).items():
        if finder.packages.get(name) != directory:  # another pack of that name: its modules are read anew
            for loaded in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
                del sys.modules[loaded]
        finder.packages[name] = directory
    for name, values in (constants or {}).items():
        sys.modules.pop(name, None)
        finder.constants[name] = values


class _Finder(MetaPathFinder):
    """Finds the modules that are provided."""

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
            raise LaunchError(f"{fullname} is not provided by DLBS", hint=f"install {suite}, or leave that import out")
        return None


class _Provided(Loader):
    """A module that has the names of one of ours."""

    def __init__(self, ours: str) -> None:
        self.ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if self.ours:
            ours = importlib.import_module(self.ours)
            module.__dict__.update({name: value for name, value in vars(ours).items() if not name.startswith("__")})


class _Constants(Loader):
    """A module that no file has."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self.values)
