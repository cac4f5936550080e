"""ResNet (He et al., arXiv:1512.03385, table 1)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, NORMS, Activation, Norm, convolution
from pytorch_benchmarks.models.model import ImageClassifier, pooled_classifier, register_model

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "resnet269"]


class Residual(nn.Module):
    """activation(branch(x) + shortcut(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, activation: Activation) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


def basic_block(inputs: int, width: int, stride: int, *, project: bool, norm: Norm, activation: Activation) -> Residual:
    """Two 3×3 convolutions with `width` output channels."""
    branch = nn.Sequential(
        *convolution(inputs, width, 3, stride, norm=norm, activation=activation),
        *convolution(width, width, 3, norm=norm),
    )
    return Residual(branch, _shortcut(inputs, width, stride, project, norm), activation)


def bottleneck_block(
    inputs: int, width: int, stride: int, *, project: bool, norm: Norm, activation: Activation
) -> Residual:
    """1×1, 3×3 and 1×1 convolutions with 4 × `width` output channels. The stride is in the 3×3 convolution, as in most implementations today."""
    branch = nn.Sequential(
        *convolution(inputs, width, 1, norm=norm, activation=activation),
        *convolution(width, width, 3, stride, norm=norm, activation=activation),
        *convolution(width, 4 * width, 1, norm=norm),
    )
    return Residual(branch, _shortcut(inputs, 4 * width, stride, project, norm), activation)


def _shortcut(inputs: int, outputs: int, stride: int, project: bool, norm: Norm) -> nn.Module:
    return nn.Sequential(*convolution(inputs, outputs, 1, stride, norm=norm)) if project else nn.Identity()


class ResNet(ImageClassifier):
    """Four stages of residual blocks.

    The first block of every stage projects its shortcut, also where the shapes agree (first stage of the nets with 18 and 34 layers), as
    in the original DLBS, whose parameter counts this reproduces.

    Args:
        depth: Number of layers, for the title.
        blocks: Number of blocks in each stage.
        bottleneck: Whether blocks are bottleneck blocks.
        num_classes: Of the classifier.
        norm, activation: Constructors of these layers.
    """

    input_shape = (3, 224, 224)

    def __init__(
        self,
        depth: int,
        blocks: tuple[int, int, int, int],
        *,
        bottleneck: bool,
        num_classes: int = 1000,
        norm: Norm = NORMS["batch"],
        activation: Activation = ACTIVATIONS["relu"],
    ) -> None:
        kind, expansion = (bottleneck_block, 4) if bottleneck else (basic_block, 1)
        block = partial(kind, norm=norm, activation=activation)
        layers: list[nn.Module] = [
            *convolution(3, 64, 7, stride=2, norm=norm, activation=activation),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        ]
        channels = 64
        for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
            for index in range(count):
                first = index == 0
                layers.append(block(channels, width, 2 if first and stage else 1, project=first))
                channels = width * expansion
        super().__init__(nn.Sequential(*layers), pooled_classifier(channels, num_classes), num_classes)
        self.title = f"ResNet{depth}"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@register_model("resnet18")
def resnet18(**options: Any) -> ResNet:
    """ResNet with 18 layers."""
    return ResNet(18, (2, 2, 2, 2), bottleneck=False, **options)


@register_model("resnet34")
def resnet34(**options: Any) -> ResNet:
    """ResNet with 34 layers."""
    return ResNet(34, (3, 4, 6, 3), bottleneck=False, **options)


@register_model("resnet50")
def resnet50(**options: Any) -> ResNet:
    """ResNet with 50 layers."""
    return ResNet(50, (3, 4, 6, 3), bottleneck=True, **options)


@register_model("resnet101")
def resnet101(**options: Any) -> ResNet:
    """ResNet with 101 layers."""
    return ResNet(101, (3, 4, 23, 3), bottleneck=True, **options)


@register_model("resnet152")
def resnet152(**options: Any) -> ResNet:
    """ResNet with 152 layers."""
    return ResNet(152, (3, 8, 36, 3), bottleneck=True, **options)


@register_model("resnet200")
def resnet200(**options: Any) -> ResNet:
    """ResNet with 200 layers."""
    return ResNet(200, (3, 24, 36, 3), bottleneck=True, **options)


@register_model("resnet269")
def resnet269(**options: Any) -> ResNet:
    """ResNet with 269 layers."""
    return ResNet(269, (3, 30, 48, 8), bottleneck=True, **options)
