"""Inception v3 (Szegedy et al., arXiv:1512.00567, table 1), without the auxiliary classifier."""

from __future__ import annotations

from functools import partial

from torch import nn

from pytorch_benchmarks.models.image_classifier import ImageClassifier, pooled_classifier
from pytorch_benchmarks.models.inception import COLUMN, NORM, ROW, Convolution, average, split
from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Branches, Norm
from pytorch_benchmarks.models.registry import register_model

__all__ = ["InceptionV3"]

_average = partial(average, count_padding=True)


def _figure5(convolution: Convolution, inputs: int, pool: int) -> Branches:
    return Branches(
        convolution(inputs, 64, 1),
        nn.Sequential(convolution(inputs, 48, 1), convolution(48, 64, 5, padding=2)),
        nn.Sequential(convolution(inputs, 64, 1), convolution(64, 96, 3, padding=1), convolution(96, 96, 3, padding=1)),
        _average(convolution, inputs, pool),
    )


def _figure6(convolution: Convolution, inputs: int, width: int) -> Branches:
    return Branches(
        convolution(inputs, 192, 1),
        nn.Sequential(convolution(inputs, width, 1), *convolution.factorised([width, width, 192], ROW, COLUMN)),
        nn.Sequential(
            convolution(inputs, width, 1),
            *convolution.factorised([width, width, width, width, 192], COLUMN, ROW, COLUMN, ROW),
        ),
        _average(convolution, inputs, 192),
    )


def _figure7(convolution: Convolution, inputs: int) -> Branches:
    return Branches(
        convolution(inputs, 320, 1),
        nn.Sequential(convolution(inputs, 384, 1), split(convolution, 384, 384)),
        nn.Sequential(convolution(inputs, 448, 1), convolution(448, 384, 3, padding=1), split(convolution, 384, 384)),
        _average(convolution, inputs, 192),
    )


@register_model("inception3")
class InceptionV3(ImageClassifier):
    """Inception v3 (Szegedy et al., arXiv:1512.00567).

    Args:
        num_classes: Of the classifier.
        norm, activation: Constructors of these layers.
    """

    title = "InceptionV3"
    input_shape = (3, 299, 299)

    def __init__(
        self, *, num_classes: int = 1000, norm: Norm = NORM, activation: Activation = ACTIVATIONS["relu"]
    ) -> None:
        convolution = Convolution(norm, activation)
        features = nn.Sequential(
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
                    *convolution.factorised([192, 192, 192], ROW, COLUMN),
                    convolution(192, 192, 3, stride=2),
                ),
                nn.MaxPool2d(3, stride=2),
            ),
            _figure7(convolution, 1280),
            _figure7(convolution, 2048),
        )
        super().__init__(features, pooled_classifier(2048, num_classes, dropout=0.5), num_classes)
