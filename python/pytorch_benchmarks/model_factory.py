"""Models by name: register_model, list_models, get_model, and architectures, files that register more models."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pytorch_benchmarks import models
from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.load_errors import reason
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import BUILDERS, Builder, register_model
from pytorch_benchmarks.models.weights import Weights, WeightsEnum, find_weights, get_model_weights, get_weight
from pytorch_benchmarks.option_values import check_whole

__all__ = [
    "ModelFactory",
    "UnknownModelError",
    "builder_of",
    "get_model",
    "get_model_builder",
    "get_model_weights",
    "get_weight",
    "list_models",
    "load_architecture",
    "register_model",
]

_TORCHVISION = {"norm_layer": "norm", "activation_layer": "activation"}  # names of builder options there
_LOADED: dict[str, list[str]] = {}  # module of an architecture → its models


def _load() -> dict[str, Builder]:
    for found in pkgutil.iter_modules(models.__path__):
        _register_former(importlib.import_module(f"{models.__name__}.{found.name}"))
    return BUILDERS


def _register_former(module: ModuleType) -> None:
    """Register the models of a module written for the original DLBS: classes with an attribute `implements`."""
    for model in list(vars(module).values()):
        if isinstance(model, type) and issubclass(model, Model) and model.__module__ == module.__name__:
            implements = getattr(model, "implements", ())
            for name in [implements] if isinstance(implements, str) else implements:
                if getattr(BUILDERS.get(name), "former", None) is not model:
                    register_model(name)(_former_builder(model, name))


def _former_builder(model: type[Model], name: str) -> Builder:
    def build(**options: Any) -> Model:
        return model({"model": name, **options})

    build.__doc__, build.__module__, build.__name__ = model.__doc__, model.__module__, model.__name__
    build.former = model  # type: ignore[attr-defined]
    return build


def load_architecture(file: str | os.PathLike[str]) -> list[str]:
    """Run a Python file that registers models; it may use relative imports of files next to it (`from .blocks import Block`).

    Returns:
        Their names, sorted.

    Raises:
        UsageError: The file does not exist, cannot be run, or registers no models.
    """
    path = Path(file).resolve()
    if not path.is_file():
        raise UsageError(f"--architecture: {file} does not exist")
    name = f"architecture_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    before = set(_load())
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
        if spec is None or spec.loader is None:
            raise UsageError(f"--architecture: {file} is not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(
                f"--architecture: {file} cannot be imported: {type(error).__name__}: {reason(error)}"
            ) from error
        try:
            _register_former(module)
        except ValueError as error:
            del sys.modules[name]
            raise UsageError(f"--architecture: {file}: {error}") from None
        _LOADED[name] = sorted(set(BUILDERS) - before)
    if not _LOADED[name]:
        raise UsageError(f"--architecture: {file} registers no models: decorate a builder with @register_model")
    return _LOADED[name]


def list_models(
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    *,
    module: ModuleType | None = None,
) -> list[str]:
    """List the names of models, sorted: `list_models("resnet*")`, `list_models(exclude=["vgg*", "*net"])`. The arguments are torchvision's.

    Args:
        include: Shell patterns, of which at least one must match; by default all models match.
        exclude: Shell patterns, of which none may match.
        module: Module that registers them, such as `pytorch_benchmarks.models.resnet`, or a package of such modules.
    """

    def fits(name: str, patterns: str | Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, one) for one in ([patterns] if isinstance(patterns, str) else patterns))

    def lies_there(builder: Builder) -> bool:
        return module is None or f"{builder.__module__}.".startswith(f"{module.__name__}.")

    include = list(include) if include is not None and not isinstance(include, str) else include
    exclude = list(exclude) if exclude is not None and not isinstance(exclude, str) else exclude or ()
    return sorted(
        name
        for name, builder in _load().items()
        if (include is None or fits(name, include)) and not fits(name, exclude) and lies_there(builder)
    )


def get_model_builder(name: str) -> Builder:
    """The builder of a model: the class or function registered under a name.

    Raises:
        UnknownModelError: The name is unknown; the message suggests the closest ones.
    """
    return builder_of(name)


def get_model(
    name: str, *, weights: str | Weights | WeightsEnum | None = None, progress: bool = True, **options: Any
) -> Model:
    """Build a model with random or trained weights.

    Args:
        name: A registered model, or `PROVIDER:MODEL` for one of another package.
        weights: A member of `get_model_weights(name)`, an entry, a file of tensors, the name of an entry, or `"DEFAULT"`: see
            `weights.find_weights`. Options in an entry are the defaults of the builder's options.
        progress: Ignored: nothing is downloaded.
        options: Keyword arguments of its builder. `norm` and `activation` are constructors of layers, or their names; the names
            `norm_layer` and `activation_layer` of torchvision are accepted too.

    Raises:
        UnknownModelError: The name is unknown; the message suggests the closest ones.
        UsageError: The provider's package cannot be imported, or the weights are not available.
        TypeError: The model does not have one of the options.
    """
    if ":" not in name:
        options = {_TORCHVISION.get(option, option): value for option, value in options.items()}
    if not weights:
        return _built(name, options)
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
    if "num_classes" in options and builder.__module__.startswith(f"{models.__name__}."):
        check_whole("num_classes", options["num_classes"])
    for option in ("norm", "activation"):
        if isinstance(options.get(option), str):
            from pytorch_benchmarks.models.layers import layer_constructor

            options = {**options, option: layer_constructor(option, options[option])}
    return builder(**options)


def builder_of(name: str) -> Builder:
    """The class or function registered under a name.

    Raises:
        UnknownModelError: The name is unknown; the message suggests the closest ones.
    """
    builders = _load()
    if name not in builders:
        close = difflib.get_close_matches(name, builders, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"available models are {', '.join(sorted(builders))}"
        raise UnknownModelError(f"unknown model {name!r}: {hint}")
    return builders[name]


class _Factory(type):
    @property
    def models(cls) -> Mapping[str, Builder]:
        """All models by name."""
        return dict(_load())


class ModelFactory(metaclass=_Factory):
    """The registry with the interface of the original DLBS: `ModelFactory.models`, `ModelFactory.get_model({"model": "alexnet"})`."""

    @staticmethod
    def get_model(params: Mapping[str, Any] | str, **options: Any) -> Model:
        """Build a model.

        Args:
            params: Its name, or a mapping with `model` and options of its builder.
            options: Additional options.

        Raises:
            UnknownModelError: The name is unknown; the message suggests the closest ones.
            UsageError: The mapping has no key `model`.
        """
        if isinstance(params, str):
            return get_model(params, **options)
        if "model" not in params:
            raise UsageError(f"the model's parameters have no key 'model', only {', '.join(params) or 'nothing'}")
        given = {name: value for name, value in params.items() if name != "model"}
        if not hasattr(builder_of(params["model"]), "former"):
            # Models of this version are the same in every phase and type, which are chosen by the program that runs them.
            given = {name: value for name, value in given.items() if name not in {"name", "phase", "dtype"}}
        return get_model(params["model"], **{**given, **options})
