"""Percentiles of latencies, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pytorch_benchmarks.measure.confidence import cosine_power

__all__ = ["quantile", "quantile_interval"]

_MOST_COSINES = 50
_WINDOW = 12.0  # standard deviations of a binomial distribution, outside of which probabilities are negligible


def quantile(ordered: Sequence[float], share: float) -> float:
    """A percentile as LoadGen defines it: the value at index n * share of sorted values."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def quantile_interval(values: Sequence[float], share: float, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """A confidence interval for a percentile, between two order statistics.

    Latencies of a server are autocorrelated: a long queue remains long for a while. Their number is therefore reduced to an effective number
    of independent ones: the variance of the low frequencies (`cosine_power`) of the indicator of being above the percentile, relative to
    its variance without dependence.

    Args:
        values: In the order of arrival of the queries; infinite for queries without an answer.
        share: 0.99 for the 99th percentile.
        confidence: Share of repetitions in which the interval contains the percentile.

    Returns:
        Lower and upper bound; infinite if there are too few values for an upper one. None for fewer than four values.
    """
    count = len(values)
    if count < 4:
        return None
    ordered = sorted(values)
    middle = quantile(ordered, share)
    above = torch.tensor(values, dtype=torch.float64).gt(middle).to(torch.float64)
    size = max(4, math.floor(count / _dependence(above)))
    low, high = _binomial_bounds(size, share, (1 - confidence) / 2)
    upper = math.ceil(high / size * count)
    return (
        ordered[min(count - 1, max(0, math.floor(low / size * count) - 1))],
        ordered[upper] if upper < count else math.inf,
    )


def _dependence(above: Tensor) -> float:
    """Factor by which dependence raises the variance of a share; at least 1."""
    share = float(above.mean())
    if not 0 < share < 1:
        return 1.0
    most = max(1, min(_MOST_COSINES, round(0.3 * len(above) ** (2 / 3))))
    return max(1.0, cosine_power(above.numpy(), range(1, most + 1)) / (share * (1 - share)))


def _binomial_bounds(size: int, share: float, tail: float) -> tuple[int, int]:
    """The numbers k below and above which a binomial variable lies with probability at most `tail` each."""
    mean, deviation = size * share, math.sqrt(size * share * (1 - share))
    first = max(0, math.floor(mean - _WINDOW * deviation))
    last = min(size, math.ceil(mean + _WINDOW * deviation))
    k = torch.arange(first, last + 1, dtype=torch.float64)
    logarithms = (
        math.lgamma(size + 1)
        - torch.lgamma(k + 1)
        - torch.lgamma(size - k + 1)
        + k * math.log(share)
        + (size - k) * math.log1p(-share)
    )
    below = logarithms.exp().cumsum(0)
    low = first + int(torch.searchsorted(below, tail))
    high = first + int(torch.searchsorted(below, 1 - tail))
    return low, min(high, size)
