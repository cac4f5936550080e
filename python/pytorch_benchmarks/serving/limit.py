"""The highest rate that one process sustains within the bounds, estimated from trials whose outcome is random near that rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Limit", "Prior", "Trial", "find_limit", "flat_prior", "normal_prior"]

FEWEST_TRIALS = 8
_LOWEST, _HIGHEST = 1 / 1000, 1.5  # relative to the rate that cannot be sustained
_STEPS = 1000  # of the logarithm of the rate, over the whole range
_STEPS_NEAR = 400  # of a normal prior
_SIGMAS = 5.0  # on either side of a normal prior
_WIDTHS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)  # of the range of rates in which the outcome of a trial is random
_LAPSES = 0.02  # share of trials whose outcome does not depend on the rate
_QUANTILES = (0.025, 0.5, 0.975)


@dataclass(frozen=True, slots=True)
class Trial:
    """A run at one rate.

    Attributes:
        rate: Queries per second.
        passed: Whether it met the bounds.
        latency: The evaluated percentile of its latencies, in milliseconds; infinite if too many queries were rejected.
    """

    rate: float
    passed: bool
    latency: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of one process.

    Attributes:
        rate: Queries per second at which half of the trials meet the bounds.
        low, high: 95 % credible interval. It covers the randomness of the trials, not the variation between processes.
        spread: Standard deviation of the logarithm of the rate in the posterior distribution.
        trials: All trials, in order.
    """

    rate: float
    low: float
    high: float
    spread: float
    trials: tuple[Trial, ...]

    @property
    def precision(self) -> float:
        """Half the width of the interval relative to the rate."""
        return (self.high - self.low) / (2 * self.rate)


@dataclass(frozen=True, slots=True)
class Prior:
    """The distribution of the limit before the first trial.

    Attributes:
        rates: Logarithms of rates, in increasing order, shape (steps,).
        weights: Their probabilities, shape (steps,); any scale.
    """

    rates: Tensor
    weights: Tensor


def flat_prior(upper: float) -> Prior:
    """A uniform distribution of the rate, up to 1.5 times a rate that cannot be sustained for long, such as the throughput of offline."""
    rates = torch.linspace(math.log(upper * _LOWEST), math.log(upper * _HIGHEST), _STEPS, dtype=torch.float64)
    return Prior(rates, rates.exp())


def normal_prior(rate: float, spread: float) -> Prior:
    """A normal distribution of the logarithm of the rate.

    Args:
        rate: Median.
        spread: Standard deviation of the logarithm.
    """
    distances = torch.linspace(-_SIGMAS, _SIGMAS, _STEPS_NEAR, dtype=torch.float64)
    return Prior(math.log(rate) + spread * distances, (-(distances**2) / 2).exp())


def find_limit(
    run: Callable[[float], Trial],
    prior: Prior,
    *,
    precision: float,
    most_trials: int,
    fewest: int = FEWEST_TRIALS,
    most_one_sided: int = 0,
) -> Limit:
    """Search for the limit of one process.

    The probability that a trial meets the bounds falls from 1 to 0 around the limit, over a range of unknown width (a cumulative normal
    distribution of the logarithm of the rate). The joint posterior distribution of limit and width is computed on a grid. Each trial uses the
    median of the limit so far, where its outcome is most informative (QUEST: Watson and Pelli, Perception & Psychophysics 33(2):113, 1983).
    Rates near the limit are thus tried repeatedly, and one unlucky trial costs some more trials, not the result.

    Args:
        run: Runs a trial.
        prior: Distribution of the limit before the first trial.
        precision: Half the width of the interval, relative to the rate, at which the search ends.
        most_trials: Maximum number of trials.
        fewest: Minimum number of trials.
        most_one_sided: Maximum number of trials while all had the same outcome; at least `most_trials`.
    """
    posterior = _Posterior(prior)
    trials: list[Trial] = []
    median = posterior.quantiles()[1]
    while True:
        trial = run(median)
        trials.append(trial)
        posterior.learn(trial)
        low, median, high = posterior.quantiles()
        found = Limit(median, low, high, posterior.spread(), tuple(trials))
        is_bracketed = len({one.passed for one in trials}) == 2
        most = most_trials if is_bracketed else max(most_trials, most_one_sided)
        if len(trials) >= most or (len(trials) >= fewest and is_bracketed and found.precision <= precision):
            return found


class _Posterior:
    """Joint distribution of the limit and of the width of the range in which outcomes are random."""

    def __init__(self, prior: Prior) -> None:
        self._rates = prior.rates
        self._widths = torch.tensor(_WIDTHS, dtype=torch.float64)
        self._weights = prior.weights.unsqueeze(1).expand(-1, len(_WIDTHS)).clone()
        self._weights /= self._weights.sum()

    def learn(self, trial: Trial) -> None:
        distance = (self._rates - math.log(trial.rate)).unsqueeze(1) / self._widths
        passing = _LAPSES / 2 + (1 - _LAPSES) * torch.special.ndtr(distance)
        self._weights *= passing if trial.passed else 1 - passing
        self._weights /= self._weights.sum()

    def quantiles(self) -> tuple[float, float, float]:
        """The limits of the interval with the median between them."""
        below = self._weights.sum(1).cumsum(0)
        steps = torch.searchsorted(below, torch.tensor(_QUANTILES, dtype=torch.float64)).clamp(max=len(below) - 1)
        low, median, high = self._rates[steps].exp().tolist()
        return low, median, high

    def spread(self) -> float:
        weights = self._weights.sum(1)
        mean = float(weights @ self._rates)
        return math.sqrt(float(weights @ (self._rates - mean) ** 2))
