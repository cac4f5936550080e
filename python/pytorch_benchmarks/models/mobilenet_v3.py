"""MobileNetV3 (Howard et al., arXiv:1905.02244)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.layers import SqueezeExcitation, round_channels
from pytorch_benchmarks.models.model import Model

__all__ = ["MobileNetV3Large"]

_RELU, _SWISH = partial(nn.ReLU, inplace=True), partial(nn.Hardswish, inplace=True)

# Table 1 of the paper: kernel, expanded channels, channels, squeeze and excitation, nonlinearity, stride.
_BLOCKS: tuple[tuple[int, int, int, bool, Callable[[], nn.Module], int], ...] = (
    (3, 16, 16, False, _RELU, 1),
    (3, 64, 24, False, _RELU, 2),
    (3, 72, 24, False, _RELU, 1),
    (5, 72, 40, True, _RELU, 2),
    (5, 120, 40, True, _RELU, 1),
    (5, 120, 40, True, _RELU, 1),
    (3, 240, 80, False, _SWISH, 2),
    (3, 200, 80, False, _SWISH, 1),
    (3, 184, 80, False, _SWISH, 1),
    (3, 184, 80, False, _SWISH, 1),
    (3, 480, 112, True, _SWISH, 1),
    (3, 672, 112, True, _SWISH, 1),
    (5, 672, 160, True, _SWISH, 2),
    (5, 960, 160, True, _SWISH, 1),
    (5, 960, 160, True, _SWISH, 1),
)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01),
    ]


class _Block(nn.Module):
    def __init__(
        self,
        inputs: int,
        kernel: int,
        wide: int,
        outputs: int,
        excite: bool,
        activation: Callable[[], nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if wide != inputs:
            layers += [*_convolution(inputs, wide, 1), activation()]
        layers += [*_convolution(wide, wide, kernel, stride, groups=wide), activation()]
        if excite:
            gate = partial(nn.Hardsigmoid, inplace=True)
            layers.append(SqueezeExcitation(wide, round_channels(wide / 4), _RELU, gate))
        layers += _convolution(wide, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


@register_model("mobilenet_v3_large")
class MobileNetV3Large(Model):
    """MobileNetV3-Large 1.0."""

    title = "MobileNetV3-Large"
    input_shape = (3, 224, 224)

    def __init__(self, *, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, 16, 3, stride=2), _SWISH()]
        channels = 16
        for kernel, wide, outputs, excite, activation, stride in _BLOCKS:
            layers.append(_Block(channels, kernel, wide, outputs, excite, activation, stride))
            channels = outputs
        layers += [*_convolution(channels, 960, 1), _SWISH(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(960, 1280), _SWISH(), nn.Dropout(dropout), nn.Linear(1280, self.num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
