"""Layers that several models end with, or consist of, and constructors of layers that can be chosen by name."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

__all__ = [
    "ACTIVATIONS", "NORMS", "Activation", "Branches", "DropPath", "Norm", "SqueezeExcitation", "convolution", "layer_constructor",
    "perceptron", "plain_convolution", "round_channels",
]  # fmt: skip

Norm = Callable[[int], nn.Module]  # makes a normalisation of so many channels
Activation = Callable[[], nn.Module]


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalises groups of channels: 32 groups, or as many as divide the channels evenly (Wu and He, arXiv:1803.08494)."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def no_norm(channels: int) -> nn.Identity:
    """Leaves channels as they are."""
    return nn.Identity()


# Constructors by the names that `--model_opts '{"norm": "group"}'` knows; in Python, any constructor will do.
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
    """The constructor that an option of a model, `norm` or `activation`, calls by name.

    Raises:
        TypeError: There is none; the message names those that there are.
    """
    known: Mapping[str, Callable[..., nn.Module]] = NORMS if option == "norm" else ACTIVATIONS
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise TypeError(
            f"{option} {name!r}: " + (f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}")
        )
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
    """Convolution without bias, normalisation, and a nonlinearity if wanted.

    Args:
        inputs, outputs: Channels.
        size: Of the kernel.
        stride: In both directions.
        padding: By default so much that a stride of 1 keeps the picture's size.
        groups: Of channels, that are convolved each by itself.
        norm, activation: Constructors of these layers.
    """
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
        size: Of the kernel.
        stride, padding: In both directions.
        activation: Constructor of the nonlinearity.
    """
    return [nn.Conv2d(inputs, outputs, size, stride, padding), activation()]


def perceptron(
    sizes: Sequence[int], *, dropout: float = 0.0, activation: Activation = ACTIVATIONS["relu"]
) -> list[nn.Module]:
    """Fully connected layers with nonlinearities, and dropout if wanted, between them; none behind the last.

    Args:
        sizes: Features that go in, come out of each layer in turn, and go out.
        dropout: Probability of a feature to be left out in training.
        activation: Constructor of the nonlinearities.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


class Branches(nn.Module):
    """Branches side by side, their channels put together."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class DropPath(nn.Module):
    """Leaves a whole residual branch out, for each instance by chance, in training (Huang et al., arXiv:1603.09382).

    Args:
        probability: Of a branch to be left out; what stays is scaled up, so that the mean is kept.
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
    """Weighs channels by what all of the picture says (Hu et al., arXiv:1709.01507).

    Args:
        channels: Of input and output.
        squeezed: Features between the two layers.
        activation, gate: Behind the first and the second layer.
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
    """The nearest multiple of 8 that is not more than a tenth smaller, as mobile networks choose their widths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
