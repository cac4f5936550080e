"""Models by their names: register_model, list_models, get_model, and architectures, files that register more of them."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

from pytorch_benchmarks import models
from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.load_errors import reason
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import BUILDERS, Builder, register_model

__all__ = [
    "ModelFactory",
    "UnknownModelError",
    "builder_of",
    "get_model",
    "list_models",
    "load_architecture",
    "register_model",
]

_LOADED: dict[str, list[str]] = {}  # module of an architecture → its models


def _load() -> dict[str, Builder]:
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    return BUILDERS


def load_architecture(file: str | os.PathLike[str]) -> list[str]:
    """Run a Python file that registers models; it may import files beside it relatively (`from .blocks import Block`).

    Returns:
        Their names, sorted.

    Raises:
        UsageError: There is no such file, it cannot be run, or it registers none.
    """
    path = Path(file).resolve()
    if not path.is_file():
        raise UsageError(f"--architecture: there is no file {file}")
    name = f"architecture_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    before = set(_load())
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
        if spec is None or spec.loader is None:
            raise UsageError(f"--architecture: {file} is no Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(
                f"--architecture: {file} cannot be imported: {type(error).__name__}: {reason(error)}"
            ) from error
        _LOADED[name] = sorted(set(BUILDERS) - before)
    if not _LOADED[name]:
        raise UsageError(f"--architecture: {file} registers no model: decorate a builder with @register_model")
    return _LOADED[name]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models, sorted, that match a shell pattern: `list_models("resnet*")`."""
    return sorted(name for name in _load() if fnmatch.fnmatchcase(name, pattern))


def get_model(name: str, *, weights: str = "", **options: Any) -> Model:
    """Build a model, with random weights or with trained ones.

    Args:
        name: Of a registered model, or `PROVIDER:MODEL` for one of another package.
        weights: An entry, a file of tensors, or the name of an entry: see `weights.find_weights`. The options that an entry has are
            the builder's unless others are given.
        options: Keyword arguments of its builder. `norm` and `activation` are constructors of layers, or names of such.

    Raises:
        UnknownModelError: The message names the closest models.
        UsageError: The provider's package does not import, or the weights cannot be had.
        TypeError: The model does not have one of the options.
    """
    if not weights:
        return _built(name, options)
    from pytorch_benchmarks.models.weights import find_weights

    entry = find_weights(weights, name)
    model = _built(name, {**entry.model_opts, **options})
    misfits = model.load_weights(entry.tensors())
    if misfits:
        raise UsageError(f"--weights {weights} do not fit {name}: {misfits}")
    return model


def _built(name: str, options: dict[str, Any]) -> Model:
    if ":" in name:
        from pytorch_benchmarks.models.providers import provided_model

        return provided_model(name, **options)
    builder = builder_of(name)
    for option in ("norm", "activation"):
        if isinstance(options.get(option), str):
            from pytorch_benchmarks.models.layers import layer_constructor

            options = {**options, option: layer_constructor(option, options[option])}
    return builder(**options)


def builder_of(name: str) -> Builder:
    """The class or function that is registered under a name.

    Raises:
        UnknownModelError: The message names the closest models.
    """
    builders = _load()
    if name not in builders:
        close = difflib.get_close_matches(name, builders, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(builders))}"
        raise UnknownModelError(f"unknown model {name!r}: {hint}")
    return builders[name]


class ModelFactory:
    """The registry under the name that the original DLBS gave it."""

    models = staticmethod(list_models)
    get_model = staticmethod(get_model)
