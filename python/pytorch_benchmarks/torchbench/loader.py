"""Import a model's directory as TorchBench would, and use it in either of the forms that TorchBench models have."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.errors import BenchmarkError, SkippedError, UsageError
from pytorch_benchmarks.load_errors import reason
from pytorch_benchmarks.torchbench import model as model_module
from pytorch_benchmarks.torchbench import tasks

__all__ = ["Phase", "instances", "load_class", "make", "module_of", "phase_of"]

_TORCHBENCH = "torchbenchmark"  # the package that such models import from, absolutely or relatively

Phase = Callable[[], Any]


def load_class(directory: Path) -> type:
    """The class `Model` of a directory, which is imported as `torchbenchmark.models.NAME`, so that its imports of TorchBench find ours.

    Raises:
        UsageError: There is no such directory, it cannot be imported, or it has no class Model.
    """
    directory = directory.resolve()
    if not (directory / "__init__.py").is_file():
        raise UsageError(f"{directory} is no model: it has no __init__.py")
    if not directory.name.isidentifier():
        raise UsageError(f"{directory.name!r} cannot be imported: call the directory with letters, digits and _")
    _provide_torchbench()
    name = f"{_TORCHBENCH}.models.{directory.name}"
    spec = importlib.util.spec_from_file_location(
        name, directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
    assert spec is not None
    assert spec.loader is not None
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(directory / "__init__.py"):
        module = known
    else:
        for other in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[other]  # of another directory of that name
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(f"{directory.name} cannot be imported: {type(error).__name__}: {reason(error)}") from error
    found = getattr(module, "Model", None)
    if not inspect.isclass(found):
        raise UsageError(f"{directory / '__init__.py'} defines no class Model")
    return found


def _provide_torchbench() -> None:
    """Make `torchbenchmark` importable, as far as models need it, unless it is installed."""
    if _TORCHBENCH in sys.modules or importlib.util.find_spec(_TORCHBENCH) is not None:
        return
    for name in (_TORCHBENCH, f"{_TORCHBENCH}.util", f"{_TORCHBENCH}.models"):
        package = ModuleType(name, "What models written for TorchBench import; provided by pytorch_benchmarks.")
        package.__path__ = []
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    for name, module in ((f"{_TORCHBENCH}.util.model", model_module), (f"{_TORCHBENCH}.tasks", tasks)):
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)


def make(
    found: type,
    test: str,
    device: str,
    batch_size: int | None,
    extra_args: list[str] | None = None,
    *,
    jit: bool = False,
) -> Any:
    """Construct a model in the form that it has.

    Raises:
        SkippedError: It does not support this.
    """
    parameters = inspect.signature(found).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    wanted: dict[str, Any] = {
        "test": test,
        "device": device,
        "batch_size": batch_size,
        "extra_args": list(extra_args or []),
        "jit": jit,
    }
    if not takes_any or "test" in parameters:
        wanted = {name: value for name, value in wanted.items() if name in parameters or (takes_any and name != "jit")}
    try:
        made = found(**wanted)
        if jit and "jit" not in parameters:
            _require(made, "jit_callback")()
    except NotImplementedError as error:
        raise SkippedError(
            f"{test} on {device}{' with jit' if jit else ''} is not supported: {error or 'NotImplementedError'}"
        ) from None
    return made


def _require(made: Any, name: str) -> Callable[[], Any]:
    method = getattr(made, name, None)
    if method is None:
        raise NotImplementedError(name)
    return method


def phase_of(made: Any, test: str) -> Phase:
    """What runs one batch: `train` or `eval`; those of the first form take a number of turns.

    Raises:
        BenchmarkError: The model has no such method.
    """
    method = getattr(made, test, None)
    if method is None:
        raise BenchmarkError(f"the class Model has no method {test}")
    if "niter" in inspect.signature(method).parameters:
        return lambda: method(niter=1)
    return method


def module_of(made: Any) -> tuple[nn.Module, Any] | None:
    """The network and its inputs; None if the model does not give them."""
    try:
        module, inputs = made.get_module()
    except (NotImplementedError, AttributeError):
        return None
    return (module, inputs) if isinstance(module, nn.Module) else None


def instances(made: Any) -> int:
    """Instances in a batch: what the model says, or the length of the first input."""
    size = getattr(made, "batch_size", None)
    if isinstance(size, int) and size > 0:
        return size
    found = module_of(made)
    for leaf in torch.utils._pytree.tree_leaves(found[1]) if found else ():
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return len(leaf)
    return 1
