"""Import a model's directory as TorchBench does, and construct the model in either of the two forms of TorchBench models."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.load_errors import reason
from pytorch_benchmarks.torchbench.provided import ROOT, provide_torchbench

__all__ = ["instances", "load_class", "make", "module_of"]


def load_class(directory: Path) -> type:
    """Import a directory as `torchbenchmark.models.NAME`, with its imports of TorchBench redirected here; return its class `Model`.

    Raises:
        UsageError: The directory does not exist, cannot be imported, or has no class Model.
    """
    directory = directory.resolve()
    if not (directory / "__init__.py").is_file():
        raise UsageError(f"{directory} is not a model: it has no __init__.py")
    if not directory.name.isidentifier():
        raise UsageError(f"{directory.name!r} cannot be imported: rename the directory, using letters, digits and _")
    provide_torchbench(directory)
    name = f"{ROOT}.models.{directory.name}"
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
            del sys.modules[other]  # from another directory of that name
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


def make(
    found: type,
    test: str,
    device: str,
    batch_size: int | None,
    extra_args: list[str] | None = None,
    *,
    jit: bool = False,
) -> Any:
    """Construct a model in its form.

    Raises:
        SkippedError: The model does not support the request.
        UsageError: An argument is unknown to the model.
    """
    # Signature of the constructor, not of the class: TorchBench's metaclass accepts anything.
    parameters = inspect.signature(found.__init__).parameters  # type: ignore[misc]
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
    if extra_args and "extra_args" not in wanted:
        raise UsageError(
            f"the model takes no arguments, so {' '.join(extra_args)} would be ignored: remove them from argv"
        )
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


def module_of(made: Any) -> tuple[nn.Module, Any] | None:
    """The network and its inputs; None if the model does not provide them."""
    try:
        module, inputs = made.get_module()
    except (NotImplementedError, AttributeError):
        return None
    return (module, inputs) if isinstance(module, nn.Module) else None


def instances(made: Any) -> int:
    """Instances in a batch: as stated by the model, or the length of the first input."""
    size = getattr(made, "batch_size", None)
    if isinstance(size, int) and size > 0:
        return size
    found = module_of(made)
    for leaf in torch.utils._pytree.tree_leaves(found[1]) if found else ():
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return len(leaf)
    return 1
