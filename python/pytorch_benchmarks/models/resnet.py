"""ResNet (He et al., arXiv:1512.03385, table 1)."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.model import Model

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "resnet269"]


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=size, stride=stride, padding=size // 2, bias=False)


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def basic_block(inputs: int, width: int, stride: int, *, project: bool) -> Residual:
    """Two convolutions of 3×3; `width` channels come out."""
    branch = nn.Sequential(
        _convolution(inputs, width, 3, stride),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _convolution(width, width, 3),
        nn.BatchNorm2d(width),
    )
    return Residual(branch, _shortcut(inputs, width, stride, project=project))


def bottleneck_block(inputs: int, width: int, stride: int, *, project: bool) -> Residual:
    """Convolutions of 1×1, 3×3 and 1×1; 4 × `width` channels come out. The 3×3 strides, as in most programs today."""
    branch = nn.Sequential(
        _convolution(inputs, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _convolution(width, width, 3, stride),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _convolution(width, 4 * width, 1),
        nn.BatchNorm2d(4 * width),
    )
    return Residual(branch, _shortcut(inputs, 4 * width, stride, project=project))


def _shortcut(inputs: int, outputs: int, stride: int, *, project: bool) -> nn.Module:
    if not project:
        return nn.Identity()
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(Model):
    """Four stages of residual blocks.

    The first block of every stage projects its shortcut, also where the shapes agree (first stage of the 18 and 34 layer nets):
    so did the suite whose parameter counts this reproduces.

    Args:
        depth: Number of layers, for the title.
        blocks: Number of blocks in each stage.
        bottleneck: Which kind of block.
    """

    input_shape = (3, 224, 224)

    def __init__(self, depth: int, blocks: tuple[int, int, int, int], *, bottleneck: bool) -> None:
        super().__init__()
        self.title = f"ResNet{depth}"
        block, expansion = (bottleneck_block, 4) if bottleneck else (basic_block, 1)
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        ]
        channels = 64
        for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
            for index in range(count):
                first = index == 0
                layers.append(block(channels, width, 2 if first and stage else 1, project=first))
                channels = width * expansion
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, self.num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@register_model("resnet18")
def resnet18() -> ResNet:
    """ResNet with 18 layers."""
    return ResNet(18, (2, 2, 2, 2), bottleneck=False)


@register_model("resnet34")
def resnet34() -> ResNet:
    """ResNet with 34 layers."""
    return ResNet(34, (3, 4, 6, 3), bottleneck=False)


@register_model("resnet50")
def resnet50() -> ResNet:
    """ResNet with 50 layers."""
    return ResNet(50, (3, 4, 6, 3), bottleneck=True)


@register_model("resnet101")
def resnet101() -> ResNet:
    """ResNet with 101 layers."""
    return ResNet(101, (3, 4, 23, 3), bottleneck=True)


@register_model("resnet152")
def resnet152() -> ResNet:
    """ResNet with 152 layers."""
    return ResNet(152, (3, 8, 36, 3), bottleneck=True)


@register_model("resnet200")
def resnet200() -> ResNet:
    """ResNet with 200 layers."""
    return ResNet(200, (3, 24, 36, 3), bottleneck=True)


@register_model("resnet269")
def resnet269() -> ResNet:
    """ResNet with 269 layers."""
    return ResNet(269, (3, 30, 48, 8), bottleneck=True)
