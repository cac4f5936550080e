"""The distribution of actions in soft actor-critic models: a normal distribution that tanh maps to (-1, 1).

Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905, appendix C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform as TorchTanhTransform

__all__ = ["SquashedNormal", "TanhTransform"]


class TanhTransform(TorchTanhTransform):
    """tanh, with an optional clamp of its inverse, which is infinite at ±1.

    Args:
        cache_size: 1 caches the last argument, so that its inverse is exact.
        clamp: Largest absolute value that is inverted unchanged; None inverts all values.
    """

    def __init__(self, cache_size: int = 1, clamp: float | None = None) -> None:
        super().__init__(cache_size=cache_size)
        self.clamp = clamp

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.atanh(y if self.clamp is None else y.clamp(-self.clamp, self.clamp))


class SquashedNormal(TransformedDistribution):
    """tanh of a normal distribution.

    Args:
        loc: Means of the normal distribution.
        scale: Its standard deviations.
        tanh_transform_clamp: `clamp` of `TanhTransform`.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, loc: Tensor, scale: Tensor, tanh_transform_clamp: float | None = None) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(Normal(loc, scale), [TanhTransform(clamp=tanh_transform_clamp)])

    @property
    def mean(self) -> Tensor:
        """tanh of the means: the action without sampling."""
        return torch.tanh(self.loc)
