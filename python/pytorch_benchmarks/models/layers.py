"""Layers that several models end with, or consist of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn

__all__ = ["DropPath", "SqueezeExcitation", "perceptron", "round_channels"]


def perceptron(sizes: Sequence[int], *, dropout: float = 0.0) -> list[nn.Module]:
    """Fully connected layers with ReLU, and dropout if wanted, between them; none behind the last.

    Args:
        sizes: Features that go in, come out of each layer in turn, and go out.
        dropout: Probability of a feature to be left out in training.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


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
        return x * x.new_empty((x.shape[0], *[1] * (x.dim() - 1))).bernoulli_(keep).div_(keep)


class SqueezeExcitation(nn.Module):
    """Weighs channels by what all of the picture says (Hu et al., arXiv:1709.01507).

    Args:
        channels: Of input and output.
        squeezed: Features between the two layers.
        activation, gate: Behind the first and the second layer.
    """

    def __init__(
        self, channels: int, squeezed: int, activation: Callable[[], nn.Module], gate: Callable[[], nn.Module]
    ) -> None:
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
