"""Decoders of the LLaMA family, with a cache of keys and values (Touvron et al., arXiv:2302.13971)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytorch_benchmarks.models.model import Cache, Generator, register_model
from pytorch_benchmarks.models.transformer import initialise

__all__ = ["Llama", "smollm2_135m", "tinyllama_1b"]


class _Attention(nn.Module):
    """Rotary positions (Su et al., arXiv:2104.09864); grouped queries share keys and values (Ainslie et al., arXiv:2305.13245)."""

    def __init__(self, width: int, heads: int, key_heads: int) -> None:
        super().__init__()
        self.heads, self.key_heads, self.size = heads, key_heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, key_heads * self.size, bias=False)
        self.value = nn.Linear(width, key_heads * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None, start: int
    ) -> Tensor:
        batch, length, width = x.shape
        q = _rotate(self.query(x).view(batch, length, self.heads, self.size).transpose(1, 2), rotation)
        k = _rotate(self.key(x).view(batch, length, self.key_heads, self.size).transpose(1, 2), rotation)
        v = self.value(x).view(batch, length, self.key_heads, self.size).transpose(1, 2)
        if cache is not None:
            keys, values = cache
            keys[:, :, start : start + length] = k
            values[:, :, start : start + length] = v
            k, v = keys[:, :, : start + length], values[:, :, : start + length]
        # New tokens are either the whole prompt, at an empty cache, or one token, which attends to all cached ones.
        mixed = nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=length > 1, enable_gqa=self.heads != self.key_heads
        )
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair of features (i, i + half) by an angle that grows with the position."""
    cosine, sine = rotation
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine], dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, key_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=1e-5)
        self.attention = _Attention(width, heads, key_heads)
        self.norm2 = nn.RMSNorm(width, eps=1e-5)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None, start: int
    ) -> Tensor:
        x = x + self.attention(self.norm1(x), rotation, cache, start)
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a model of this family.

    Attributes:
        vocabulary: Number of tokens.
        width, depth, heads: Of the transformer.
        key_heads: Heads of keys and values, each shared by heads / key_heads queries.
        hidden: Hidden features of the gated perceptron.
        theta: Base of the rotary frequencies.
        tied: Whether the output layer shares its weights with the embedding.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    key_heads: int
    hidden: int
    theta: float
    tied: bool


class Llama(Generator):
    """Training predicts each next token of a sequence; inference generates text.

    Args:
        title: Name for reports.
        size: Sizes of its layers.
        sequence_length: Tokens of a training instance, and of a prompt in inference.
        new_tokens: Tokens that inference generates after each prompt.
    """

    def __init__(self, title: str, size: Size, sequence_length: int, new_tokens: int) -> None:
        super().__init__(sequence_length, new_tokens)
        self.title = title
        self.vocabulary = self.num_classes = size.vocabulary
        self.head_width, self.key_heads, self.theta = size.width // size.heads, size.key_heads, size.theta
        self.embedding = nn.Embedding(size.vocabulary, size.width)
        self.blocks = nn.ModuleList(
            _Block(size.width, size.heads, size.key_heads, size.hidden) for _ in range(size.depth)
        )
        self.norm = nn.RMSNorm(size.width, eps=1e-5)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        if size.tied:
            self.head.weight = self.embedding.weight
        initialise(self)

    def cache(self, batch_size: int) -> Cache:
        weight = self.embedding.weight
        shape = (batch_size, self.key_heads, self.sequence_length + self.new_tokens, self.head_width)
        return [(weight.new_zeros(shape), weight.new_zeros(shape)) for _ in self.blocks]

    def forward(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        tokens = self.embedding(x)
        angles = self._angles(x.device, start, x.shape[1])
        rotation = (angles.cos().to(tokens.dtype), angles.sin().to(tokens.dtype))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, rotation, None if cache is None else cache[number], start)
        if cache is not None:
            tokens = tokens[:, -1:]  # only the last token's successor is needed
        return self.head(self.norm(tokens))

    def _angles(self, device: torch.device, start: int, length: int) -> Tensor:
        """Angles in float32, whatever the type of the weights: shape (length, width of a head / 2)."""
        exponents = torch.arange(0, self.head_width, 2, device=device, dtype=torch.float32) / self.head_width
        places = torch.arange(start, start + length, device=device, dtype=torch.float32)
        return torch.outer(places, self.theta**-exponents)


_SMOLLM2_135M = Size(49_152, width=576, depth=30, heads=9, key_heads=3, hidden=1536, theta=100_000.0, tied=True)
_TINYLLAMA_1B = Size(32_000, width=2048, depth=22, heads=32, key_heads=4, hidden=5632, theta=10_000.0, tied=False)


@register_model("smollm2_135m")
def smollm2_135m(*, sequence_length: int = 128, new_tokens: int = 16) -> Llama:
    """SmolLM2-135M (Ben Allal et al., arXiv:2502.02737): prompts of 128 tokens, answers of 16."""
    return Llama("SmolLM2-135M", _SMOLLM2_135M, sequence_length, new_tokens)


@register_model("tinyllama_1b")
def tinyllama_1b(*, sequence_length: int = 512, new_tokens: int = 64) -> Llama:
    """TinyLlama-1.1B (Zhang et al., arXiv:2401.02385): prompts of 512 tokens, answers of 64."""
    return Llama("TinyLlama-1.1B", _TINYLLAMA_1B, sequence_length, new_tokens)
