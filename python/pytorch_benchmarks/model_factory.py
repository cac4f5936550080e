"""The registry of models: register_model, list_models, get_model."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from pytorch_benchmarks import models
from pytorch_benchmarks.errors import UnknownModelError
from pytorch_benchmarks.models.model import Model

__all__ = ["ModelFactory", "UnknownModelError", "builder_of", "get_model", "list_models", "register_model"]

Builder = Callable[..., Model]
BuilderType = TypeVar("BuilderType", bound=Builder)

_BUILDERS: dict[str, Builder] = {}


def register_model(name: str) -> Callable[[BuilderType], BuilderType]:
    """Register a class or a function that builds a model; its keyword arguments are the model's options.

    @register_model("deep_mnist")
    class DeepMnist(Model): ...
    """

    def register(builder: BuilderType) -> BuilderType:
        if name in _BUILDERS:
            raise ValueError(f"two models are called {name!r}")
        _BUILDERS[name] = builder
        return builder

    return register


def _load() -> dict[str, Builder]:
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    return _BUILDERS


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models, sorted, that match a shell pattern: `list_models("resnet*")`."""
    return sorted(name for name in _load() if fnmatch.fnmatchcase(name, pattern))


def get_model(name: str, **options: Any) -> Model:
    """Build a model with random weights.

    Args:
        name: Of a registered model, or `PROVIDER:MODEL` for one of another package.
        options: Keyword arguments of its builder.

    Raises:
        UnknownModelError: The message names the closest models.
        UsageError: The provider's package does not import.
        TypeError: The model does not have one of the options.
    """
    if ":" in name:
        from pytorch_benchmarks.providers import provided_model

        return provided_model(name, **options)
    return builder_of(name)(**options)


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
    """The registry under the name that the original suite gave it."""

    models = staticmethod(list_models)
    get_model = staticmethod(get_model)
