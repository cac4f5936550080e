"""MobileNetV3 (Howard et al., arXiv:1905.02244)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import Activation, Norm, SqueezeExcitation, convolution, round_channels
from pytorch_benchmarks.models.model import ImageClassifier, register_model

__all__ = ["MobileNetV3Large"]

_RELU, _SWISH = partial(nn.ReLU, inplace=True), partial(nn.Hardswish, inplace=True)
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)

# Table 1 of the paper: kernel, expanded channels, channels, squeeze and excitation, nonlinearity, stride.
_BLOCKS: tuple[tuple[int, int, int, bool, Activation, int], ...] = (
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


class _Block(nn.Module):
    def __init__(
        self,
        inputs: int,
        kernel: int,
        wide: int,
        outputs: int,
        excite: bool,
        activation: Activation,
        stride: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if wide != inputs:
            layers += convolution(inputs, wide, 1, norm=norm, activation=activation)
        layers += convolution(wide, wide, kernel, stride, groups=wide, norm=norm, activation=activation)
        if excite:
            gate = partial(nn.Hardsigmoid, inplace=True)
            layers.append(SqueezeExcitation(wide, round_channels(wide / 4), _RELU, gate))
        layers += convolution(wide, outputs, 1, norm=norm)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


@register_model("mobilenet_v3_large")
class MobileNetV3Large(ImageClassifier):
    """MobileNetV3-Large 1.0.

    Args:
        dropout: Dropout before the last layer.
        num_classes: Of the classifier.
        norm: Constructor of the normalisation layers.
        activation: Constructor of the nonlinearity of the wider blocks and of the classifier; the first six blocks keep ReLU.
    """

    title = "MobileNetV3-Large"
    input_shape = (3, 224, 224)

    def __init__(
        self, *, dropout: float = 0.2, num_classes: int = 1000, norm: Norm = _NORM, activation: Activation = _SWISH
    ) -> None:
        layers = convolution(3, 16, 3, stride=2, norm=norm, activation=activation)
        channels = 16
        for kernel, wide, outputs, excite, kind, stride in _BLOCKS:
            inside = activation if kind is _SWISH else kind
            layers.append(_Block(channels, kernel, wide, outputs, excite, inside, stride, norm))
            channels = outputs
        layers += convolution(channels, 960, 1, norm=norm, activation=activation)
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        classifier = nn.Sequential(
            nn.Linear(960, 1280), activation(), nn.Dropout(dropout), nn.Linear(1280, num_classes)
        )
        super().__init__(nn.Sequential(*layers), classifier, num_classes)
