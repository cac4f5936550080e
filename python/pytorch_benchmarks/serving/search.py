"""The search for the highest rate within the bounds: trials at rates near the limit, and a final run at the low end of its interval.

One search has one process with one model. Processes of the same program differ in their limits, which repeated experiments (`exp.repeats`) show.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark_core.doubts import warning
from benchmark_core.exits import BenchmarkError
from benchmark_core.intervals import latency_quantile
from benchmark_core.log import Log
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.serving.loadgen import PERCENTILES, LoadGenAnswers, LoadGenResult, Settings, run_loadgen
from pytorch_benchmarks.serving.remote import Remote, print_line
from pytorch_benchmarks.serving.requests import finite, percentile_name
from pytorch_benchmarks.serving.run import Measured, log_run, make_settings, make_system
from pytorch_benchmarks.serving.system import Service

_UNLOADED_QUERIES = 64  # of the run without load: enough to see that a bound is out of reach
_SEEDS = 1 << 31
_LOWEST, _HIGHEST = 1 / 1000, 1.5  # relative to the rate that cannot be sustained
_STEPS = 1000  # of the logarithm of the rate, over the whole range
_STEPS_NEAR = 400  # of a normal prior
_SIGMAS = 5.0  # on either side of a normal prior
# Standard deviation of the logarithm around a rate where a search starts. It is far above the usual variation between processes (1 to 15 %): a
# narrower prior would pull the limits of repeated searches together and make the interval of their mean too narrow.
_SPREAD = 0.25
_WIDTHS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)  # of the range of rates in which the outcome of a trial is random
_LAPSES = 0.02  # share of trials whose outcome does not depend on the rate
_QUANTILES = (0.025, 0.5, 0.975)


def search(options: BenchmarkOptions, runs: LoadGenRuns | Remote, log: Log) -> int:
    """Search for the highest rate of a model or server that is ready; returns the number of queries.

    The first guess comes from offline, the upper bound, or from the options.

    Raises:
        BenchmarkError: No rate meets the bounds, or a run failed.
    """
    if options.serving_find_start:
        prior = normal_prior(options.serving_find_start, _SPREAD)
    else:
        upper = runs.offline()
        log("results.serving.offline_qps", upper)
        prior = flat_prior(upper)
    _check_unloaded(options, runs, log)
    # Other arrivals in each trial and each search: a limit that is valid for one schedule only is no limit.
    seed = random.SystemRandom().randrange(_SEEDS)
    number = 0

    def run(rate: float) -> Trial:
        nonlocal number
        number += 1
        trial = Trial(rate, *runs.trial(rate, number, seed + number))
        if log.reports:
            latency = f"{trial.latency:.2f} ms" if math.isfinite(trial.latency) else "without an answer"
            verdict = "within the bounds" if trial.passed else "too slow"
            print(f"trial {number}: {rate:.1f} queries/s, {_percentile(options)} {latency}, {verdict}", flush=True)
        return trial

    found = find_limit(
        run, prior, precision=options.serving_find_precision / 100, most_trials=options.serving_find_trials
    )
    _log_limit(options, found, log)
    runs.confirm(found.low, log)
    if log.reports:
        print_line(options.model, log.values)
    return runs.count


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
        trials: All trials, in order.
    """

    rate: float
    low: float
    high: float
    trials: tuple[Trial, ...]

    @property
    def precision(self) -> float:
        """Half the width of the interval relative to the rate."""
        return (self.high - self.low) / (2 * self.rate)


@dataclass(frozen=True, slots=True)
class Prior:
    """The distribution of the limit before the first trial.

    Attributes:
        rates: Logarithms of rates, in increasing order.
        weights: Their probabilities; any scale.
        fewest_trials: Number of trials that a search needs to get from there to the limit, at least.
    """

    rates: Sequence[float]
    weights: Sequence[float]
    fewest_trials: int


def flat_prior(upper: float) -> Prior:
    """A uniform distribution of the rate, up to 1.5 times a rate that cannot be sustained for long, such as the throughput of offline."""
    lowest, step = math.log(upper * _LOWEST), math.log(_HIGHEST / _LOWEST) / (_STEPS - 1)
    rates = [lowest + step * number for number in range(_STEPS)]
    return Prior(rates, [math.exp(rate) for rate in rates], 8)


def normal_prior(rate: float, spread: float) -> Prior:
    """A normal distribution of the logarithm of the rate.

    Args:
        rate: Median.
        spread: Standard deviation of the logarithm.
    """
    distances = [_SIGMAS * (2 * number / (_STEPS_NEAR - 1) - 1) for number in range(_STEPS_NEAR)]
    rates = [math.log(rate) + spread * distance for distance in distances]
    return Prior(rates, [math.exp(-(distance**2) / 2) for distance in distances], 4)


def find_limit(run: Callable[[float], Trial], prior: Prior, *, precision: float, most_trials: int) -> Limit:
    """Search for the limit of one process.

    The probability that a trial meets the bounds falls from 1 to 0 around the limit, over a range of unknown width (a cumulative normal
    distribution of the logarithm of the rate). The joint posterior distribution of limit and width is computed on a grid. Each trial uses the
    median of the limit so far, where its outcome is most informative (QUEST: Watson and Pelli, Perception & Psychophysics 33(2):113, 1983).
    Rates near the limit are thus tried repeatedly, and one unlucky trial costs some more trials, not the result.

    Args:
        run: Runs a trial.
        prior: Distribution of the limit before the first trial.
        precision: Half the width of the interval, relative to the rate, at which the search ends, if trials had both outcomes.
        most_trials: Maximum number of trials.
    """
    posterior = _Posterior(prior)
    trials: list[Trial] = []
    median = posterior.quantiles()[1]
    while True:
        trial = run(median)
        trials.append(trial)
        posterior.learn(trial)
        low, median, high = posterior.quantiles()
        found = Limit(median, low, high, tuple(trials))
        is_bracketed = len({one.passed for one in trials}) == 2
        is_precise = len(trials) >= prior.fewest_trials and is_bracketed and found.precision <= precision
        if is_precise or len(trials) >= most_trials:
            return found


class _Posterior:
    """Joint distribution of the limit and of the width of the range in which outcomes are random."""

    def __init__(self, prior: Prior) -> None:
        self._rates = prior.rates
        self._weights = [list(prior.weights) for _ in _WIDTHS]

    def learn(self, trial: Trial) -> None:
        tried, sign = math.log(trial.rate), 1 if trial.passed else -1
        for width, weights in zip(_WIDTHS, self._weights, strict=True):
            scale = sign / (width * math.sqrt(2))
            for number, rate in enumerate(self._rates):  # the second factor is the probability of this outcome
                weights[number] *= 0.5 + (1 - _LAPSES) / 2 * math.erf((rate - tried) * scale)

    def quantiles(self) -> tuple[float, float, float]:
        """The limits of the interval with the median between them."""
        below = list(itertools.accumulate(map(sum, zip(*self._weights, strict=True))))
        last = len(below) - 1
        low, median, high = (min(last, bisect.bisect_left(below, share * below[-1])) for share in _QUANTILES)
        return math.exp(self._rates[low]), math.exp(self._rates[median]), math.exp(self._rates[high])


class LoadGenRuns:
    """Runs of LoadGen with one model.

    Attributes:
        system: The system under test; it keeps its workers from run to run.
        count: Number of queries so far.
    """

    def __init__(self, options: BenchmarkOptions, service: Service, directory: Path) -> None:
        self.count = 0
        self._options, self._service, self._directory = options, service, directory
        self._settings = make_settings(options, "server", service.has_tokens)
        self.system = make_system(options, service, "server", self._settings)
        self._queue_limit = self.system.queue.limit

    def offline(self) -> float:
        """Throughput of the offline scenario, in samples per second."""
        self._run(make_settings(self._options, "offline", self._service.has_tokens), "offline", queue_limit=0)
        return self.system.samples_per_second

    def unloaded(self) -> tuple[float, bool]:
        """Sequential queries: the evaluated percentile in milliseconds, and whether it is certainly above the bounds."""
        wanted = replace(self._settings, scenario="single-stream", min_queries=_UNLOADED_QUERIES)
        _, times = self._run(wanted, "unloaded", queue_limit=0)
        return self._percentile(times), times.surely_breaks(self._settings)

    def trial(self, rate: float, number: int, seed: int) -> tuple[bool, float]:
        """A run at a rate, in queries per second, with the arrivals of a seed: whether it met the bounds, and the evaluated percentile."""
        wanted = replace(self._settings, target_qps=rate, seeds=(seed, *self._settings.seeds[1:]))
        _, times = self._run(wanted, f"trial-{number:02d}")
        return times.keeps(wanted), self._percentile(times)

    def confirm(self, rate: float, log: Log) -> None:
        """The final run, whose results are those of the experiment."""
        wanted = replace(self._settings, target_qps=rate)
        outcome, _ = self._run(wanted, "at-the-limit")
        log_run(self._options, self._service, wanted, outcome, self.system, log)
        self.system.stop()

    def _run(self, wanted: Settings, name: str, queue_limit: int | None = None) -> tuple[LoadGenResult, Measured]:
        system = self.system
        system.queue.limit = self._queue_limit if queue_limit is None else queue_limit
        system.answers = LoadGenAnswers(wanted.uses_token_latencies)
        outcome = run_loadgen(wanted, system, self._directory / name, keep_trace=self._options.serving_keep_trace)
        times = Measured(wanted, outcome, system.queries)
        self.count += len(times.latencies)
        return outcome, times

    def _percentile(self, times: Measured) -> float:
        """Milliseconds of the evaluated percentile: of latencies, or of the first tokens in LoadGen's token mode."""
        values = times.first_tokens if self._settings.uses_token_latencies else times.latencies
        return latency_quantile(sorted(values), self._settings.percentile / 100)


def _check_unloaded(options: BenchmarkOptions, runs: LoadGenRuns | Remote, log: Log) -> None:
    """Measure sequential queries: their latency is the lowest that any rate can have, so a bound below it needs no search.

    Raises:
        BenchmarkError: Sequential queries do not meet the bounds.
    """
    latency, is_above = runs.unloaded()
    log("results.serving.unloaded_latency", finite(latency))
    if is_above:
        raise BenchmarkError(
            f"no rate meets the bounds: without load, {_percentile(options)} is {latency:.3g} ms; {_remedy(options)}"
        )


def _log_limit(options: BenchmarkOptions, found: Limit, log: Log) -> None:
    """Log the result of a search and its trials, with a warning for each thing that the interval does not cover.

    Raises:
        BenchmarkError: No trial met the bounds.
    """
    trials = found.trials
    shown = [{"qps": trial.rate, "latency": finite(trial.latency), "kept": trial.passed} for trial in trials]
    log("results.serving.trials", shown)
    if not any(trial.passed for trial in trials):
        slowest = min(trials, key=lambda trial: trial.rate)
        lower = "lower serving.find_start, " if options.serving_find_start else ""
        figure = f"at {slowest.rate:.3g} queries/s, {_percentile(options)} is {slowest.latency:.3g} ms"
        raise BenchmarkError(f"no rate meets the bounds: {figure}; {lower}{_remedy(options)}")
    log("results.serving.max_qps", found.rate)
    log("results.serving.max_qps_ci95", [found.low, found.high])
    if all(trial.passed for trial in trials):
        log.warn(warning("limit not reached", "the limit is above the rates that were tried"))
    elif 100 * found.precision > options.serving_find_precision:
        log.warn(warning("imprecise limit", f"±{100 * found.precision:.1f} % after {len(trials)} trials"))
    if options.serving_url:
        log.warn(warning("server not restarted", "repeated searches have new clients of the same server"))
    if log.reports:
        print(
            f"{options.model} serving: {found.rate:.1f} queries/s [{found.low:.1f}, {found.high:.1f}] within the bounds",
            flush=True,
        )


def _percentile(options: BenchmarkOptions) -> str:
    return percentile_name(options.serving_percentile or PERCENTILES["server"])


def _remedy(options: BenchmarkOptions) -> str:
    given = [
        f"serving.{name}"
        for name in ("target_latency", "target_ttft", "target_tpot")
        if getattr(options, f"serving_{name}")
    ]
    smaller = "" if options.serving_url else ", or make batches smaller (serving.max_batch)"
    return f"raise {' or '.join(given)}{smaller}"
