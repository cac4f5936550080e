"""Building blocks of Inception v3 and v4: factorised convolutions, average pooling as a branch, splits."""

from __future__ import annotations

from functools import partial

from torch import nn

from pytorch_benchmarks.models import layers
from pytorch_benchmarks.models.layers import Activation, Branches, Norm

__all__ = ["COLUMN", "NORM", "ROW", "Convolution", "average", "split"]

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
