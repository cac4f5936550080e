"""Layers that several models end with, or consist of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

__all__ = ["perceptron"]


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
