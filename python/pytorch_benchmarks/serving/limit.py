"""The search for the highest rate that keeps the bounds: trials that may go wrong by chance, each at the rate that is most likely the limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Limit", "Trial", "find_limit"]

FEWEST_TRIALS = 8
_BELOW, _ABOVE = 1 / 1000, 1.5  # of the rate at which the search is sure to fail
_STEPS = 1000  # of the logarithm of the rate
_WIDTHS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)  # of the range of rates in which chance decides
_BY_ACCIDENT = 0.02  # trials whose outcome says nothing of the rate


@dataclass(frozen=True, slots=True)
class Trial:
    """A run at one rate.

    Attributes:
        rate: Queries a second.
        passed: Whether it kept the bounds.
        latency: Milliseconds: the percentile of its latencies; infinite if too many queries were rejected.
    """

    rate: float
    passed: bool
    latency: float


@dataclass(frozen=True, slots=True)
class Limit:
    """What a search found.

    Attributes:
        rate: The limit: at this rate a run keeps the bounds as often as not.
        low, high: Its interval of 95 %.
        trials: In their order.
    """

    rate: float
    low: float
    high: float
    trials: tuple[Trial, ...]

    @property
    def precision(self) -> float:
        """Half the width of the interval, as a share of the rate."""
        return (self.high - self.low) / (2 * self.rate)


def find_limit(
    run: Callable[[float], Trial], upper: float, *, precision: float, most_trials: int, fewest: int = FEWEST_TRIALS
) -> Limit:
    """Search for the limit.

    The probability that a run at a rate keeps the bounds falls from 1 to 0 around the limit, over a range that is not known either (a cumulative
    normal distribution of the logarithm of the rate). What the trials say of both is their posterior distribution on a grid, from flat priors; each
    trial is at the median of the limit so far, where it says most (QUEST: Watson and Pelli, Perception & Psychophysics 33(2):113, 1983).
    The same rate is thus tried again and again near the limit, and one unlucky run costs some trials, not the answer.

    Args:
        run: Makes a trial.
        upper: A rate that cannot be kept for long, such as the throughput of offline.
        precision: Half the width of the interval, as a share, at which the search ends.
        most_trials: At which it ends in any case.
        fewest: Before which it does not end.
    """
    posterior = _Posterior(upper)
    trials: list[Trial] = []
    while True:
        trial = run(posterior.quantile(0.5))
        trials.append(trial)
        posterior.learn(trial)
        found = Limit(posterior.quantile(0.5), posterior.quantile(0.025), posterior.quantile(0.975), tuple(trials))
        both = len({one.passed for one in trials}) == 2
        if len(trials) >= most_trials or (len(trials) >= fewest and both and found.precision <= precision):
            return found


class _Posterior:
    """How likely each limit is, with each width of the range in which chance decides."""

    def __init__(self, upper: float) -> None:
        self._rates = torch.linspace(math.log(upper * _BELOW), math.log(upper * _ABOVE), _STEPS, dtype=torch.float64)
        self._widths = torch.tensor(_WIDTHS, dtype=torch.float64)
        # Flat in the rate, not in its logarithm: limits are more often a half of what offline reaches than a hundredth.
        self._weights = self._rates.exp().unsqueeze(1).expand(-1, len(_WIDTHS)).clone()
        self._weights /= self._weights.sum()

    def learn(self, trial: Trial) -> None:
        distance = (self._rates - math.log(trial.rate)).unsqueeze(1) / self._widths
        passing = _BY_ACCIDENT / 2 + (1 - _BY_ACCIDENT) * torch.special.ndtr(distance)
        self._weights *= passing if trial.passed else 1 - passing
        self._weights /= self._weights.sum()

    def quantile(self, share: float) -> float:
        below = self._weights.sum(1).cumsum(0)
        return math.exp(float(self._rates[min(_STEPS - 1, int(torch.searchsorted(below, share)))]))
