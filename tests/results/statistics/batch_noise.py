"""Simulated single runs whose batches depend on those before them: how often an interval from batches does not hold the true ratio.

`python -m tests.results.statistics.batch_noise` prints the table of error_rates.md, which test_batch_noise.py computes again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlbs.results.statistics.ratio import Sample, batch_interval
from tests.results.statistics.block_bootstrap import block_resampled

__all__ = ["COUNTS", "METHODS", "SERIES", "missed"]

ROUNDS = 2000
COUNTS = (10, 30, 100, 400)

Array = NDArray[Any]


def _correlated(shape: tuple[int, int], source: np.random.Generator, correlation: float = 0.5) -> Array:
    """Each value is the share `correlation` of the one before it, and noise (AR(1))."""
    noise = source.normal(size=shape)
    values = np.empty(shape)
    values[:, 0] = noise[:, 0] / math.sqrt(1 - correlation**2)
    for at in range(1, shape[1]):
        values[:, at] = correlation * values[:, at - 1] + noise[:, at]
    return values


def _two_speeds(shape: tuple[int, int], source: np.random.Generator) -> Array:
    """Three standard deviations slower for eight batches on average, then not for twenty: a load that comes and goes."""
    slow = source.random(shape[0]) < 8 / 28
    values = source.normal(size=shape)
    for at in range(shape[1]):
        drawn = source.random(shape[0])
        slow = np.where(slow, drawn >= 1 / 8, drawn < 1 / 20)
        values[:, at] += 3 * (slow - 8 / 28)
    return values


SERIES: dict[str, Callable[[tuple[int, int], np.random.Generator], Array]] = {
    "independent": lambda shape, source: source.normal(size=shape),
    "correlation 0.5 between adjacent batches": _correlated,
    "changing between two speeds": _two_speeds,
}


def _block_bootstrap(values: Array) -> tuple[Array, Array]:
    """Its quantiles were widened by Student's distribution; its standard deviation with that distribution is nearly the same."""
    found = [block_resampled(row, (index, len(row))) for index, row in enumerate(values)]
    return np.array([spread.var() for spread, _ in found]), np.array([freedom for _, freedom in found])


def _batch_means(values: Array) -> tuple[Array, Array]:
    """The means of five parts (Schmeiser 1982)."""
    parts = 5
    length = values.shape[1] // parts
    means = values[:, : parts * length].reshape(len(values), parts, length).mean(axis=2)
    return means.var(axis=1, ddof=1) / parts, np.full(len(values), parts - 1.0)


def _positive_sequence(values: Array) -> tuple[Array, Array]:
    """The sum of autocovariances as long as pairs of them are positive and fall (Geyer 1992), without its bias for few values."""
    count = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    lags = min(count - 1, 2 * math.isqrt(count) + 20) // 2 * 2
    covariances = np.stack(
        [(centred[:, lag:] * centred[:, : count - lag]).sum(axis=1) / count for lag in range(lags)], 1
    )
    pairs = covariances[:, ::2] + covariances[:, 1::2]
    pairs = np.minimum.accumulate(pairs, axis=1) * np.cumprod(pairs > 0, axis=1)
    factor = np.maximum(0.5, 2 * pairs.sum(axis=1) / covariances[:, 0] - 1)
    variance = covariances[:, 0] * factor / count / (1 - factor / count).clip(0.1)
    return variance, np.maximum(1.0, count / factor - 1)


def _first_order(values: Array) -> tuple[Array, Array]:
    """The variance of an AR(1) series, its correlation without bias (Marriott and Pope 1954); as many degrees of freedom as it is worth values."""
    count = values.shape[1]
    centred = values - values.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    found = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / squares
    correlation = np.clip((count * found + 1) / (count - 3), 0, 0.95)
    lags = np.arange(1, count)
    factor = 1 + 2 * ((1 - lags / count) * correlation[:, None] ** lags).sum(axis=1)
    return squares / count / (1 - factor / count).clip(0.05) * factor / count, np.maximum(1.0, count / factor - 1)


# The variance of each series' mean, and its degrees of freedom; the last one is that of the program.
METHODS: dict[str, Callable[[Array], tuple[Array, Array]] | None] = {
    "block bootstrap (8c0f0d6)": _block_bootstrap,
    "five batch means": _batch_means,
    "initial positive sequence": _positive_sequence,
    "AR(1)": _first_order,
    "cosines": None,
}

_MEAN = 100.0  # of which noise is one hundredth


@cache
def missed(method: str, series: str, count: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """How often a 95 % confidence interval does not hold the true ratio, 1, of two runs of `count` batches.

    Returns:
        A share, 0 to 1, and the median width of intervals as a multiple of one made with the true variance.
    """
    from scipy.special import stdtrit  # here, because every process of pytest imports this file

    source = np.random.default_rng((13, count, list(SERIES).index(series)))
    above, below = (_MEAN + SERIES[series]((rounds, count), source) for _ in range(2))
    logs = np.log(above.mean(axis=1) / below.mean(axis=1))
    function = METHODS[method]
    if function is None:
        halves = np.array(
            [
                math.log(interval.high / interval.low) / 2
                for one, other in zip(above, below, strict=True)
                for interval in [batch_interval(*(Sample((float(run.mean()),), (tuple(run),)) for run in (one, other)))]
            ]
        )
    else:
        (first, free), (second, free_too) = function(above), function(below)
        variance = (first + second) / _MEAN**2
        freedom = (first + second) ** 2 / (first**2 / free + second**2 / free_too)
        halves = stdtrit(freedom, 0.975) * np.sqrt(variance)
    return float((np.abs(logs) > halves).mean()), float(np.median(halves) / (1.959964 * logs.std()))


def main() -> None:
    print(f"| batches of a run | method | {' | '.join(map(str, COUNTS))} |")
    print("| --- | --- |" + " ---: |" * len(COUNTS))
    for series in SERIES:
        for method in METHODS:
            found = [missed(method, series, count) for count in COUNTS]
            cells = " | ".join(f"{100 * share:.1f} % ({width:.1f})" for share, width in found)
            print(f"| {series} | {method} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
