"""Inception v4 (Szegedy et al., arXiv:1602.07261, figures 3 to 9)."""

from __future__ import annotations

from functools import partial

from torch import nn

from pytorch_benchmarks.models.image_classifier import ImageClassifier, pooled_classifier
from pytorch_benchmarks.models.inception import COLUMN, NORM, ROW, Convolution, average, split
from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Branches, Norm
from pytorch_benchmarks.models.registry import register_model

__all__ = ["InceptionV4"]

_average = partial(average, count_padding=False)


def _stem(convolution: Convolution) -> nn.Sequential:
    return nn.Sequential(
        convolution(3, 32, 3, stride=2),
        convolution(32, 32, 3),
        convolution(32, 64, 3, padding=1),
        Branches(nn.MaxPool2d(3, stride=2), convolution(64, 96, 3, stride=2)),
        Branches(
            nn.Sequential(convolution(160, 64, 1), convolution(64, 96, 3)),
            nn.Sequential(
                convolution(160, 64, 1),
                *convolution.factorised([64, 64, 64], ROW, COLUMN),
                convolution(64, 96, 3),
            ),
        ),
        Branches(convolution(192, 192, 3, stride=2), nn.MaxPool2d(3, stride=2)),
    )


def _inception_a(convolution: Convolution) -> Branches:
    return Branches(
        convolution(384, 96, 1),
        nn.Sequential(convolution(384, 64, 1), convolution(64, 96, 3, padding=1)),
        nn.Sequential(convolution(384, 64, 1), convolution(64, 96, 3, padding=1), convolution(96, 96, 3, padding=1)),
        _average(convolution, 384, 96),
    )


def _reduction_a(convolution: Convolution) -> Branches:
    return Branches(
        convolution(384, 384, 3, stride=2),
        nn.Sequential(
            convolution(384, 192, 1), convolution(192, 224, 3, padding=1), convolution(224, 256, 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _inception_b(convolution: Convolution) -> Branches:
    return Branches(
        convolution(1024, 384, 1),
        nn.Sequential(
            convolution(1024, 192, 1),
            *convolution.factorised([192, 224, 256], ROW, COLUMN),
        ),
        nn.Sequential(
            convolution(1024, 192, 1),
            *convolution.factorised([192, 192, 224, 224, 256], COLUMN, ROW, COLUMN, ROW),
        ),
        _average(convolution, 1024, 128),
    )


def _reduction_b(convolution: Convolution) -> Branches:
    return Branches(
        nn.Sequential(convolution(1024, 192, 1), convolution(192, 192, 3, stride=2)),
        nn.Sequential(
            convolution(1024, 256, 1),
            *convolution.factorised([256, 256, 320], ROW, COLUMN),
            convolution(320, 320, 3, stride=2),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _inception_c(convolution: Convolution) -> Branches:
    return Branches(
        convolution(1536, 256, 1),
        nn.Sequential(convolution(1536, 384, 1), split(convolution, 384, 256)),
        nn.Sequential(
            convolution(1536, 384, 1),
            *convolution.factorised([384, 448, 512], (3, 1), (1, 3)),
            split(convolution, 512, 256),
        ),
        _average(convolution, 1536, 256),
    )


@register_model("inception4")
class InceptionV4(ImageClassifier):
    """Inception v4 (Szegedy et al., arXiv:1602.07261).

    Args:
        num_classes: Of the classifier.
        norm, activation: Constructors of these layers.
    """

    title = "InceptionV4"
    input_shape = (3, 299, 299)

    def __init__(
        self, *, num_classes: int = 1000, norm: Norm = NORM, activation: Activation = ACTIVATIONS["relu"]
    ) -> None:
        convolution = Convolution(norm, activation)
        features = nn.Sequential(
            _stem(convolution),
            *(_inception_a(convolution) for _ in range(4)),
            _reduction_a(convolution),
            *(_inception_b(convolution) for _ in range(7)),
            _reduction_b(convolution),
            *(_inception_c(convolution) for _ in range(3)),
        )
        super().__init__(features, pooled_classifier(1536, num_classes, dropout=0.2), num_classes)
