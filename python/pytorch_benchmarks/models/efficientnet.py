"""EfficientNet (Tan and Le, arXiv:1905.11946)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.layers import DropPath, SqueezeExcitation
from pytorch_benchmarks.models.model import Model

__all__ = ["EfficientNet", "efficientnet_b0"]

# Table 1 of the paper: expansion, kernel, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and normalisation."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class _Block(nn.Module):
    """An inverted bottleneck (Sandler et al., arXiv:1801.04381) with squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, drop: float) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_convolution(inputs, wide, 1), nn.SiLU(inplace=True)]
        layers += [*_convolution(wide, wide, kernel, stride, groups=wide), nn.SiLU(inplace=True)]
        layers.append(SqueezeExcitation(wide, inputs // 4, partial(nn.SiLU, inplace=True), nn.Sigmoid))
        layers += _convolution(wide, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.drop = DropPath(drop)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.layers(x)) if self.residual else self.layers(x)


class EfficientNet(Model):
    """The network that architecture search found, at its smallest scale.

    Args:
        dropout: In front of the classifier.
        drop_path: Probability of the last block to be left out in training; the first's is 0, and it grows evenly.
    """

    title = "EfficientNet-B0"
    input_shape = (3, 224, 224)

    def __init__(self, dropout: float, drop_path: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, 32, 3, stride=2), nn.SiLU(inplace=True)]
        blocks, channels, number = sum(stage[-1] for stage in _STAGES), 32, 0
        for expansion, kernel, stride, outputs, count in _STAGES:
            for place in range(count):
                drop = drop_path * number / blocks
                layers.append(_Block(channels, outputs, expansion, kernel, stride if place == 0 else 1, drop))
                channels, number = outputs, number + 1
        layers += [*_convolution(channels, 1280, 1), nn.SiLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, self.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@register_model("efficientnet_b0")
def efficientnet_b0(*, dropout: float = 0.2, drop_path: float = 0.2) -> EfficientNet:
    """EfficientNet-B0."""
    return EfficientNet(dropout, drop_path)
