"""An architecture file for tests: a language model that costs next to nothing."""

from __future__ import annotations

from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.llama import Llama, Size


@register_model("tiny_text")
def tiny_text(*, sequence_length: int = 8, new_tokens: int = 4) -> Llama:
    size = Size(64, width=16, depth=2, heads=2, key_heads=1, hidden=32, theta=1e4, tied=True)
    return Llama("Tiny", size, sequence_length, new_tokens)
