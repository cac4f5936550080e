"""GoogLeNet (Szegedy et al., arXiv:1409.4842, table 1), without the auxiliary classifiers."""

from __future__ import annotations

from torch import nn

from pytorch_benchmarks.models.layers import Branches
from pytorch_benchmarks.models.model import ImageClassifier, pooled_classifier, register_model

__all__ = ["GoogLeNet"]


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel_size=size, stride=stride, padding=size // 2)
    # Without normalisation layers the signal vanishes within 22 layers under PyTorch's default initialisation.
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.ReLU(inplace=True))


def _inception(inputs: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> Branches:
    """Four parallel branches; the sizes are a row of the paper's table 1."""
    return Branches(
        _convolution(inputs, one, 1),
        nn.Sequential(_convolution(inputs, reduce3, 1), _convolution(reduce3, three, 3)),
        nn.Sequential(_convolution(inputs, reduce5, 1), _convolution(reduce5, five, 5)),
        nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolution(inputs, pool, 1)),
    )


@register_model("googlenet")
class GoogLeNet(ImageClassifier):
    """GoogLeNet, 22 layers, with local response normalisation (Szegedy et al., arXiv:1409.4842)."""

    title = "GoogleNet"
    input_shape = (3, 224, 224)

    def __init__(self, *, num_classes: int = 1000) -> None:
        features = nn.Sequential(
            _convolution(3, 64, 7, stride=2),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.LocalResponseNorm(5),
            _convolution(64, 64, 1),
            _convolution(64, 192, 3),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _inception(192, 64, 96, 128, 16, 32, 32),
            _inception(256, 128, 128, 192, 32, 96, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _inception(480, 192, 96, 208, 16, 48, 64),
            _inception(512, 160, 112, 224, 24, 64, 64),
            _inception(512, 128, 128, 256, 24, 64, 64),
            _inception(512, 112, 144, 288, 32, 64, 64),
            _inception(528, 256, 160, 320, 32, 128, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _inception(832, 256, 160, 320, 32, 128, 128),
            _inception(832, 384, 192, 384, 48, 128, 128),
        )
        super().__init__(features, pooled_classifier(1024, num_classes, dropout=0.4), num_classes)
