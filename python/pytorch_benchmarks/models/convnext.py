"""ConvNeXt (Liu et al., arXiv:2201.03545)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.options import check_probability
from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, DropPath
from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["ConvNeXt", "convnext_tiny"]


class _Norm(nn.LayerNorm):
    """Layer normalisation over the channels of (batch, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = nn.functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self, width: int, drop: float, activation: Activation) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.activation = activation()
        self.contract = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.contract(self.activation(self.expand(y))) * self.scale
        return x + self.drop(y.permute(0, 3, 1, 2))


class ConvNeXt(Model):
    """A convolutional model with the proportions of a vision transformer.

    Args:
        title: Name for reports.
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        drop_path: Probability that the last block is dropped in training; it increases linearly from 0 at the first.
        num_classes: Of the classifier.
        activation: Constructor of the nonlinearities.
    """

    input_shape = (3, 224, 224)

    def __init__(
        self,
        title: str,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        drop_path: float = 0.1,
        num_classes: int = 1000,
        activation: Activation = ACTIVATIONS["gelu"],
    ) -> None:
        super().__init__()
        check_probability("drop_path", drop_path)
        self.title = title
        self.num_classes = num_classes
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], kernel_size=4, stride=4), _Norm(widths[0], eps=1e-6)]
        drops = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage:
                before = widths[stage - 1]
                layers += [_Norm(before, eps=1e-6), nn.Conv2d(before, width, kernel_size=2, stride=2)]
            layers += [_Block(width, next(drops), activation) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.classifier = nn.Linear(widths[-1], self.num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(self.features(x).mean(dim=(2, 3))))


@register_model("convnext_tiny")
def convnext_tiny(**options: Any) -> ConvNeXt:
    """ConvNeXt-T."""
    return ConvNeXt("ConvNeXt-T", widths=(96, 192, 384, 768), depths=(3, 3, 9, 3), **options)
