"""AlexNet in two common variants."""

from __future__ import annotations

from torch import nn

from pytorch_benchmarks.models.layers import perceptron, plain_convolution
from pytorch_benchmarks.models.model import ImageClassifier, register_model

__all__ = ["AlexNet", "AlexNetOwt"]


def _classifier(num_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *perceptron([256 * 6 * 6, 4096, 4096, num_classes], dropout=0.5))


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size=3, stride=2)


def _norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)


@register_model("alexnet")
class AlexNet(ImageClassifier):
    """AlexNet in one tower, with local response normalisation (Krizhevsky et al., NIPS 2012)."""

    title = "AlexNet"
    input_shape = (3, 227, 227)

    def __init__(self, *, num_classes: int = 1000) -> None:
        features = nn.Sequential(
            *plain_convolution(3, 96, 11, stride=4),
            _norm(),
            _pool(),
            *plain_convolution(96, 256, 5, padding=2),
            _norm(),
            _pool(),
            *plain_convolution(256, 384, 3, padding=1),
            *plain_convolution(384, 384, 3, padding=1),
            *plain_convolution(384, 256, 3, padding=1),
            _pool(),
        )
        super().__init__(features, _classifier(num_classes), num_classes)


@register_model("alexnet_owt")
class AlexNetOwt(ImageClassifier):
    """AlexNet as in "One weird trick", without normalisation (Krizhevsky, arXiv:1404.5997)."""

    title = "AlexNetOWT"
    input_shape = (3, 227, 227)

    def __init__(self, *, num_classes: int = 1000) -> None:
        features = nn.Sequential(
            *plain_convolution(3, 64, 11, stride=4, padding=2),
            _pool(),
            *plain_convolution(64, 192, 5, padding=2),
            _pool(),
            *plain_convolution(192, 384, 3, padding=1),
            *plain_convolution(384, 256, 3, padding=1),
            *plain_convolution(256, 256, 3, padding=1),
            _pool(),
        )
        super().__init__(features, _classifier(num_classes), num_classes)
