"""The transformer block of vision and language models (Vaswani et al., arXiv:1706.03762), and input and output layers of language models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark_core.options import check_whole
from pytorch_benchmarks.models.layers import ACTIVATIONS, NORMS, Activation, Norm
from pytorch_benchmarks.models.model import LanguageModel


class Block(nn.Module):
    """Attention and a perceptron, each with a residual connection.

    Args:
        width: Features per token.
        heads: Attention heads; the features are divided evenly among them.
        causal: Whether a token attends only to itself and earlier ones.
        norm: Constructor of the normalisation layers, over the features of a token.
        activation: Constructor of the nonlinearity inside the perceptron.
        norm_first: Whether normalisation precedes attention and perceptron (GPT-2, ViT) or follows the sums (BERT).
        dropout: Probability that a feature or an attention weight is dropped in training.
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
        if norm in (NORMS["batch"], NORMS["group"], NORMS["instance"]):
            raise TypeError(
                "norm: batch, group and instance normalise the channels of images, not the features of tokens; use another one"
            )
        self.norm_first = norm_first
        self.norm1 = norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = norm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (batch, length, width) to the same shape."""
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
    """A language model with learned positions whose output layer shares its weights with the token embedding.

    Subclasses set `vocabulary` and `positions`, and add blocks.

    Args:
        title: Name for reports.
        width: Features per token.
        sequence_length: Tokens in one instance, at most `positions`.

    Attributes:
        positions: Maximum number of tokens in an instance.
    """

    positions: int = 0

    def __init__(self, title: str, width: int, sequence_length: int) -> None:
        super().__init__()
        check_whole("sequence_length", sequence_length, most=self.positions)
        self.title = title
        self.input_shape = (sequence_length,)
        self.num_classes = self.vocabulary
        self.token_embedding = nn.Embedding(self.vocabulary, width)
        self.position_embedding = nn.Embedding(self.positions, width)

    def embedded(self, x: Tensor) -> Tensor:
        """Embed tokens (batch, length) as features (batch, length, width)."""
        return self.token_embedding(x) + self.position_embedding(torch.arange(x.shape[1], device=x.device))

    def logits(self, tokens: Tensor) -> Tensor:
        """Map features (batch, length, width) to logits of tokens (batch, length, vocabulary)."""
        return nn.functional.linear(tokens, self.token_embedding.weight)


def initialise(model: nn.Module) -> None:
    """Initialise as BERT and GPT-2 do: weights normal with standard deviation 0.02, biases zero."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
