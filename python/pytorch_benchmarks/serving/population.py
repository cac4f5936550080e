"""The highest rate over several processes: how trials are divided among them, and the interval of their mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from pytorch_benchmarks.measure.confidence import student_quantile
from pytorch_benchmarks.serving.limit import FEWEST_TRIALS, Limit, Trial, find_limit, flat_prior, normal_prior

__all__ = ["FEWEST_PER_PROCESS", "Population", "combine", "limit_of_next_process"]

FEWEST_PER_PROCESS = 4  # trials
# Standard deviation of the logarithm in the prior of later processes. It is far above the usual variation between processes (1 to 15 %): a narrower
# prior would pull the limits of the processes together and make the interval too narrow.
_SPREAD = 0.25
_LEVEL = 0.95
_NORMAL_QUANTILE = 1.96  # at the same level


@dataclass(frozen=True, slots=True)
class Population:
    """The limits of all processes of a search.

    Attributes:
        rate: Their geometric mean, in queries per second.
        low, high: Its 95 % confidence interval.
        limits: One for each process, in order.
    """

    rate: float
    low: float
    high: float
    limits: tuple[Limit, ...]

    @property
    def precision(self) -> float:
        """Half the width of the interval relative to the rate."""
        return (self.high - self.low) / (2 * self.rate)

    @property
    def trials(self) -> list[Trial]:
        """The trials of all processes, in order."""
        return [trial for limit in self.limits for trial in limit.trials]


def limit_of_next_process(
    found: Sequence[Limit],
    run: Callable[[float], Trial],
    upper: float,
    *,
    processes: int,
    precision: float,
    most_trials: int,
) -> Limit:
    """Search for the limit of one more process.

    The first process searches the whole range and may use all trials except `FEWEST_PER_PROCESS` for each of the others. Each later process
    starts at the mean of the limits so far and gets an equal share of the remaining trials.

    Args:
        found: Limits of the processes before.
        run: Runs a trial in the new process.
        upper: A rate that cannot be sustained for long, such as the throughput of offline.
        processes: Number of processes in the search.
        precision: Half the width of the interval of one process, relative to the rate, at which its search ends.
        most_trials: Maximum number of trials in all processes together.
    """
    remaining = most_trials - sum(len(limit.trials) for limit in found)
    left = processes - len(found)
    most = remaining - FEWEST_PER_PROCESS * (left - 1)
    fewest = min(most, FEWEST_TRIALS if processes == 1 else FEWEST_PER_PROCESS)
    if not found:
        return find_limit(run, flat_prior(upper), precision=precision, most_trials=most, fewest=fewest)
    return find_limit(
        run,
        normal_prior(_mean_rate(found), _SPREAD),
        precision=precision,
        most_trials=remaining // left,
        fewest=fewest,
        most_one_sided=most,
    )


def combine(limits: Sequence[Limit]) -> Population:
    """The geometric mean of the limits with Student's interval, computed from the logarithms.

    The standard deviation between processes includes the randomness of their trials. With few processes it can be 0 by chance, so the interval is at
    least as wide as the trials require if processes do not differ. One process has the interval of its own trials.
    """
    if len(limits) == 1:
        (one,) = limits
        return Population(one.rate, one.low, one.high, (one,))
    between = stdev(math.log(limit.rate) for limit in limits)
    within = math.sqrt(fmean(limit.spread**2 for limit in limits))
    half = max(student_quantile((1 + _LEVEL) / 2, len(limits) - 1) * between, _NORMAL_QUANTILE * within)
    rate = _mean_rate(limits)
    factor = math.exp(half / math.sqrt(len(limits)))
    return Population(rate, rate / factor, rate * factor, tuple(limits))


def _mean_rate(limits: Sequence[Limit]) -> float:
    return math.exp(fmean(math.log(limit.rate) for limit in limits))
