"""Base classes of text models, whose inputs are token numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.model import Model

__all__ = ["LanguageModel", "TextModel"]


class TextModel(Model):
    """Inputs are tokens, int64, shape (batch, length).

    Attributes:
        vocabulary: Number of tokens.
    """

    vocabulary: int = 0
    unit = "sequences"

    def inputs(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random tokens."""
        return torch.randint(self.vocabulary, (batch_size, *self.input_shape), generator=generator)


class LanguageModel(TextModel):
    """Outputs are logits of tokens, shape (batch, length, vocabulary); targets are tokens, shape (batch, length)."""

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Random tokens, one for each position."""
        return self.inputs(batch_size, generator)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Mean cross-entropy over all positions with a non-negative target."""
        return nn.functional.cross_entropy(output.flatten(0, 1).float(), target.flatten(), ignore_index=-100)
