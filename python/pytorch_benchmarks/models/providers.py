"""Models of other packages: `torchvision:NAME`, `timm:NAME`, `transformers:NAME`, with random weights; nothing is downloaded."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.models.model import Model, load_tensors
from pytorch_benchmarks.models.text import LanguageModel
from pytorch_benchmarks.option_values import check_whole

__all__ = ["PROVIDERS", "provided_model"]


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
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return UnknownModelError(f"unknown model {name!r}" + (f": did you mean {' or '.join(close)}?" if close else ""))


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
            close = difflib.get_close_matches(option, vars(usual), n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise TypeError(f"{type(config).__name__} has no field {option!r}{hint}")


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
