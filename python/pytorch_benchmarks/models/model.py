"""The base class of all models.

A model has a name, and is measured or trained. An architecture is an external Python file that registers models. A network is
the `nn.Module` inside a model (built by another package) or around it (DistributedDataParallel).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from benchmark_core.options import check_whole


class Model(nn.Module):
    """A module that can be benchmarked: it defines its input and its loss.

    Subclasses build their layers in the constructor and override `forward`. The defaults suit most classifiers; models with
    other inputs or losses override `inputs`, `targets` and `loss`.

    Attributes:
        title: Name for reports.
        input_shape: Shape of one instance, without the batch.
        unit: Plural noun for instances: throughput is in units per second.
        num_classes: Number of classes; targets are 0 … num_classes - 1.
        weights_file: File of its trained weights; empty if they are random.
    """

    # The description of a model is not part of its TorchScript.
    __jit_ignored_attributes__ = ("title", "input_shape", "unit", "num_classes", "vocabulary", "weights_file")

    title: str = ""
    input_shape: tuple[int, ...] = ()
    unit: str = "images"
    num_classes: int = 1000
    weights_file: str = ""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """Initialise a model.

        Args:
            params: For models written for the original DLBS: `name`, `input_shape`, `num_classes`, `phase`, `dtype`.

        Raises:
            ValueError: One of these is missing.
        """
        super().__init__()
        if params is None:
            return
        missing = [name for name in ("name", "input_shape", "num_classes", "phase", "dtype") if name not in params]
        if missing:
            raise ValueError(f"the model's parameters lack {', '.join(missing)}: Model.check_parameters adds defaults")
        shape = params["input_shape"]
        self.name = self.title = params["name"]
        self.input_shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        self.num_classes, self.phase, self.dtype = params["num_classes"], params["phase"], params["dtype"]

    @staticmethod
    def check_parameters(params: MutableMapping[str, Any], default_params: Mapping[str, Any]) -> None:
        """Add defaults to the parameters of a model written for the original DLBS."""
        for name, value in default_params.items():
            params.setdefault(name, value)

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """Random inputs, float32, shape (batch_size, *input_shape), values like normalised images (mean 0, standard deviation 1).

        Models with several inputs return a tuple, which is passed to `forward` unchanged.
        """
        return torch.randn(batch_size, *self.input_shape, generator=generator)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random class numbers, int64, shape (batch_size,)."""
        check_whole("num_classes", self.num_classes)
        return torch.randint(self.num_classes, (batch_size,), generator=generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Scalar loss: by default the mean cross-entropy of logits (batch_size, num_classes) in float32."""
        return nn.functional.cross_entropy(output.float(), target)

    def load_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Load trained weights if all of them fit.

        Args:
            tensors: By name, as in `state_dict`.

        Returns:
            The mismatches as text, in which case nothing is loaded; empty on success.
        """
        return load_tensors(self, tensors)

    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Load tensors into a module if all of them exist and fit; otherwise return the mismatches as text."""
    own = module.state_dict()
    missing, unknown = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    misfits = [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    misfits += [
        f"{name} has type {tensors[name].dtype} instead of {value.dtype}"
        for name, value in own.items()
        if name in tensors and _kind(tensors[name]) != _kind(value)
    ]
    if missing:
        misfits.append(f"{len(missing)} of {len(own)} are missing ({', '.join(missing[:2])}, …)")
    if unknown:
        misfits.append(f"{len(unknown)} belong to another model ({', '.join(unknown[:2])}, …)")
    if not misfits:
        module.load_state_dict(tensors)
    return "; ".join(misfits[:3])


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """The kind of numbers, which copying must not change silently: real, complex, or integer."""
    return tensor.is_floating_point(), tensor.is_complex()


Builder = Callable[..., Model]
BuilderType = TypeVar("BuilderType", bound=Builder)

BUILDERS: dict[str, Builder] = {}


def register_model(name: str | None = None) -> Callable[[BuilderType], BuilderType]:
    """Register a class or function that builds a model; its keyword arguments are the options of the model.

    @register_model("deep_mnist")
    class DeepMnist(Model): ...

    Args:
        name: Name of the model; by default that of the class or function. The signature is torchvision's.

    Raises:
        ValueError: Another model has that name.
    """

    def register(builder: BuilderType) -> BuilderType:
        called = builder.__name__ if name is None else name
        if called in BUILDERS:
            raise ValueError(f"two models are named {called!r}")
        BUILDERS[called] = builder
        return builder

    return register


class ImageClassifier(Model):
    """Maps images (batch, *input_shape) to logits (batch, num_classes).

    Args:
        features: Maps images to features.
        classifier: Maps features to logits.
        num_classes: Of the classifier.
    """

    def __init__(self, features: nn.Module, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def pooled_classifier(channels: int, num_classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """The mean of each channel, optional dropout, and one fully connected layer."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))


class TextModel(Model):
    """Inputs are tokens, int64, shape (batch, length).

    Attributes:
        vocabulary: Number of tokens.
    """

    vocabulary: int = 0
    unit = "sequences"

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random tokens."""
        return torch.randint(self.vocabulary, (batch_size, *self.input_shape), generator=generator)


class LanguageModel(TextModel):
    """Outputs are logits of tokens, shape (batch, length, vocabulary); targets are tokens, shape (batch, length)."""

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random tokens, one for each position."""
        return self.inputs(batch_size, generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Mean cross-entropy over all positions with a non-negative target."""
        return nn.functional.cross_entropy(output.flatten(0, 1).float(), target.flatten(), ignore_index=-100)


Cache = list[tuple[Tensor, Tensor]]


class Generator(LanguageModel):
    """A decoder with a cache of the keys and values of earlier tokens.

    Attributes:
        sequence_length: Tokens of a prompt.
        new_tokens: Tokens generated after it.
    """

    def __init__(self, sequence_length: int, new_tokens: int) -> None:
        super().__init__()
        check_whole("sequence_length", sequence_length)
        check_whole("new_tokens", new_tokens, least=2)
        self.sequence_length, self.new_tokens = sequence_length, new_tokens
        self.input_shape = (sequence_length,)

    @abstractmethod
    def cache(self, batch_size: int) -> Cache:
        """Memory for keys and values of each layer, shape (batch, heads, prompt + new tokens, features of a head)."""

    @abstractmethod
    def forward(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        """Logits of each token's successor; with a cache, of the last one's only, for tokens at positions from `start`."""

    def prefill(self, prompt: Tensor, cache: Cache) -> Tensor:
        """Read prompts (batch, length) into the cache; return the most likely first tokens, shape (batch, 1)."""
        return self(prompt, cache).argmax(dim=-1)

    def decode(self, token: Tensor, cache: Cache, count: int) -> Tensor:
        """Generate `count` more tokens, always the most likely, after a prompt and its first token; shape (batch, count)."""
        made = []
        for number in range(count):
            token = self(token, cache, self.sequence_length + number).argmax(dim=-1)
            made.append(token)
        return torch.cat(made, dim=1)
