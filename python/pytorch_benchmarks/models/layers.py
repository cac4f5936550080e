"""Layers shared by several models, and layer constructors that can be selected by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmark_core.text import did_you_mean

Norm = Callable[[int], nn.Module]  # number of channels → normalisation layer
Activation = Callable[[], nn.Module]


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalise groups of channels: 32 groups, or fewer if 32 does not divide the channels (Wu and He, arXiv:1803.08494)."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def no_norm(channels: int) -> nn.Identity:
    """Keep channels unchanged."""
    return nn.Identity()


# Constructors by name, for `--model_opts '{"norm": "group"}'`; Python code may pass any constructor.
NORMS: dict[str, Norm] = {
    "batch": nn.BatchNorm2d,
    "group": group_norm,
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "layer": nn.LayerNorm,
    "none": no_norm,
    "rms": nn.RMSNorm,
}
ACTIVATIONS: dict[str, Activation] = {
    "elu": partial(nn.ELU, inplace=True),
    "gelu": nn.GELU,
    "hardswish": partial(nn.Hardswish, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "tanh": nn.Tanh,
}


def layer_constructor(option: str, name: str) -> Callable[..., nn.Module]:
    """The constructor selected by name in an option of a model, `norm` or `activation`.

    Raises:
        TypeError: The name is unknown; the message lists the known ones.
    """
    known: Mapping[str, Callable[..., nn.Module]] = NORMS if option == "norm" else ACTIVATIONS
    if name not in known:
        hint = did_you_mean(name, known) or f"use one of {', '.join(known)}"
        raise TypeError(f"{option} {name!r}: {hint}")
    return known[name]


def convolution(
    inputs: int,
    outputs: int,
    size: int | tuple[int, int],
    stride: int = 1,
    *,
    padding: int | tuple[int, int] | None = None,
    groups: int = 1,
    norm: Norm,
    activation: Activation | None = None,
) -> list[nn.Module]:
    """Convolution without bias, normalisation, and an optional nonlinearity.

    Args:
        inputs, outputs: Channels.
        size: Kernel size.
        stride: In both directions.
        padding: By default such that stride 1 keeps the size of the image.
        groups: Groups of channels that are convolved separately.
        norm, activation: Constructors of these layers.
    """
    if norm in (NORMS["layer"], NORMS["rms"]):
        raise TypeError(
            "norm: layer and rms normalise the features of tokens, not the channels of images; use another one"
        )
    if padding is None:
        padding = size // 2 if isinstance(size, int) else (size[0] // 2, size[1] // 2)
    layers = [nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False), norm(outputs)]
    return layers if activation is None else [*layers, activation()]


def plain_convolution(
    inputs: int,
    outputs: int,
    size: int,
    stride: int = 1,
    padding: int = 0,
    activation: Activation = ACTIVATIONS["relu"],
) -> list[nn.Module]:
    """Convolution with bias and a nonlinearity, without normalisation, as in models before 2015.

    Args:
        inputs, outputs: Channels.
        size: Kernel size.
        stride, padding: In both directions.
        activation: Constructor of the nonlinearity.
    """
    return [nn.Conv2d(inputs, outputs, size, stride, padding), activation()]


def perceptron(
    sizes: Sequence[int], *, dropout: float = 0.0, activation: Activation = ACTIVATIONS["relu"]
) -> list[nn.Module]:
    """Fully connected layers with nonlinearities and optional dropout between them; none after the last.

    Args:
        sizes: Input features, then output features of each layer.
        dropout: Probability that a feature is dropped in training.
        activation: Constructor of the nonlinearities.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


class Branches(nn.Module):
    """Parallel branches with concatenated channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class DropPath(nn.Module):
    """Drops a whole residual branch at random in training, separately for each instance (Huang et al., arXiv:1603.09382).

    Args:
        probability: Probability that a branch is dropped; kept ones are scaled up to preserve the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        one_each = [x.shape[0]] + [1] * (x.dim() - 1)
        return x * x.new_empty(one_each).bernoulli_(keep).div_(keep)


class SqueezeExcitation(nn.Module):
    """Scales channels by gates computed from the whole image (Hu et al., arXiv:1709.01507).

    Args:
        channels: Channels of input and output.
        squeezed: Features between the two layers.
        activation, gate: After the first and the second layer.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, kernel_size=1),
            activation(),
            nn.Conv2d(squeezed, channels, kernel_size=1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is at most a tenth smaller, the rule for widths of mobile networks."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
