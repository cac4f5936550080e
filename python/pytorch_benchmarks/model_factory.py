"""Models by name: register_model, list_models, get_model, and architectures, files that register more models."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from benchmark_core.exits import UnknownModelError, UsageError
from benchmark_core.options import check_whole
from benchmark_core.program import reason
from benchmark_core.text import did_you_mean
from pytorch_benchmarks import models
from pytorch_benchmarks.models.model import BUILDERS, Builder, LanguageModel, Model, load_tensors, register_model
from pytorch_benchmarks.weights import Weights, WeightsEnum, find_weights, get_model_weights, get_weight

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


def load_architecture(file: str | os.PathLike[str]) -> list[str]:
    """Run a Python file that registers models; it may use relative imports of files next to it (`from .blocks import Block`).

    Returns:
        Their names, sorted.

    Raises:
        UsageError: The file does not exist, cannot be run, or registers no models.
    """
    before = set(_load())
    module = load_file(file, "--architecture")
    name = module.__name__
    if name not in _LOADED:
        try:
            _register_former(module)
        except ValueError as error:
            del sys.modules[name]
            raise UsageError(f"--architecture: {file}: {error}") from None
        _LOADED[name] = sorted(set(BUILDERS) - before)
    if not _LOADED[name]:
        raise UsageError(f"--architecture: {file} registers no models: decorate a builder with @register_model")
    return _LOADED[name]


def load_file(file: str | os.PathLike[str], option: str) -> ModuleType:
    """Import a Python file by its path, once; its imports of files next to it are relative.

    Args:
        file: The file.
        option: The option that names it, for errors.

    Raises:
        UsageError: The file does not exist, or cannot be run.
    """
    path = Path(file).resolve()
    if not path.is_file():
        raise UsageError(f"{option}: {file} does not exist")
    name = f"file_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    if spec is None or spec.loader is None:
        raise UsageError(f"{option}: {file} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{option}: {file} cannot be imported: {type(error).__name__}: {reason(error)}") from error
    return module


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
    model.weights_file = str(entry.file)
    return model


def builder_of(name: str) -> Builder:
    """The class or function registered under a name.

    Raises:
        UnknownModelError: The name is unknown; the message suggests the closest ones.
    """
    builders = _load()
    if name not in builders:
        hint = did_you_mean(name, builders, 3, 0.5) or f"available models are {', '.join(sorted(builders))}"
        raise UnknownModelError(f"unknown model {name!r}: {hint}")
    return builders[name]


get_model_builder = builder_of  # its name in torchvision


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


class _Provided(Model):
    """An image classifier built by another package."""

    def __init__(self, network: nn.Module, title: str, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.network, self.title, self.input_shape, self.num_classes = network, title, input_shape, num_classes

    def load_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Load weights saved by this class or by the package itself."""
        inside = any(name.startswith("network.") for name in tensors)
        return super().load_weights(tensors) if inside else load_tensors(self.network, tensors)

    def forward(self, x: Tensor) -> Any:
        output = self.network(x)
        return getattr(output, "logits", output)  # some have auxiliary outputs for training


class _ProvidedText(LanguageModel):
    """A language model built by another package."""

    def __init__(self, network: nn.Module, title: str, vocabulary: int, sequence_length: int) -> None:
        super().__init__()
        self.network, self.title, self.input_shape = network, title, (sequence_length,)
        self.vocabulary = self.num_classes = vocabulary

    def forward(self, x: Tensor) -> Any:
        return self.network(x).logits


def provided_model(name: str, **options: Any) -> Model:
    """Build `PROVIDER:MODEL`.

    Args:
        options: Options of the package's own builder.

    Raises:
        UsageError: The package cannot be imported.
        UnknownModelError: The package has no such model, or the provider is unknown.
    """
    provider, _, model = name.partition(":")
    if provider not in PROVIDERS:
        raise UnknownModelError(f"unknown provider {provider!r} in {name!r}: use one of {', '.join(PROVIDERS)}")
    try:
        package = importlib.import_module(provider)
    except (ImportError, RuntimeError) as error:  # a RuntimeError of torchvision, if it was built for another torch
        raise _not_importable(name, provider, error) from None
    try:
        return PROVIDERS[provider](package, model, **options)
    except ImportError as error:  # transformers imports its modules when they are used
        raise _not_importable(name, provider, error) from None


def _not_importable(name: str, provider: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    return UsageError(
        f"{name} needs the package {provider}, which cannot be imported ({reason}): install a {provider} compatible with this torch"
    )


def _unknown(name: str, known: Iterable[str]) -> UnknownModelError:
    return UnknownModelError(f"unknown model {name!r}: {did_you_mean(name, known, 3, 0.5)}".removesuffix(": "))


def _torchvision(package: Any, name: str, **options: Any) -> Model:
    models = importlib.import_module("torchvision.models")
    names = models.list_models(module=models)
    if name not in names:
        raise _unknown(name, names)
    side = 299 if name == "inception_v3" else 224
    network = models.get_model(name, weights=None, **options)
    return _Provided(network, name, (3, side, side), int(options.get("num_classes", 1000)))


def _timm(package: Any, name: str, **options: Any) -> Model:
    if name not in package.list_models():
        raise _unknown(name, package.list_models())
    network = package.create_model(name, pretrained=False, **options)
    return _Provided(network, name, tuple(network.default_cfg["input_size"]), network.num_classes)


def _transformers(package: Any, name: str, *, sequence_length: int = 128, **options: Any) -> Model:
    """A type of model, such as `bert`, `gpt2` or `vit`, in its default size; options are fields of its configuration."""
    mapping = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    if name not in mapping:
        raise _unknown(name, mapping)
    config = package.AutoConfig.for_model(name, **options)
    _check_fields(config, package.AutoConfig.for_model(name), options)
    known = importlib.import_module("transformers.models.auto.modeling_auto")
    kinds = (
        (package.AutoModelForImageClassification, known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING),
        (package.AutoModelForCausalLM, known.MODEL_FOR_CAUSAL_LM_MAPPING),
        (package.AutoModelForMaskedLM, known.MODEL_FOR_MASKED_LM_MAPPING),
    )
    if name in {"bert", "roberta", "electra"}:  # encoders that can also run as decoders
        kinds = kinds[::-1]
    for builder, types in kinds:
        if type(config) in types:
            network = builder.from_config(config)
            if "Image" in builder.__name__:
                size = getattr(config, "image_size", 224)
                sides = size if isinstance(size, (list, tuple)) else (size, size)
                return _Provided(network, name, (getattr(config, "num_channels", 3), *sides), config.num_labels)
            check_whole("sequence_length", sequence_length, most=_most_tokens(network, config))
            return _ProvidedText(network, name, config.vocab_size, sequence_length)
    raise UsageError(f"transformers:{name} is neither a language model nor an image classifier")


def _check_fields(config: Any, usual: Any, options: Iterable[str]) -> None:
    """Check that a configuration has the fields that were set: it keeps others, such as misspelt ones, without effect.

    Raises:
        TypeError: It does not.
    """
    for option in options:
        if option in vars(config) and not hasattr(usual, option):
            hint = did_you_mean(option, vars(usual))
            raise TypeError(f"{type(config).__name__} has no field {option!r}: {hint}".removesuffix(": "))


def _most_tokens(network: Any, config: Any) -> int | None:
    """The number of tokens that a model has learned positions for; None if it computes them."""
    positions = getattr(config, "max_position_embeddings", None)
    for module in network.modules():
        if (
            isinstance(module, nn.Embedding)
            and module.num_embeddings == positions
            and module is not network.get_input_embeddings()
        ):
            # Positions of RoBERTa begin after that of the padding.
            return positions if module.padding_idx is None else positions - module.padding_idx - 1
    return None


PROVIDERS: dict[str, Callable[..., Model]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
}


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


def _built(name: str, options: dict[str, Any]) -> Model:
    if ":" in name:
        return provided_model(name, **options)
    builder = builder_of(name)
    if "num_classes" in options and builder.__module__.startswith(f"{models.__name__}."):
        check_whole("num_classes", options["num_classes"])
    for option in ("norm", "activation"):
        if isinstance(options.get(option), str):
            from pytorch_benchmarks.models.layers import layer_constructor

            options = {**options, option: layer_constructor(option, options[option])}
    return builder(**options)
