"""The base class of all models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Model"]


class Model(nn.Module):
    """A network that can be benchmarked: it knows its input and its loss.

    Subclasses build their layers in the constructor and override `forward`. What most classifiers share is here; models with
    other inputs or losses override `inputs`, `targets` and `loss`.

    Attributes:
        title: Name for reports.
        input_shape: Shape of one instance, without the batch.
        unit: What one instance is, in the plural: throughput is counted in units per second.
        num_classes: Number of classes; targets are 0 … num_classes - 1.
    """

    title: str = ""
    input_shape: tuple[int, ...] = ()
    unit: str = "images"
    num_classes: int = 1000

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """Random inputs, float32, shape (batch_size, *input_shape), values like normalised images (mean 0, deviation 1).

        Models with several inputs give a tuple, which `forward` gets as it is.
        """
        return torch.randn(batch_size, *self.input_shape, generator=generator)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random class numbers, int64, shape (batch_size,)."""
        return torch.randint(self.num_classes, (batch_size,), generator=generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """A scalar: by default the mean cross-entropy of logits (batch_size, num_classes) in float32."""
        return nn.functional.cross_entropy(output.float(), target)

    def num_parameters(self) -> int:
        """Trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def num_stored_values(self) -> int:
        """Values in a checkpoint: parameters and buffers, such as the running statistics of batch normalisation."""
        return self.num_parameters() + sum(buffer.numel() for buffer in self.buffers())
