"""Inception v4 (Szegedy et al., arXiv:1602.07261, figures 3 to 9)."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.inception3 import NORM, Branches, Convolution
from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Norm
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.registry import register_model

__all__ = ["InceptionV4"]

ROW, COLUMN = (0, 3), (3, 0)  # padding of convolutions of 1×7 and 7×1


def _average(convolution: Convolution, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), convolution(inputs, outputs, 1))


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
                convolution(64, 64, (1, 7), padding=ROW),
                convolution(64, 64, (7, 1), padding=COLUMN),
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
            convolution(192, 224, (1, 7), padding=ROW),
            convolution(224, 256, (7, 1), padding=COLUMN),
        ),
        nn.Sequential(
            convolution(1024, 192, 1),
            convolution(192, 192, (7, 1), padding=COLUMN),
            convolution(192, 224, (1, 7), padding=ROW),
            convolution(224, 224, (7, 1), padding=COLUMN),
            convolution(224, 256, (1, 7), padding=ROW),
        ),
        _average(convolution, 1024, 128),
    )


def _reduction_b(convolution: Convolution) -> Branches:
    return Branches(
        nn.Sequential(convolution(1024, 192, 1), convolution(192, 192, 3, stride=2)),
        nn.Sequential(
            convolution(1024, 256, 1),
            convolution(256, 256, (1, 7), padding=ROW),
            convolution(256, 320, (7, 1), padding=COLUMN),
            convolution(320, 320, 3, stride=2),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _inception_c(convolution: Convolution) -> Branches:
    def split(inputs: int) -> Branches:
        return Branches(
            convolution(inputs, 256, (1, 3), padding=(0, 1)), convolution(inputs, 256, (3, 1), padding=(1, 0))
        )

    return Branches(
        convolution(1536, 256, 1),
        nn.Sequential(convolution(1536, 384, 1), split(384)),
        nn.Sequential(
            convolution(1536, 384, 1),
            convolution(384, 448, (3, 1), padding=(1, 0)),
            convolution(448, 512, (1, 3), padding=(0, 1)),
            split(512),
        ),
        _average(convolution, 1536, 256),
    )


@register_model("inception4")
class InceptionV4(Model):
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
        super().__init__()
        self.num_classes = num_classes
        convolution = Convolution(norm, activation)
        self.features = nn.Sequential(
            _stem(convolution),
            *(_inception_a(convolution) for _ in range(4)),
            _reduction_a(convolution),
            *(_inception_b(convolution) for _ in range(7)),
            _reduction_b(convolution),
            *(_inception_c(convolution) for _ in range(3)),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1536, self.num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
