"""GPT-2 small (Radford et al., Language Models are Unsupervised Multitask Learners, 2019), without dropout."""

from __future__ import annotations

from typing import Any

import jax

from benchmark_core.options import check_whole
from jax_benchmarks.models.model import Arrays, Model, layer_norm, linear

_WIDTH, _DEPTH, _HEADS, _POSITIONS, _VOCABULARY = 768, 12, 12, 1024, 50_257


def build(*, sequence_length: int = 1024) -> Model:
    """GPT-2 small: instances are sequences of tokens; the output layer shares its weights with the token embedding."""
    check_whole("sequence_length", sequence_length, most=_POSITIONS)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (_VOCABULARY, _WIDTH),
        "position_embedding.weight": (_POSITIONS, _WIDTH),
    }
    for number in range(_DEPTH):
        for name, shape in (
            ("norm1", (_WIDTH,)),
            ("qkv", (3 * _WIDTH, _WIDTH)),
            ("out", (_WIDTH, _WIDTH)),
            ("norm2", (_WIDTH,)),
            ("perceptron.0", (4 * _WIDTH, _WIDTH)),
            ("perceptron.2", (_WIDTH, 4 * _WIDTH)),
        ):
            shapes |= {f"blocks.{number}.{name}.weight": shape, f"blocks.{number}.{name}.bias": shape[:1]}
    shapes |= {"norm.weight": (_WIDTH,), "norm.bias": (_WIDTH,)}

    def apply(parameters: Arrays, buffers: Arrays, x: Any, training: bool) -> tuple[Any, Arrays]:
        embedding = parameters["token_embedding.weight"]
        x = embedding[x] + parameters["position_embedding.weight"][: x.shape[1]]
        for number in range(_DEPTH):
            x = _block(parameters, f"blocks.{number}", x)
        return layer_norm(parameters, "norm", x) @ embedding.T, buffers

    return Model("GPT-2 small", "sequences", (sequence_length,), _VOCABULARY, shapes, apply, vocabulary=_VOCABULARY)


def _block(parameters: Arrays, name: str, x: Any) -> Any:
    """Attention and a perceptron, each with a residual connection; tokens (batch, length, width)."""
    batch, length, width = x.shape
    qkv = linear(parameters, f"{name}.qkv", layer_norm(parameters, f"{name}.norm1", x))
    q, k, v = (qkv.reshape(batch, length, 3, _HEADS, width // _HEADS)[:, :, part] for part in range(3))
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(batch, length, width)
    x = x + linear(parameters, f"{name}.out", mixed)
    inside = linear(parameters, f"{name}.perceptron.0", layer_norm(parameters, f"{name}.norm2", x))
    return x + linear(parameters, f"{name}.perceptron.2", jax.nn.gelu(inside, approximate=True))
