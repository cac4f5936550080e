"""A package `torchbenchmark` with the modules that models import, backed by this package, for machines without the suite."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["ROOT", "provide_for_installing", "provide_torchbench"]

ROOT = "torchbenchmark"  # package that models import from, absolutely or relatively

_OURS = "pytorch_benchmarks.torchbench"
_MODULES = {  # module that models import → module here
    "tasks": f"{_OURS}.tasks",
    "util.model": f"{_OURS}.model",
    "util.extra_args": f"{_OURS}.arguments",
    "util.env_check": f"{_OURS}.randomness",
    "util.distribution": f"{_OURS}.distribution",
    "util.framework.gnn.model_factory": f"{_OURS}.frameworks.gnn",
    "util.framework.huggingface.model_factory": f"{_OURS}.frameworks.huggingface",
    "util.framework.timm.model_factory": f"{_OURS}.frameworks.timm",
    "util.framework.vision.model_factory": f"{_OURS}.frameworks.vision",
}
_INSTALLING = {  # imports of models' install.py, of which only the names are needed
    "utils",
    "utils.python_utils",
    "utils.s3_utils",
    f"{ROOT}.util.framework.gnn",
    f"{ROOT}.util.framework.huggingface.patch_hf",
}
_PACKAGES = {"", "models", "canary_models", "util", "util.framework"}
_PACKAGES |= {name.rpartition(".")[0] for name in _MODULES if name.endswith(".model_factory")}


class _Facade(Loader):
    """A module that re-exports the public names of one of this package; a package has no names."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if not self._ours:
            return
        ours = importlib.import_module(self._ours)
        module.__doc__ = ours.__doc__
        for name in ours.__all__:
            setattr(module, name, getattr(ours, name))


class _InstallingFinder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _INSTALLING:
            return None
        return ModuleSpec(name, _Facade(f"{_OURS}.installing"), is_package=True)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != ROOT and not name.startswith(f"{ROOT}."):
            return None
        inner = name[len(ROOT) + 1 :]
        if inner in _PACKAGES:
            return ModuleSpec(name, _Facade(""), is_package=True)
        if inner in _MODULES:
            return ModuleSpec(name, _Facade(_MODULES[inner]))
        if inner.startswith("util."):
            raise ModuleNotFoundError(f"{name} is not provided: it requires the suite itself", name=name)
        return None


_FINDER = _Finder()


def provide_torchbench(directory: Path) -> None:
    """Make `torchbenchmark` importable, unless it is installed.

    Args:
        directory: Directory of the model. Inside a checkout of the suite, the data are those of the checkout;
            elsewhere they are in `torchbench` in the data directory of packs.
    """
    if _FINDER not in sys.meta_path:
        if ROOT in sys.modules or importlib.util.find_spec(ROOT) is not None:
            return
        sys.meta_path.append(_FINDER)
    package: Any = importlib.import_module(ROOT)
    package.REPO_PATH, package.DATA_PATH = map(str, _paths(directory))


def provide_for_installing(directory: Path) -> None:
    """Make the imports of models' install.py importable: parts of the suite, and its package `utils`.

    Args:
        directory: Directory of the model.
    """
    sys.meta_path.insert(0, _InstallingFinder())
    provide_torchbench(directory)


def _paths(directory: Path) -> tuple[Path, Path]:
    """The root of the suite and its data."""
    if directory.parent.parent.name == ROOT:
        return directory.parents[2], directory.parents[1] / "data" / ".data"
    data = Path(os.environ.get("DLBS_DATA_DIR") or "data").absolute()
    return directory.parent, data / "torchbench"
