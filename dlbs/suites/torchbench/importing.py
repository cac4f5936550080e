"""Find the requirements of TorchBench models from their sources, without running them."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from dlbs.config.documents import load
from dlbs.core.errors import ConfigError
from dlbs.core.files import read_source
from dlbs.packs.kinds import Surveyed
from dlbs.packs.pack import matches
from dlbs.suites.torchbench.measured.install import MODULES

_SUITE = "torchbenchmark"
_INSTALLING = "utils"  # the package of the suite that install scripts import
_MOST_FILES = 500
_TOKEN = "HUGGING_FACE_HUB_TOKEN"


def model_directories(places: Iterable[Path]) -> list[Path]:
    """Directories with an `__init__.py` among these places or directly in them.

    Raises:
        ConfigError: A place contains none.
    """
    found: list[Path] = []
    for place in places:
        if (place / "__init__.py").is_file() and not any(place.glob("*/__init__.py")):
            found.append(place)
            continue
        inner = [
            path.parent for path in sorted(place.glob("*/__init__.py")) if not path.parent.name.startswith((".", "_"))
        ]
        if _defines_model(place / "__init__.py"):
            inner = [place]
        if not inner:
            raise ConfigError(
                "contains no directories of models", where=str(place), hint="pass the directory models/ of the suite"
            )
        found += inner
    return found


def needs_of(directory: Path) -> Surveyed:
    """The requirements of a directory that this machine lacks."""
    name = directory.resolve().name

    def needs(state: str, reason: str = "") -> Surveyed:
        return Surveyed(name, directory, state, reason)

    if not name.isidentifier():
        return needs("not supported", "its name cannot be imported")
    if not _defines_model(directory / "__init__.py"):
        return needs("not supported", "__init__.py defines no class Model")
    files = list(_reachable(directory))
    imports = sorted({name for file in files for name in _imports(file)})
    missing = [one for one in imports if one.startswith(f"{_SUITE}.util.") and one not in MODULES]
    if missing:
        return needs("not supported", f"dlbs does not provide {missing[0]} of the suite")
    if "HuggingFaceAuthMixin" in read_source(directory / "__init__.py") and not os.environ.get(_TOKEN):
        return needs("not supported", f"its weights require an access token: set {_TOKEN}")
    if reason := _cpu_rejection(directory):
        return needs("GPU", reason)
    if data := _downloads(directory):
        return needs("data", ", ".join(data))
    roots = {one.partition(".")[0] for one in imports} | _roots_of_frameworks(imports)
    absent = sorted(root for root in roots if root not in {_SUITE, _INSTALLING, name} and not _is_here(root))
    if absent:
        return needs("packages", ", ".join(absent))
    return needs("ready")


def _defines_model(path: Path) -> bool:
    return matches(path, r"^class Model\b")


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(read_source(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _reachable(directory: Path) -> Iterator[Path]:
    """Files that run when the directory is imported: its `__init__.py`, and files reached by relative imports."""
    known: set[Path] = set()
    waiting = [directory / "__init__.py"]
    while waiting and len(known) < _MOST_FILES:
        file = waiting.pop()
        if file in known or not file.is_file() or not file.resolve().is_relative_to(directory.resolve()):
            continue
        known.add(file)
        yield file
        for node in _unconditional(_tree(file)):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                waiting += [base.with_suffix(".py"), base / "__init__.py"]
                for name in node.names:
                    waiting += [base / f"{name.name}.py", base / name.name / "__init__.py"]


def _unconditional(tree: ast.Module | None) -> Iterator[ast.stmt]:
    """Statements that run on import; except those in functions and under `try`, which may fail."""
    waiting = list(tree.body) if tree is not None else []
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.ClassDef, ast.With)):
            waiting += node.body


def _imports(file: Path) -> Iterator[str]:
    """Modules that a file imports absolutely, and parts of the suite that it imports relatively."""
    for node in _unconditional(_tree(file)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom) and node.level == 3 and file.name == "__init__.py":
            yield f"{_SUITE}.{node.module}" if node.module else _SUITE


def _roots_of_frameworks(imports: Iterable[str]) -> set[str]:
    """Packages that the provided parts of the suite import themselves."""
    needed = {"vision": "torchvision", "huggingface": "transformers", "timm": "timm", "gnn": "torch_geometric"}
    return {
        package
        for one in imports
        for kind, package in needed.items()
        if one.startswith(f"{_SUITE}.util.framework.{kind}")
    }


@cache
def _is_here(root: str) -> bool:
    if root in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(root) is not None
    except (ImportError, ValueError):
        return False


def _cpu_rejection(directory: Path) -> str:
    """The reason that it cannot run on a CPU in any phase; empty if it may."""
    path = directory / "metadata.yaml"
    refused: set[str] = set()
    if path.is_file():
        try:
            data = load(path).data
        except ConfigError:
            data = {}
        for entry in (data.get("not_implemented") or ()) if isinstance(data, dict) else ():
            if isinstance(entry, dict) and entry.get("device") == "cpu" and not set(entry) - {"device", "test"}:
                refused |= {str(entry["test"])} if "test" in entry else {"train", "eval"}
    if refused == {"train", "eval"}:
        return "metadata.yaml: not implemented on CPUs"
    return "__init__.py raises NotImplementedError on CPUs" if _raises_on_cpus(_tree(directory / "__init__.py")) else ""


def _raises_on_cpus(tree: ast.Module | None) -> bool:
    """Whether the constructor of the class Model, or the methods of both phases, reject CPUs."""
    refusing = {
        method.name if method.name.startswith("__") else method.name.removeprefix("_")
        for model in (tree.body if tree is not None else ())
        if isinstance(model, ast.ClassDef) and model.name == "Model"
        for method in model.body
        if isinstance(method, ast.FunctionDef) and any(_rejects_cpus(statement) for statement in method.body)
    }
    return "__init__" in refusing or {"train", "eval"} <= refusing


def _rejects_cpus(statement: ast.stmt) -> bool:
    """`if device == "cpu": raise NotImplementedError(...)`, or the same with `not device == "cuda"` or `device != "cuda"`."""
    if not isinstance(statement, ast.If) or not any(isinstance(one, ast.Raise) for one in statement.body):
        return False
    raised = next(one for one in statement.body if isinstance(one, ast.Raise))
    if "NotImplementedError" not in ast.unparse(raised):
        return False
    condition = ast.unparse(statement.test).replace("self.", "").replace('"', "'")
    return condition in {"device == 'cpu'", "device != 'cuda'", "not device == 'cuda'"}


def _downloads(directory: Path) -> list[str]:
    """Downloads of its install.py from the suite's server that are missing."""
    tree = _tree(directory / "install.py")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree is not None else []
    names = []
    for call in calls:
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if called == "checkout_s3_data" and len(call.args) > 1 and isinstance(call.args[1], ast.Constant):
            kind, name = (ast.unparse(argument).strip("'") for argument in call.args[:2])
            if not _is_downloaded(directory.resolve(), kind, name):
                names.append(name)
    return names


def _is_downloaded(directory: Path, kind: str, name: str) -> bool:
    """Whether data exist where install.py and the model expect them: archives in the data of the suite, files of a model in its directory."""
    if not kind.endswith("INPUT_TARBALLS"):
        return (directory.parent / name).exists()
    in_checkout = directory.parent.parent.name == _SUITE
    data = (
        directory.parents[1] / "data" / ".data"
        if in_checkout
        else Path(os.environ.get("DLBS_DATA_DIR") or "data") / "torchbench"
    )
    return (data / name.partition(".tar")[0]).exists() or (data.parent / name).is_file()
