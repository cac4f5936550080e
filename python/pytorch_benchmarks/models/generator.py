"""Language models that generate text: a prompt is read at once (prefill), then tokens are generated one by one (decode)."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pytorch_benchmarks.models.text import LanguageModel
from pytorch_benchmarks.option_values import check_whole

__all__ = ["Cache", "Generator"]

Cache = list[tuple[Tensor, Tensor]]


class Generator(LanguageModel):
    """A decoder with a cache of the keys and values of earlier tokens.

    Attributes:
        sequence_length: Tokens of a prompt.
        new_tokens: Tokens generated after it.
    """

    def __init__(self, sequence_length: int, new_tokens: int) -> None:
        super().__init__()
        check_whole("sequence_length", sequence_length)
        check_whole("new_tokens", new_tokens, least=2)
        self.sequence_length, self.new_tokens = sequence_length, new_tokens
        self.input_shape = (sequence_length,)

    @abstractmethod
    def cache(self, batch_size: int) -> Cache:
        """Memory for keys and values of each layer, shape (batch, heads, prompt + new tokens, features of a head)."""

    @abstractmethod
    def forward(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        """Logits of each token's successor; with a cache, of the last one's only, for tokens at positions from `start`."""

    def prefill(self, prompt: Tensor, cache: Cache) -> Tensor:
        """Read prompts (batch, length) into the cache; return the most likely first tokens, shape (batch, 1)."""
        return self(prompt, cache).argmax(dim=-1)

    def decode(self, token: Tensor, cache: Cache, count: int) -> Tensor:
        """Generate `count` more tokens, always the most likely, after a prompt and its first token; shape (batch, count)."""
        made = []
        for number in range(count):
            token = self(token, cache, self.sequence_length + number).argmax(dim=-1)
            made.append(token)
        return torch.cat(made, dim=1)
