"""U-Net (Ronneberger et al., arXiv:1505.04597)."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.options import check_whole
from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["UNet"]


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions without padding, as in the paper: each removes one pixel at every border."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, kernel_size=3),
        nn.ReLU(inplace=True),
    )


@register_model("unet")
class UNet(Model):
    """A segmentation model: outputs are logits of each pixel's class, shape (batch, 2, side - 184, side - 184).

    Args:
        side: Side of the grey input image; 572 in the paper. The feature maps must halve evenly four times.
    """

    title = "U-Net"
    num_classes = 2

    def __init__(self, *, side: int = 572) -> None:
        super().__init__()
        check_whole("side", side)
        if side < 188 or side % 16 != 12:
            raise TypeError(f"side must be 188, 204, 220, … in steps of 16, not {side}")
        self.input_shape = (1, side, side)
        widths = [64, 128, 256, 512, 1024]
        self.down = nn.ModuleList(_pair(inputs, outputs) for inputs, outputs in zip([1, *widths], widths, strict=False))
        backwards = widths[::-1]
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
            for inputs, outputs in itertools.pairwise(backwards)
        )
        self.up = nn.ModuleList(_pair(inputs, outputs) for inputs, outputs in itertools.pairwise(backwards))
        self.classifier = nn.Conv2d(widths[0], self.num_classes, kernel_size=1)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random classes of the output pixels, int64, shape (batch, side - 184, side - 184)."""
        side = self.input_shape[1] - 184
        return torch.randint(self.num_classes, (batch_size, side, side), generator=generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Mean cross-entropy over pixels."""
        return nn.functional.cross_entropy(output.float(), target)

    def forward(self, x: Tensor) -> Tensor:
        left: list[Tensor] = []
        for number, pair in enumerate(self.down):
            x = pair(nn.functional.max_pool2d(x, 2) if number else x)
            left.append(x)
        left.pop()
        for grow, pair in zip(self.grow, self.up, strict=True):
            x = grow(x)
            beside = left.pop()
            border = (beside.shape[2] - x.shape[2]) // 2
            beside = beside[:, :, border : border + x.shape[2], border : border + x.shape[3]]
            x = pair(torch.cat([beside, x], dim=1))
        return self.classifier(x)
