"""Inception v3 (Szegedy et al., arXiv:1512.00567, table 1), without the auxiliary classifier."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models import layers
from pytorch_benchmarks.models.layers import Activation, Norm
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import register_model

__all__ = ["NORM", "Branches", "Convolution", "InceptionV3"]

Size = int | tuple[int, int]

NORM = partial(nn.BatchNorm2d, eps=0.001)


class Convolution:
    """Makes convolutions without bias, with the normalisation and the nonlinearity that a network has.

    Args:
        norm, activation: Constructors of these layers.
    """

    def __init__(self, norm: Norm, activation: Activation) -> None:
        self.norm, self.activation = norm, activation

    def __call__(self, inputs: int, outputs: int, size: Size, stride: int = 1, padding: Size = 0) -> nn.Sequential:
        made = layers.convolution(
            inputs, outputs, size, stride, padding=padding, norm=self.norm, activation=self.activation
        )
        return nn.Sequential(*made)


class Branches(nn.Module):
    """Branches side by side, their channels put together."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _average(convolution: Convolution, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), convolution(inputs, outputs, 1))


def _figure5(convolution: Convolution, inputs: int, pool: int) -> Branches:
    return Branches(
        convolution(inputs, 64, 1),
        nn.Sequential(convolution(inputs, 48, 1), convolution(48, 64, 5, padding=2)),
        nn.Sequential(convolution(inputs, 64, 1), convolution(64, 96, 3, padding=1), convolution(96, 96, 3, padding=1)),
        _average(convolution, inputs, pool),
    )


def _figure6(convolution: Convolution, inputs: int, width: int) -> Branches:
    row, column = (0, 3), (3, 0)
    return Branches(
        convolution(inputs, 192, 1),
        nn.Sequential(
            convolution(inputs, width, 1),
            convolution(width, width, (1, 7), padding=row),
            convolution(width, 192, (7, 1), padding=column),
        ),
        nn.Sequential(
            convolution(inputs, width, 1),
            convolution(width, width, (7, 1), padding=column),
            convolution(width, width, (1, 7), padding=row),
            convolution(width, width, (7, 1), padding=column),
            convolution(width, 192, (1, 7), padding=row),
        ),
        _average(convolution, inputs, 192),
    )


def _figure7(convolution: Convolution, inputs: int) -> Branches:
    def split() -> Branches:
        return Branches(convolution(384, 384, (1, 3), padding=(0, 1)), convolution(384, 384, (3, 1), padding=(1, 0)))

    return Branches(
        convolution(inputs, 320, 1),
        nn.Sequential(convolution(inputs, 384, 1), split()),
        nn.Sequential(convolution(inputs, 448, 1), convolution(448, 384, 3, padding=1), split()),
        _average(convolution, inputs, 192),
    )


@register_model("inception3")
class InceptionV3(Model):
    """Inception v3 (Szegedy et al., arXiv:1512.00567).

    Args:
        num_classes: Of the classifier.
        norm, activation: Constructors of these layers.
    """

    title = "InceptionV3"
    input_shape = (3, 299, 299)

    def __init__(
        self, *, num_classes: int = 1000, norm: Norm = NORM, activation: Activation = layers.ACTIVATIONS["relu"]
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        convolution = Convolution(norm, activation)
        self.features = nn.Sequential(
            convolution(3, 32, 3, stride=2),
            convolution(32, 32, 3),
            convolution(32, 64, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            convolution(64, 80, 1),
            convolution(80, 192, 3),
            nn.MaxPool2d(3, stride=2),
            _figure5(convolution, 192, 32),
            _figure5(convolution, 256, 64),
            _figure5(convolution, 288, 64),
            Branches(
                convolution(288, 384, 3, stride=2),
                nn.Sequential(
                    convolution(288, 64, 1), convolution(64, 96, 3, padding=1), convolution(96, 96, 3, stride=2)
                ),
                nn.MaxPool2d(3, stride=2),
            ),
            _figure6(convolution, 768, 128),
            _figure6(convolution, 768, 160),
            _figure6(convolution, 768, 160),
            _figure6(convolution, 768, 192),
            Branches(
                nn.Sequential(convolution(768, 192, 1), convolution(192, 320, 3, stride=2)),
                nn.Sequential(
                    convolution(768, 192, 1),
                    convolution(192, 192, (1, 7), padding=(0, 3)),
                    convolution(192, 192, (7, 1), padding=(3, 0)),
                    convolution(192, 192, 3, stride=2),
                ),
                nn.MaxPool2d(3, stride=2),
            ),
            _figure7(convolution, 1280),
            _figure7(convolution, 2048),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(2048, self.num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
