"""A model whose checkpoints have a few kilobytes."""

from __future__ import annotations

from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model, register_model

__all__ = ["Tiny"]


@register_model("tiny")
class Tiny(Model):
    """Two fully connected layers."""

    title = "Tiny"
    input_shape = (8,)
    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(x).relu())
        return logits
