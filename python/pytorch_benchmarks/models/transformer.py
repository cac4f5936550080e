"""The transformer block that vision and language models share (Vaswani et al., arXiv:1706.03762), and where language models begin and end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.layers import ACTIVATIONS, Activation, Norm
from pytorch_benchmarks.models.text import LanguageModel

__all__ = ["Block", "TextTransformer", "initialise"]


class Block(nn.Module):
    """Attention and a perceptron, each added to what goes around it.

    Args:
        width: Features of a token.
        heads: Attention heads; they share the features evenly.
        causal: Whether a token sees only itself and those before it.
        norm: Constructor of the normalisations, of a token's features.
        activation: Constructor of the nonlinearity inside the perceptron.
        norm_first: Whether what is added is normalised before its computation (GPT-2, ViT) or the sum is afterwards (BERT).
        dropout: Probability of a feature, or of an attention weight, to be left out in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool,
        norm: Norm,
        activation: Activation = ACTIVATIONS["gelu"],
        norm_first: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norm_first = norm_first
        self.norm1 = norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = norm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, length, width) in, the same shape out."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.norm1(x)))
            return x + self.dropout(self.perceptron(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.attention(x)))
        return self.norm2(x + self.dropout(self.perceptron(x)))

    def attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        left_out = self.dropout.p if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=left_out, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class TextTransformer(LanguageModel):
    """A language model with learned positions, whose output layer shares its weights with the token embedding.

    Subclasses set `vocabulary` and `positions`, and add blocks.

    Args:
        title: Name for reports.
        width: Features of a token.
        sequence_length: Tokens in one instance, at most `positions`.

    Attributes:
        positions: The most tokens that an instance may have.
    """

    positions: int = 0

    def __init__(self, title: str, width: int, sequence_length: int) -> None:
        super().__init__()
        if not 1 <= sequence_length <= self.positions:
            raise TypeError(f"sequence_length must be 1 to {self.positions}, not {sequence_length}")
        self.title = title
        self.input_shape = (sequence_length,)
        self.num_classes = self.vocabulary
        self.token_embedding = nn.Embedding(self.vocabulary, width)
        self.position_embedding = nn.Embedding(self.positions, width)

    def embedded(self, x: Tensor) -> Tensor:
        """Tokens (batch, length) as features (batch, length, width)."""
        return self.token_embedding(x) + self.position_embedding(torch.arange(x.shape[1], device=x.device))

    def logits(self, tokens: Tensor) -> Tensor:
        """Features (batch, length, width) as logits of tokens (batch, length, vocabulary)."""
        return nn.functional.linear(tokens, self.token_embedding.weight)


def initialise(model: nn.Module) -> None:
    """Weights from a normal distribution of deviation 0.02, biases zero: what BERT and GPT-2 start from."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
