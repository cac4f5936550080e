"""EfficientNet (Tan and Le, arXiv:1905.11946)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmark_core.options import check_probability
from pytorch_benchmarks.models.layers import (
    ACTIVATIONS,
    NORMS,
    Activation,
    DropPath,
    Norm,
    SqueezeExcitation,
    convolution,
)  # fmt: skip
from pytorch_benchmarks.models.model import ImageClassifier, register_model

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


class _Block(nn.Module):
    """An inverted bottleneck (Sandler et al., arXiv:1801.04381) with squeeze and excitation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        kernel: int,
        stride: int,
        drop: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += convolution(inputs, wide, 1, norm=norm, activation=activation)
        layers += convolution(wide, wide, kernel, stride, groups=wide, norm=norm, activation=activation)
        layers.append(SqueezeExcitation(wide, inputs // 4, activation, nn.Sigmoid))
        layers += convolution(wide, outputs, 1, norm=norm)
        self.layers = nn.Sequential(*layers)
        self.drop = DropPath(drop)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.layers(x)) if self.residual else self.layers(x)


class EfficientNet(ImageClassifier):
    """The smallest model of the family, which was found by architecture search.

    Args:
        dropout: Dropout before the classifier.
        drop_path: Probability that the last block is dropped in training; it increases linearly from 0 at the first.
        num_classes: Of the classifier.
        norm, activation: Constructors of these layers.
    """

    title = "EfficientNet-B0"
    input_shape = (3, 224, 224)

    def __init__(
        self,
        *,
        dropout: float = 0.2,
        drop_path: float = 0.2,
        num_classes: int = 1000,
        norm: Norm = NORMS["batch"],
        activation: Activation = ACTIVATIONS["silu"],
    ) -> None:
        check_probability("drop_path", drop_path)
        layers = convolution(3, 32, 3, stride=2, norm=norm, activation=activation)
        blocks, channels, number = sum(stage[-1] for stage in _STAGES), 32, 0
        for expansion, kernel, stride, outputs, count in _STAGES:
            for place in range(count):
                drop = drop_path * number / blocks
                stride = stride if place == 0 else 1
                layers.append(_Block(channels, outputs, expansion, kernel, stride, drop, norm, activation))
                channels, number = outputs, number + 1
        layers += convolution(channels, 1280, 1, norm=norm, activation=activation)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))
        super().__init__(nn.Sequential(*layers), classifier, num_classes)


@register_model("efficientnet_b0")
def efficientnet_b0(**options: Any) -> EfficientNet:
    """EfficientNet-B0."""
    return EfficientNet(**options)
