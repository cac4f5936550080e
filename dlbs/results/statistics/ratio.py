"""Ratio of two sides: samples, pairs of processes that took turns, estimators with their confidence intervals, and the verdict under the rules of a comparison."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark_core.doubts import doubts_of
from benchmark_core.intervals import student_quantile, variance_of_mean
from benchmark_core.turns import PAIR
from dlbs.core.errors import LogError, Registry, registered, require, suggestion
from dlbs.core.text import are_finite, are_positive
from dlbs.results.keys import better_of, check_known
from dlbs.results.runs import THROUGHPUT, TIME, Record, Runs, has_value, none_ended_well, number, usual_metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


def welch_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a difference with these variances of its sides (Welch 1947)."""
    parts = [variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True)]
    return sum(variances) ** 2 / sum(parts)


def welch_half(variances: Sequence[float], freedoms: Sequence[float], confidence: float) -> float:
    """Half the width of the confidence interval of a difference with these variances of its sides."""
    if sum(variances) == 0.0:
        return 0.0
    freedom = welch_freedom(variances, freedoms)
    return student_quantile((1 + confidence) / 2, freedom) * math.sqrt(sum(variances))


def welch_interval(first: Sequence[float], second: Sequence[float], confidence: float) -> Interval:
    """Confidence interval of the difference of two means with unequal variances.

    Args:
        first: At least two values.
        second: At least two values.
        confidence: Confidence level of the interval.
    """
    difference = statistics.fmean(first) - statistics.fmean(second)
    variances = [statistics.variance(side) / len(side) for side in (first, second)]
    half = welch_half(variances, [len(first) - 1, len(second) - 1], confidence)
    return Interval(difference - half, difference + half, confidence)


# Methods for the interval of a ratio of runs.
METHODS = {
    "pairs": "Student's t of the logarithms of the pairs' ratios, weighted (Hartung-Knapp)",
    "signed ranks": "bounds of Wilcoxon's signed-rank test",
    "ranks": "bounds of the Mann-Whitney test",
    "student": "Student's t (Welch) of the logarithms, because ranks of so few runs cannot reach the confidence level",
    "bootstrap": "bootstrap over runs",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        confidence: Share of repetitions in which such an interval contains the true value.
        method: Method of the interval of a ratio, a key of `METHODS`; empty for other intervals.
        depth: Number of sorted values outside each bound of the interval of a median.
    """

    low: float
    high: float
    confidence: float
    method: str = field(default="", compare=False)
    depth: int = field(default=0, compare=False)


_LARGEST = 700.0  # logarithm of a factor; the exponential of a much larger one is not a floating-point number


def factor(logarithm: float) -> float:
    """Exponential of a bound, limited in size: a few runs that differ by orders of magnitude have bounds beyond floating-point numbers."""
    return math.exp(max(-_LARGEST, min(logarithm, _LARGEST)))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Confidence interval of the median from order statistics, exact for any distribution (Thompson 1936).

    With fewer than six values, even the whole range does not reach 95 %; then the result is the range with its lower confidence level.

    Returns:
        None for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return None
    ordered = sorted(values)
    depth, outside = _median_depth(count, 1 - confidence)
    return Interval(ordered[depth], ordered[count - 1 - depth], 1 - outside, depth=depth)


@functools.lru_cache(maxsize=4096)
def _median_depth(count: int, error: float) -> tuple[int, float]:
    """Number of values outside each bound of the interval of a median, and the probability that the median is outside."""
    # Integers: beyond 1,000 values, the binomials exceed floating-point numbers, and the probabilities are smaller than any.
    halves = 2 ** (count - 1)
    depth, outside, binomial = 0, 1, 1
    while True:
        binomial = binomial * (count - depth) // (depth + 1)
        if (outside + binomial) / halves > error:
            return depth, outside / halves
        outside += binomial
        depth += 1


_MOST_EXACT = 2500  # pairs; beyond, the normal approximation of U is accurate enough


def rank_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Hodges-Lehmann ratio: the median of the ratios of all pairs, with the bounds of the Mann-Whitney test (Hodges and Lehmann 1963).

    The bounds are two of these ratios, and the coverage is guaranteed for any distribution. If there are so few runs that even the range of all
    ratios does not reach the confidence level (three on each side: 90 %), it is Student's interval of the logarithms, widened to contain the ratio.

    Args:
        numerator: Positive values, one per run.
        denominator: Positive values.
        confidence: Minimum confidence level; ranks have discrete levels, so the actual one is usually higher.

    Raises:
        LogError: scipy is needed, for few runs, and not installed.
    """
    ratios = sorted(above / below for above in numerator for below in denominator)
    # For an even number, the geometric mean of the middle two: then the ratio of B to A is the inverse of that of A to B.
    middle = ratios[(len(ratios) - 1) // 2 : len(ratios) // 2 + 1]
    ratio = math.exp(statistics.fmean(map(math.log, middle)))
    depth, outside = _depth(len(numerator), len(denominator), (1 - confidence) / 2)
    if depth == 0:
        found = welch_interval(list(map(math.log, numerator)), list(map(math.log, denominator)), confidence)
        low, high = factor(found.low), factor(found.high)
        return ratio, Interval(min(low, ratio), max(high, ratio), confidence, "student")
    return ratio, Interval(ratios[depth - 1], ratios[-depth], 1 - 2 * outside, "ranks")


@functools.lru_cache(maxsize=4096)
def _depth(first: int, second: int, tail: float) -> tuple[int, float]:
    """Number of ratios outside each bound of the interval, including the bound, and the probability that the true ratio is outside.

    It is the quantile of Mann and Whitney's U; scipy has the test, but not the quantiles of its statistic.
    """
    pairs = first * second
    if pairs > _MOST_EXACT:
        spread = math.sqrt(pairs * (first + second + 1) / 12)
        normal = statistics.NormalDist(pairs / 2, spread)
        depth = math.floor(normal.inv_cdf(tail) + 0.5)
        return max(0, depth), normal.cdf(depth - 0.5)
    # Numbers of arrangements of the runs with U = 0, 1, ...: the coefficients of a Gaussian binomial.
    counts = [1] + [0] * (pairs // 2)
    for step in range(1, second + 1):
        for at in range(len(counts) - 1, first + step - 1, -1):
            counts[at] -= counts[at - first - step]
        for at in range(step, len(counts)):
            counts[at] += counts[at - step]
    arrangements = math.comb(first + second, second)
    depth, outside = 0, 0
    tail *= 1 + 1e-9  # three runs on each side reach exactly 1/20 (90 %)
    while depth < len(counts) and (outside + counts[depth]) / arrangements <= tail:
        outside += counts[depth]
        depth += 1
    return depth, outside / arrangements


USUAL_CONFIDENCE = 0.95  # level of the intervals that runs log


def logged_interval(record: Record, key: str) -> Interval | None:
    """95 % confidence interval of a value that a run logged as `KEY_ci95`; None if it or one of its bounds is missing."""
    bounds = record.get(f"{key}_ci95")
    if not are_positive(bounds) or len(bounds) != 2:
        return None
    low, high = map(float, bounds)
    return Interval(low, high, USUAL_CONFIDENCE) if low <= high else None


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one side of a comparison.

    Attributes:
        values: The value of each run.
        series: The batch times of each run, in order; empty for a run that did not log them.
        intervals: The confidence interval of its value that each run logged; None for a run that logged none.
    """

    values: tuple[float, ...]
    series: tuple[tuple[float, ...], ...] = ()
    intervals: tuple[Interval | None, ...] = ()

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.values)

    def mean(self) -> float:
        """Mean of the runs."""
        return math.fsum(self.values) / self.runs

    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.values)


def sample_of(records: Iterable[Record], metric: str, *, within: bool = True) -> Sample | None:
    """Make the sample of the runs that have a value; None if none has.

    A throughput is converted to the time per instance, which can be averaged.

    Args:
        records: The runs.
        metric: Key of the quantity.
        within: Also take what the runs logged about the variation within them: batch times and intervals.
    """
    runs = Runs.of(records)
    found = runs.comparable(metric)
    values = tuple(1 / value if metric == THROUGHPUT else value for value in found if value is not None)
    if not values:
        return None
    if not within:
        return Sample(values)
    valued = runs.where(value is not None for value in found)
    times = [run.get("results.time_data") if metric in (THROUGHPUT, TIME) else None for run in valued]
    return Sample(
        values,
        tuple(tuple(map(float, one)) if one and are_positive(one) else () for one in times),
        tuple(None if metric == THROUGHPUT else logged_interval(run, metric) for run in valued),
    )


def batch_interval(numerator: Sample, denominator: Sample, confidence: float = 0.95) -> Interval:
    """Confidence interval of the ratio of two means, from the batch times of each run.

    Raises:
        LogError: numpy or scipy is not installed.
    """
    variances, freedoms = [], []
    for side in (numerator, denominator):
        for times, value in zip(side.series, side.values, strict=True):
            variance, freedom = variance_of_mean(times)
            # The share of this run in the logarithm of the side's mean, whose unit may differ from that of the batch times.
            share = value / side.runs / side.mean() / (math.fsum(times) / len(times))
            variances.append(variance * share**2)
            freedoms.append(freedom)
    ratio = numerator.mean() / denominator.mean()
    half = factor(welch_half(variances, freedoms, confidence))
    return Interval(ratio / half, ratio * half, confidence)


_RESAMPLES = 4000
_MOST_SURE = 0.99  # beyond this confidence level, fewer than twenty resamples are outside each bound


def mean_interval(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Ratio of the means with an interval from resampling the runs of each side with replacement.

    Few runs have few different means, and 4,000 resamples few in the tails. At high confidence levels, those of many simultaneous comparisons, the
    interval is therefore at least as wide as Student's (Welch).

    Raises:
        LogError: scipy is not installed.
    """
    ratio = statistics.fmean(numerator) / statistics.fmean(denominator)
    sides = numerator, denominator
    logs = [_resampled(values, seed) for seed, values in enumerate(sides)]
    freedoms = [len(side) - 1 for side in sides]
    variances = [statistics.variance(side) / len(side) / statistics.fmean(side) ** 2 for side in sides]
    least = welch_half(variances, freedoms, confidence) if confidence > _MOST_SURE else 0.0
    return ratio, _widened(ratio, logs, freedoms, confidence, least)


def _resampled(values: Sequence[float], seed: int) -> NDArray[Any]:
    """Resampled logarithms of the mean minus the logarithm of the mean; seeded, so that the same logs give the same interval."""
    np = require("numpy", "reports")
    count, mean = len(values), statistics.fmean(values)
    drawn = require("scipy.stats", "reports").bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng((seed, count)),
    )
    # The spread of resampled means corresponds to a variance divided by n, not n - 1.
    logs: NDArray[Any] = np.log(drawn.bootstrap_distribution / mean) * math.sqrt(count / (count - 1))
    return logs


def _widened(
    ratio: float, logs: Sequence[NDArray[Any]], freedoms: Sequence[float], confidence: float, least: float
) -> Interval:
    """Interval of a ratio from resampled logarithms of both sides, each half of which is at least `least` on a logarithmic scale.

    The spread is widened by the ratio of Student's t quantile to the normal one, with Welch's degrees of freedom: bootstraps of few values are
    too narrow (Hesterberg 2015).

    Raises:
        LogError: scipy is not installed.
    """
    np = require("numpy", "reports")
    above, below = logs
    variances = [float(above.var()), float(below.var())]
    if sum(variances) == 0.0:
        return Interval(ratio, ratio, confidence, "bootstrap")
    tail = (1 - confidence) / 2
    freedom = welch_freedom(variances, freedoms)
    widening = student_quantile(1 - tail, freedom) / statistics.NormalDist().inv_cdf(1 - tail)
    low, high = (float(bound) * widening for bound in np.quantile(above - below, [tail, 1 - tail]))
    low, high = min(low, -least), max(high, least)
    return Interval(ratio * factor(low), ratio * factor(high), confidence, "bootstrap")


# Estimator → the statistic of one side that is shown with it.
STATISTICS: dict[str, Callable[[Sample], float]] = {"rank": Sample.median, "mean": Sample.mean}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio of two sides.

    Attributes:
        ratio: Numerator over denominator.
        interval: Its confidence interval; None if there are too few values.
        source: Source of the interval: `runs`, `pairs` (of processes that took turns), `batches`, `queries`, or empty.
    """

    ratio: float
    interval: Interval | None = None
    source: str = ""


def estimate_ratio(
    numerator: Sample, denominator: Sample, estimator: str = "rank", confidence: float = 0.95
) -> Estimate | None:
    """Estimate the ratio of two sides with its interval.

    With at least three runs on each side, the estimator uses the variation between runs. With fewer, it uses the batches within the runs, or the
    intervals that single runs logged; such an interval ignores the variation between runs.

    Args:
        numerator: Positive values.
        denominator: Positive values.
        estimator: A key of `ESTIMATORS`.
        confidence: Of the interval.

    Returns:
        None if some value is not positive, so that the ratio is meaningless.

    Raises:
        LogError: The estimator is unknown, or numpy or scipy is not installed.
    """
    function = registered(ESTIMATORS, estimator, "estimator")
    sides = (numerator, denominator)
    if any(value <= 0 for side in sides for value in side.values):
        return None
    if all(side.runs >= FEWEST_RUNS for side in sides):
        ratio, interval = function(numerator.values, denominator.values, confidence)
        return Estimate(ratio, interval, "runs")
    statistic = STATISTICS[estimator]
    if all(len(side.series) == side.runs for side in sides) and all(
        len(times) >= FEWEST_BATCHES for side in sides for times in side.series
    ):
        return Estimate(numerator.mean() / denominator.mean(), batch_interval(*sides, confidence), "batches")
    ratio = statistic(numerator) / statistic(denominator)
    return Estimate(ratio, interval, "queries") if (interval := _of_logged(*sides, confidence)) else Estimate(ratio)


def _of_logged(numerator: Sample, denominator: Sample, confidence: float) -> Interval | None:
    """Interval of a ratio from those of its two values, each of a single run (MOVER: Donner and Zou, Statistical Methods in Medical Research
    21(4):347, 2012, on logarithms, since values are positive); None if a value has none, or for another confidence level."""
    if numerator.runs != 1 or denominator.runs != 1 or confidence != USUAL_CONFIDENCE:
        return None
    above, below = (next(iter(sample.intervals), None) for sample in (numerator, denominator))
    if above is None or below is None:
        return None
    (one,), (other,) = numerator.values, denominator.values
    middle = math.log(one / other)
    down = math.hypot(math.log(one / above.low), math.log(below.high / other))
    up = math.hypot(math.log(above.high / one), math.log(other / below.low))
    return Interval(factor(middle - down), factor(middle + up), confidence)


FEWEST_RUNS = 3  # on each side; two runs contain almost no information on the variation between runs
FEWEST_BATCHES = 10
ESTIMATORS: Registry = {
    "rank": (
        "dlbs.results.statistics.ratio:rank_interval",
        "median of the ratios of all pairs of runs (Hodges-Lehmann)",
    ),
    "mean": (
        "dlbs.results.statistics.ratio:mean_interval",
        "ratio of the means of the runs",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules for comparing experiments, within one set or between two.

    Attributes:
        by: The parameter whose values are compared within one set; None for a comparison of two sets.
        baseline: The value that the others are compared with, or its text; None for the first one in the plan.
        metric: Key of the quantity; None for the usual one: the throughput, or the time if no experiment has a throughput.
        threshold: Largest relative difference that counts as the same.
        confidence: Confidence level of an interval.
        simultaneous: Widen the intervals so that all of them together have this confidence level (Bonferroni).
        estimator: A key of `ESTIMATORS`.
        trust_single_runs: Give verdicts on fewer than three runs, from the batches within them.
        trust_doubtful: Give verdicts on doubtful runs if too few others remain.
        match: Match experiments by these parameters only.
        ignore: Parameters that do not distinguish experiments: experiments that differ only in them are repeats.

    Raises:
        LogError: A share is out of range, the estimator is unknown, or the compared parameter is in `match` or `ignore`.
    """

    by: str | None = None
    baseline: Any = None
    metric: str | None = None
    threshold: float = 0.03
    confidence: float = 0.95
    simultaneous: bool = False
    estimator: str = "rank"
    trust_single_runs: bool = False
    trust_doubtful: bool = False
    match: Sequence[str] = ()
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, value, least, hint in (
            ("threshold", self.threshold, 0.0, "3 % is 0.03"),
            ("confidence", self.confidence, 0.5, "95 % is 0.95"),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1:
                raise LogError(f"must be a number from {least} to below 1, not {value!r}", where=f"--{name}", hint=hint)
        if self.estimator not in ESTIMATORS:
            hint = suggestion(self.estimator, ESTIMATORS)
            raise LogError(f"unknown estimator {self.estimator!r}", where="--estimator", hint=hint)
        if self.by is not None and self.by in (*self.match, *self.ignore):
            raise LogError(
                "a compared parameter cannot be in --match or --ignore", where=f"--by {self.by}", hint="remove it there"
            )

    def each(self, comparisons: int) -> float:
        """Confidence level of the interval of one of several comparisons."""
        return 1 - (1 - self.confidence) / max(1, comparisons) if self.simultaneous else self.confidence

    def for_results(self, runs: Runs) -> Rules:
        """These rules with the quantity to compare in these experiments.

        Raises:
            LogError: No experiment has a value, or none has a named key.
        """
        if self.metric is None and (failed := none_ended_well(runs)):
            raise LogError(failed, hint="exp.status_msg of each has the reason, which dlbs report prints")
        made = replace(self, metric=self.metric or usual_metric(runs))
        known = runs.names
        for flag, names in (("--metric", [str(made.metric)]), ("--match", self.match), ("--ignore", self.ignore)):
            if known:
                check_known(names, known, flag)
        return made


DEFAULT_RULES = Rules()
INCONCLUSIVE = "inconclusive"
# `better` and `worse` are for quantities that are not speeds, such as memory.
VERDICTS = {
    "slower": "the whole interval is beyond the threshold",
    "worse": "the whole interval is beyond the threshold",
    "broken": "succeeded in A, but not in B",
    "missing": "in A, but not in B",
    "faster": "the whole interval is beyond the threshold",
    "better": "the whole interval is beyond the threshold",
    "fixed": "succeeded in B, but not in A",
    "new": "in B, but not in A",
    "same": "the whole interval is within the threshold",
    INCONCLUSIVE: "the interval crosses a threshold, or the runs are too few or doubtful",
    "failed": "succeeded in neither",
}
REGRESSIONS = frozenset({"slower", "worse", "broken", "missing"})
IMPROVEMENTS = frozenset({"faster", "better", "fixed"})


def is_speed(metric: str) -> bool:
    """Whether a quantity measures speed."""
    return metric in (THROUGHPUT, TIME) or "throughput" in metric or metric.startswith("results.time")


def verdict_of(metric: str, interval: Interval | None, threshold: float) -> str:
    """Verdict for an interval of the ratio B over A.

    Args:
        metric: Key of the quantity, which determines whether more is better.
        interval: The interval; None if there is none.
        threshold: Largest relative difference that counts as the same.
    """
    if interval is None:
        return INCONCLUSIVE
    low, high = interval.low, interval.high
    if 1 - threshold <= low and high <= 1 + threshold:
        return "same"
    good, bad = ("faster", "slower") if is_speed(metric) else ("better", "worse")
    if better_of(metric) < 0:
        good, bad = bad, good
    if low > 1 + threshold:
        return good
    if high < 1 - threshold:
        return bad
    return INCONCLUSIVE


def needed_repeats(estimate: Estimate, threshold: float, runs: int) -> str:
    """Advice for a verdict on an inconclusive comparison, if the ratio does not change.

    Args:
        estimate: The ratio with its interval.
        threshold: Largest relative difference that counts as the same.
        runs: Number of runs of the side with fewer.
    """
    if estimate.interval is None or estimate.source in {"batches", "queries"}:
        return f"variation between runs may exceed variation within runs: run each at least {FEWEST_RUNS} times (-Pexp.repeats={FEWEST_RUNS})"
    half = (estimate.interval.high - estimate.interval.low) / 2
    distance = min(abs(estimate.ratio - 1 - threshold), abs(estimate.ratio - 1 + threshold))
    if distance * 10 < half and distance >= threshold / 2:
        return "the runs vary too much: use a quieter machine (dlbs check-machine) or a larger --threshold"
    if distance * 10 < half:
        return "too close to the threshold: more repeats hardly help; change --threshold"
    return f"about {max(runs + 1, math.ceil(runs * (half / distance) ** 2))} repeats per side would decide it"


# Pairs of processes that took turns run in the same moments, so disturbances of the machine affect both, and cancel out. The noise between turns
# remains, and the difference between processes, such as the layout of their memory, which more turns do not reduce but more pairs do.
_ONE_SIDED = 0.2  # of the CPUs: if other programs used that much more in one of two turns, one side was disturbed
_FEWEST_TURNS = 5
_LEAST_ERROR = 1e-9  # of the logarithm of a ratio
_LEAST = 1e-100  # of times in ms and of numbers of batches, whose product must not be 0
# What both sides of a pair have in common, or what its turns show better; such warnings do not make a pair doubtful.
SHARED_DOUBTS = frozenset(
    {"CPU contention", "GPU contention", "GPU throttling", "drift", "unsteady warm-up", "slow first run", "outliers"}
)


class PairRatio(NamedTuple):
    """The logarithm of the ratio of two processes that took turns.

    Attributes:
        log: Logarithm of the numerator over the denominator.
        error: Standard error of it within this pair; 0 if unknown.
        turns: Number of turns of each side that it comes from.
        disturbed: Number of turns that were left out, because other programs used the CPUs on one side only.
    """

    log: float
    error: float = 0.0
    turns: int = 0
    disturbed: int = 0


def pair_ratio(above: Record, below: Record, metric: str) -> PairRatio | None:
    """The ratio of two processes that took turns with each other.

    Times and throughputs are compared turn by turn, other quantities by the values of the whole processes.

    Args:
        above: The numerator, as `sample_of` converts it: a throughput counts as the time for each instance.
        below: The denominator.
        metric: Key of the quantity.

    Returns:
        None if they did not take turns with each other, or one has no positive value.
    """
    sides = above, below
    values = [number(side, metric) if has_value(side, metric) else None for side in sides]
    if not above.get(PAIR) or above.get(PAIR) != below.get(PAIR):
        return None
    if any(value is None or value <= 0 for value in values):
        return None
    one, other = (math.log(value) for value in values if value is not None)
    whole = other - one if metric == THROUGHPUT else one - other
    if metric not in (THROUGHPUT, TIME):
        return PairRatio(whole)
    times, loads = ([_numbers(side.get(f"results.turns.{name}")) for side in sides] for name in ("times", "loads"))
    batches = [_numbers(side.get("results.turns.batches")) for side in sides]
    sizes = {len(one) for one in (*times, *batches)}
    if len(sizes) > 1 or min(sizes) < _FEWEST_TURNS or min(map(min, (*times, *batches))) < _LEAST:
        return PairRatio(whole)
    # The time of a turn's batches relative to that of all turns has no unit.
    first, second = (
        math.log(math.fsum(map(math.prod, zip(counts, means, strict=True))) / math.fsum(counts))
        for counts, means in zip(batches, times, strict=True)
    )
    logs = [whole + math.log(a) - first - math.log(b) + second for a, b in zip(*times, strict=True)]
    clean = logs
    if len(loads[0]) == len(loads[1]) == len(logs):
        clean = [one for one, a, b in zip(logs, *loads, strict=True) if abs(a - b) <= _ONE_SIDED]
    if 2 * len(clean) < len(logs) or len(clean) < _FEWEST_TURNS:
        clean = logs
    middle = _hodges_lehmann(clean)
    spread = 1.4826 * statistics.median(abs(one - middle) for one in clean)
    return PairRatio(middle, 1.05 * spread / math.sqrt(len(clean)), len(clean), len(logs) - len(clean))


def is_doubtful(record: Record) -> bool:
    """Whether a run has warnings that matter for a comparison: one that took turns shares disturbances with its partner."""
    kinds = doubts_of(record)
    return bool(kinds) and not (record.get(PAIR) and SHARED_DOUBTS.issuperset(kinds))


def _numbers(values: object) -> list[float]:
    return list(map(float, values)) if are_finite(values) else []


def _hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the means of any two values: robust, and nearly as precise as the mean."""
    return statistics.median((one + other) / 2 for at, one in enumerate(values) for other in values[at:])


def pairs_of(above: Iterable[Record], below: Iterable[Record], metric: str) -> list[PairRatio]:
    """The ratios of all pairs of processes of two sides that took turns with each other."""
    partners = {str(one[PAIR]): one for one in below if one.get(PAIR)}
    both = [(one, partners.get(str(one.get(PAIR)))) for one in above]
    found = [pair_ratio(one, other, metric) for one, other in both if other is not None]
    return [one for one in found if one is not None]


def paired(a: Runs, b: Runs) -> tuple[Runs, Runs]:
    """The runs of both sides that took turns with one of the other side."""
    if PAIR not in a.names:
        return a.take([]), b.take([])
    ids = [[one if isinstance(one, str) else "" for one in runs.values(PAIR)] for runs in (a, b)]
    common = (set(ids[0]) & set(ids[1])) - {""}
    return a.where(one in common for one in ids[0]), b.where(one in common for one in ids[1])


def pairs_interval(pairs: Sequence[PairRatio], confidence: float) -> tuple[float, Interval]:
    """Ratio of two sides from their pairs: the mean of the logarithms, weighted by the precision of each pair, with Student's interval.

    A disturbed pair has a larger error, and counts less. Weights and interval are those of a meta-analysis with random effects: the variance between
    pairs of DerSimonian and Laird (1986), the interval of Hartung and Knapp (2001), at least as wide as the errors within pairs. No error counts as
    smaller than the median one, since errors are estimates.

    Args:
        pairs: At least two.
        confidence: Confidence level of the interval.
    """
    logs = [pair.log for pair in pairs]
    freedom = len(logs) - 1
    usual = statistics.median(pair.error for pair in pairs) or statistics.stdev(logs)
    within = [max(pair.error, usual, _LEAST_ERROR) ** 2 for pair in pairs]
    between = 0.0
    for _ in ("between", "mean"):  # the mean without variance between pairs tells how large it is
        weights = [1 / (between + one) for one in within]
        total = math.fsum(weights)
        mean = math.fsum(map(math.prod, zip(weights, logs, strict=True))) / total
        squares = math.fsum(weight * (log - mean) ** 2 for weight, log in zip(weights, logs, strict=True))
        between = max(0.0, squares - freedom) / (total - math.fsum(one * one for one in weights) / total)
    variance = max(1.0, squares / freedom) / total
    half = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance)
    return factor(mean), Interval(factor(mean - half), factor(mean + half), confidence, "pairs")


def estimate_pairs(pairs: Sequence[PairRatio], confidence: float) -> Estimate:
    """Ratio of two sides from at least one pair; without an interval if there are fewer than three."""
    if len(pairs) < FEWEST_RUNS:
        return Estimate(factor(statistics.fmean(pair.log for pair in pairs)), source="pairs")
    return Estimate(*pairs_interval(pairs, confidence), "pairs")
