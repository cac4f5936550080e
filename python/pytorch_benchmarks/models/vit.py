"""Vision transformer (Dosovitskiy et al., arXiv:2010.11929)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Norm
from pytorch_benchmarks.models.model import Model, register_model
from pytorch_benchmarks.models.transformer import Block, initialise

__all__ = ["VisionTransformer", "vit_b_16"]


class VisionTransformer(Model):
    """Square patches of an image as tokens, preceded by a class token.

    Args:
        title: Name for reports.
        patch: Side of a patch, in pixels.
        width, depth, heads: Of the transformer.
        num_classes: Of the classifier.
        dropout: Probability that a feature or an attention weight is dropped in training.
        norm, activation: Constructors of these layers.
    """

    input_shape = (3, 224, 224)

    def __init__(
        self,
        title: str,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        *,
        num_classes: int = 1000,
        dropout: float = 0.0,
        norm: Norm = partial(nn.LayerNorm, eps=1e-6),  # noqa: B008
        activation: Activation = ACTIVATIONS["gelu"],
    ) -> None:
        super().__init__()
        self.title = title
        self.num_classes = num_classes
        self.patches = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (224 // patch) ** 2 + 1, width) * 0.02)
        block = partial(Block, causal=False, norm=norm, activation=activation, dropout=dropout)
        self.blocks = nn.Sequential(*(block(width, heads) for _ in range(depth)))
        self.norm = norm(width)
        self.classifier = nn.Linear(width, self.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions
        return self.classifier(self.norm(self.blocks(tokens))[:, 0])


@register_model("vit_b_16")
def vit_b_16(**options: Any) -> VisionTransformer:
    """Vision transformer, base, patches of 16×16."""
    return VisionTransformer("ViT-B/16", patch=16, width=768, depth=12, heads=12, **options)
