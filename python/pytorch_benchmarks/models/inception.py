"""Inception v3 and v4, and their building blocks: factorised convolutions, average pooling as a branch, splits."""

from __future__ import annotations

from functools import partial

from torch import nn

from pytorch_benchmarks.models import layers
from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Branches, Norm
from pytorch_benchmarks.models.model import ImageClassifier, pooled_classifier, register_model

__all__ = ["InceptionV3", "InceptionV4"]

Size = int | tuple[int, int]
NORM = partial(nn.BatchNorm2d, eps=0.001)
ROW, COLUMN = (1, 7), (7, 1)  # sizes of kernels


class Convolution:
    """Factory of convolutions without bias, with the normalisation and the nonlinearity of a model.

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

    def factorised(self, channels: list[int], *sizes: tuple[int, int]) -> list[nn.Sequential]:
        """Convolutions with kernels of one row or one column, which keep the size of the image.

        Args:
            channels: Input channels, then the output channels of each convolution.
            sizes: Kernel sizes.
        """
        pairs = zip(channels[:-1], channels[1:], sizes, strict=True)
        return [self(before, after, size, padding=(size[0] // 2, size[1] // 2)) for before, after, size in pairs]


def average(convolution: Convolution, inputs: int, outputs: int, *, count_padding: bool) -> nn.Sequential:
    """The average pooling branch.

    Args:
        convolution: Factory of convolutions.
        inputs, outputs: Channels.
        count_padding: Whether the mean includes the zero padding.
    """
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=count_padding)
    return nn.Sequential(pool, convolution(inputs, outputs, 1))


def split(convolution: Convolution, inputs: int, outputs: int) -> Branches:
    """A 1×3 and a 3×1 convolution in parallel instead of in sequence."""
    return Branches(*(convolution.factorised([inputs, outputs], size)[0] for size in ((1, 3), (3, 1))))


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


_pooled = partial(average, count_padding=False)


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
        _pooled(convolution, 384, 96),
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
        _pooled(convolution, 1024, 128),
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
        _pooled(convolution, 1536, 256),
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
