"""BERT (Devlin et al., arXiv:1810.04805)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Norm
from pytorch_benchmarks.models.model import register_model
from pytorch_benchmarks.models.transformer import Block, TextTransformer, initialise

__all__ = ["Bert", "bert_base"]

_NORM = partial(nn.LayerNorm, eps=1e-12)


class Bert(TextTransformer):
    """An encoder, trained to predict masked words and whether two sentences follow each other.

    It has no weights beyond the published encoder: words are predicted with the embedding's weights, and the first two pooled features
    are the scores of the second task. Outputs are logits (batch, length, vocabulary) and scores (batch, 2); targets are tokens
    (batch, length), -100 at unmasked positions, with the class of the pair in an additional column.

    Args:
        title: Name for reports.
        width, depth, heads: Of the transformer.
        sequence_length: Tokens in one instance, at most 512.
        dropout: Probability that a feature is dropped in training.
        norm, activation: Constructors of these layers.
    """

    vocabulary = 30_522
    positions = 512
    masked = 0.15

    def __init__(
        self,
        title: str,
        width: int,
        depth: int,
        heads: int,
        *,
        sequence_length: int = 128,
        dropout: float = 0.1,
        norm: Norm = _NORM,
        activation: Activation = ACTIVATIONS["gelu"],
    ) -> None:
        super().__init__(title, width, sequence_length)
        self.segment_embedding = nn.Embedding(2, width)
        self.norm = norm(width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, causal=False, norm=norm, activation=activation, norm_first=False, dropout=dropout)
                for _ in range(depth)
            )
        )
        self.pooler = nn.Linear(width, width)
        initialise(self)

    def targets(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Words at 15 % of the positions, and whether the sentences of each instance follow each other."""
        words = self.inputs(batch_size, generator)
        hidden = torch.rand(words.shape, generator=generator) < self.masked
        hidden[:, 0] = True  # at least one word, however short the sequence
        pairs = torch.randint(2, (batch_size, 1), generator=generator)
        return torch.cat([words.where(hidden, -100), pairs], dim=1)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Sum of both tasks' mean cross-entropies, as in the paper."""
        words, scores = output
        return super().loss(words, target[:, :-1]) + nn.functional.cross_entropy(scores.float(), target[:, -1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        length = x.shape[1]
        segments = (torch.arange(length, device=x.device) >= length // 2).long()
        tokens = self.embedded(x) + self.segment_embedding(segments)
        tokens = self.blocks(self.dropout(self.norm(tokens)))
        return self.logits(tokens), self.pooler(tokens[:, 0]).tanh()[:, :2]


@register_model("bert_base")
def bert_base(**options: Any) -> Bert:
    """BERT base, 12 layers; instances are sequences of 128 tokens, as in most of its training."""
    return Bert("BERT base", width=768, depth=12, heads=12, **options)
