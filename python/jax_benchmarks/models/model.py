"""A model: its parameters by name, and a pure function of them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark_core.exits import UnknownModelError
from benchmark_core.options import check_whole
from benchmark_core.program import built_with
from benchmark_core.text import did_you_mean

Arrays = dict[str, Any]  # name → array

# Name → the module that has a function `build`; imported on first use.
MODELS = {"deep_mnist": "deep_mnist", "gpt2_small": "gpt2", "resnet18": "resnet"}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be benchmarked.

    Attributes:
        title, unit: For reports.
        input_shape: Shape of one instance.
        num_classes: Targets are 0 … num_classes - 1.
        shapes: Parameter → shape, as in PyTorch: linear layers (outputs, inputs), convolutions (outputs, inputs, height, width).
        apply: Maps parameters, buffers, inputs and a training flag to logits and new buffers.
        buffers: Untrained state → shape: running means and variances.
        vocabulary: Inputs and targets (one per input) are tokens below this number; 0: inputs are floating-point numbers.
    """

    title: str
    unit: str
    input_shape: tuple[int, ...]
    num_classes: int
    shapes: Mapping[str, tuple[int, ...]]
    apply: Callable[[Arrays, Arrays, Any, bool], tuple[Any, Arrays]]
    buffers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    vocabulary: int = 0

    def __post_init__(self) -> None:
        check_whole("num_classes", self.num_classes)

    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def batch(self, batch_size: int, seed: int, dtype: Any) -> tuple[Any, Any]:
        """Random inputs and targets: numbers with mean 0 and standard deviation 1, or tokens."""
        random = np.random.default_rng(abs(seed))
        shape = (batch_size, *self.input_shape)
        if self.vocabulary:
            tokens = random.integers(0, self.vocabulary, (2, *shape), dtype=np.int32)
            return jnp.asarray(tokens[0]), jnp.asarray(tokens[1])
        targets = random.integers(0, self.num_classes, batch_size, dtype=np.int32)
        return jnp.asarray(random.standard_normal(shape, dtype=np.float32), dtype), jnp.asarray(targets)

    def loss(self, parameters: Arrays, buffers: Arrays, inputs: Any, targets: Any) -> tuple[Any, Arrays]:
        """Mean cross-entropy in float32, and new buffers."""
        logits, new = self.apply(parameters, buffers, inputs, True)
        likelihoods = jax.nn.log_softmax(logits.astype(jnp.float32))
        return -jnp.take_along_axis(likelihoods, targets[..., None], axis=-1).mean(), new


def initial(model: Model, seed: int, dtype: Any) -> tuple[Arrays, Arrays]:
    """Random parameters and initial buffers.

    Weights are normal with variance 2 / inputs (He et al., arXiv:1502.01852), embeddings have standard deviation 0.02, scales of
    normalisations are one, biases zero. Speed does not depend on the values.
    """
    random = np.random.default_rng(abs(seed))

    def made(name: str, shape: tuple[int, ...]) -> Any:
        if len(shape) == 1:
            return jnp.full(shape, float(name.endswith("weight")), dtype)
        deviation = 0.02 if "embedding" in name else math.sqrt(2 / math.prod(shape[1:]))
        return jnp.asarray(deviation * random.standard_normal(shape, dtype=np.float32), dtype)

    parameters = {name: made(name, shape) for name, shape in model.shapes.items()}
    return parameters, {
        name: jnp.full(shape, float(name.endswith("running_var")), dtype) for name, shape in model.buffers.items()
    }


def get_model(name: str, **options: Any) -> Model:
    """Build a model.

    Raises:
        UnknownModelError: The name is unknown; the message lists the models.
        UsageError: The model does not have one of the options, or rejects its value.
    """
    if name not in MODELS:
        hint = f"{did_you_mean(name, MODELS)} available models are {', '.join(sorted(MODELS))}".lstrip()
        raise UnknownModelError(f"unknown JAX model {name!r}: {hint}")
    module = importlib.import_module(f"jax_benchmarks.models.{MODELS[name]}")
    with built_with(options, name):
        made: Model = module.build(**options)
    return made


_MOMENTUM, _EPSILON = 0.1, 1e-5  # PyTorch's defaults


def linear(parameters: Arrays, name: str, x: Any) -> Any:
    """x W^T + b."""
    return x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]


def convolution(parameters: Arrays, name: str, x: Any, stride: int = 1) -> Any:
    """Without bias, padded so that stride 1 keeps the size; images (batch, height, width, channels)."""
    weight = parameters[f"{name}.weight"]
    padding = [(size // 2, size // 2) for size in weight.shape[2:]]
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "OIHW", "NHWC")
    )


def batch_norm(parameters: Arrays, buffers: Arrays, new: Arrays, name: str, x: Any, *, training: bool) -> Any:
    """Normalise channels, with batch statistics in training and running statistics otherwise.

    Args:
        parameters, buffers: Of the whole model.
        new: Receives the updated running statistics in training.
        name: Of the layer.
        x: (batch, height, width, channels)
        training: Selects the statistics.
    """
    wide = x.astype(jnp.float32)
    mean, variance = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
    if training:
        seen_mean, seen_variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
        count = x.size // x.shape[-1]
        unbiased = seen_variance * (count / max(1, count - 1))
        for key, old, seen in (("running_mean", mean, seen_mean), ("running_var", variance, unbiased)):
            new[f"{name}.{key}"] = ((1 - _MOMENTUM) * old + _MOMENTUM * seen).astype(old.dtype)
        mean, variance = seen_mean, seen_variance
    scale = parameters[f"{name}.weight"] * jax.lax.rsqrt(variance.astype(jnp.float32) + _EPSILON)
    return ((wide - mean) * scale + parameters[f"{name}.bias"]).astype(x.dtype)


def layer_norm(parameters: Arrays, name: str, x: Any) -> Any:
    """Normalise the features of each token."""
    wide = x.astype(jnp.float32)
    normal = (wide - wide.mean(-1, keepdims=True)) * jax.lax.rsqrt(wide.var(-1, keepdims=True) + _EPSILON)
    return (normal * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]).astype(x.dtype)
