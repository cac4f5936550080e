"""The transformer block that vision and language models share (Vaswani et al., arXiv:1706.03762, with normalisation first)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Block", "initialise"]


class Block(nn.Module):
    """Attention and a perceptron, each added to what goes around it.

    Args:
        width: Features of a token.
        heads: Attention heads; they share the features evenly.
        causal: Whether a token sees only itself and those before it.
        epsilon: Of the normalisations.
        gelu: `none` for the exact function, `tanh` for the approximation that GPT-2 was trained with.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, epsilon: float, gelu: str = "none") -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(gelu), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, length, width) in, the same shape out."""
        x = x + self.attention(self.norm1(x))
        return x + self.perceptron(self.norm2(x))

    def attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def initialise(model: nn.Module) -> None:
    """Weights from a normal distribution of deviation 0.02, biases zero: what BERT and GPT-2 start from."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
