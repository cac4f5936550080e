"""GPT-2 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019)."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from pytorch_benchmarks.models.layers import Activation, Norm
from pytorch_benchmarks.models.model import register_model
from pytorch_benchmarks.models.transformer import Block, TextTransformer, initialise

__all__ = ["GPT2", "gpt2_small"]

_NORM = partial(nn.LayerNorm, eps=1e-5)
_GELU = partial(nn.GELU, "tanh")  # the approximation used in its training


class GPT2(TextTransformer):
    """A decoder whose output layer shares its weights with the token embedding; the loss is that of next-token prediction.

    Args:
        title: Name for reports.
        width, depth, heads: Of the transformer.
        sequence_length: Tokens in one instance, at most 1024.
        dropout: Probability that a feature is dropped in training.
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
        super().__init__(title, width, sequence_length)
        self.blocks = nn.Sequential(
            *(Block(width, heads, causal=True, norm=norm, activation=activation, dropout=dropout) for _ in range(depth))
        )
        self.norm = norm(width)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.norm(self.blocks(self.embedded(x))))


@register_model("gpt2_small")
def gpt2_small(**options: Any) -> GPT2:
    """GPT-2 small, 12 layers; instances are sequences of 1024 tokens. Trained without dropout by default."""
    return GPT2("GPT-2 small", width=768, depth=12, heads=12, **options)
