"""GPT-2 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.layers import Activation, Norm
from pytorch_benchmarks.models.registry import register_model
from pytorch_benchmarks.models.text import LanguageModel
from pytorch_benchmarks.models.transformer import Block, initialise

__all__ = ["GPT2", "gpt2_small"]


_NORM = partial(nn.LayerNorm, eps=1e-5)
_GELU = partial(nn.GELU, "tanh")  # the approximation that it was trained with


class GPT2(LanguageModel):
    """A decoder whose output layer shares its weights with the token embedding; the loss is that of predicting each next token.

    Args:
        title: Name for reports.
        width, depth, heads: Of the transformer.
        sequence_length: Tokens in one instance, at most 1024.
        dropout: Probability of a feature to be left out in training.
        norm, activation: Constructors of these layers.
    """

    vocabulary = 50_257
    positions = 1024

    def __init__(
        self,
        title: str,
        width: int,
        depth: int,
        heads: int,
        *,
        sequence_length: int = 1024,
        dropout: float = 0.0,
        norm: Norm = _NORM,
        activation: Activation = _GELU,
    ) -> None:
        super().__init__()
        if not 1 <= sequence_length <= self.positions:
            raise TypeError(f"sequence_length must be 1 to {self.positions}, not {sequence_length}")
        self.title = title
        self.input_shape = (sequence_length,)
        self.num_classes = self.vocabulary
        self.token_embedding = nn.Embedding(self.vocabulary, width)
        self.position_embedding = nn.Embedding(self.positions, width)
        self.blocks = nn.Sequential(
            *(Block(width, heads, causal=True, norm=norm, activation=activation, dropout=dropout) for _ in range(depth))
        )
        self.norm = norm(width)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        tokens = self.token_embedding(x) + self.position_embedding(places)
        return nn.functional.linear(self.norm(self.blocks(tokens)), self.token_embedding.weight)


@register_model("gpt2_small")
def gpt2_small(**options: Any) -> GPT2:
    """GPT-2, the smallest, 12 layers; instances are sequences of 1024 tokens. Trained without dropout unless asked for."""
    return GPT2("GPT-2 small", width=768, depth=12, heads=12, **options)
