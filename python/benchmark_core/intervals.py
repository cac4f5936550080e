"""Statistics of one run: confidence intervals of autocorrelated values such as batch times, their drift, and their percentiles.

The variance of a mean is estimated from the low frequencies of the series: its projections on the first few cosines, each of which is about as
variable as the mean (Müller 2007; Lazarus, Lewis, Stock and Watson 2018). This needs no model of the correlation, slow drifts widen the
interval as they should, and the number of cosines is the number of degrees of freedom. The authors recommend 0.4 n^(2/3) degrees of freedom for
hundreds of values or more; with 0.3 n^(2/3), rounded up, the interval keeps its coverage with ten values as well.
tests/results/statistics/error_rates.md has the simulation that selected it among block bootstraps, batch means and others.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

STEADY_WITHIN = 0.03  # a larger drift is reported

_MOST_FREEDOM = 50.0  # Student's t is almost normal there, and fewer cosines tolerate longer correlations
_FAR = 5.0  # robust standard deviations; single slow batches should not hide a drift
_WINDOW = 12.0  # standard deviations of a binomial distribution, outside of which probabilities are negligible
_PRECISE = 1e-16


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the mean, by Student's t on the logarithm: times and throughputs are positive.

    Args:
        values: Positive, in the order of measurement.
        confidence: Share of repetitions in which the interval contains the mean of the process.

    Returns:
        Lower and upper bound, both positive; None for fewer than four values, too few to estimate the variance.
    """
    if len(values) < 4:
        return None
    mean = statistics.fmean(values)
    variance, freedom = variance_of_mean(values)
    factor = math.exp(student_quantile((1 + confidence) / 2, freedom) * math.sqrt(variance) / mean)
    return mean / factor, mean * factor


def variance_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Variance of the mean of an autocorrelated series, and its degrees of freedom."""
    if min(values) == max(values):  # sums of cosines have rounding errors
        return 0.0, 1.0
    freedom = _freedom(len(values))
    return cosine_power(values, range(1, math.ceil(freedom) + 1)) / len(values), freedom


def _freedom(count: int) -> float:
    return min(_MOST_FREEDOM, max(1.0, 0.3 * math.pow(count, 2 / 3)))


def cosine_power(values: Sequence[float], orders: Sequence[int]) -> float:
    """Mean power of a series in cosines of these orders: for low orders, the variance of its mean times the number of values.

    The projections are computed by Goertzel's recurrence, in the form of Reinsch that is accurate for low orders.
    """
    count = len(values)
    mean = statistics.fmean(values)
    centred = [value - mean for value in values]
    power = 0.0
    for order in orders:
        angle = math.pi * order / (2 * count)
        pull = -4 * math.sin(angle) ** 2
        position = step = 0.0
        for value in centred:
            step += value + pull * position
            position += step
        power += math.cos(angle) ** 2 * step * step
    return 2 / count * power / len(orders)


def student_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution for a probability of at least one half.

    Newton's method, from below, where the tail is convex: each step stays below the quantile.
    """
    tail = 1 - probability
    density = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    quantile, step = 0.0, math.inf
    while step > 1e-9 * quantile:  # the next step would be about the square of this one
        power = -(freedom + 1) / 2 * math.log1p(quantile * quantile / freedom)
        step = (_student_tail(quantile, freedom) - tail) / (density * math.exp(power))
        quantile += step
    return quantile


def _student_tail(value: float, freedom: float) -> float:
    """Probability of more than `value`."""
    return _incomplete_beta(freedom / (freedom + value * value), freedom / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz's method; DLMF 8.17.22)."""
    if x in {0.0, 1.0}:
        return x
    if x > (a + 1) / (a + b + 2):  # the fraction converges faster on the other side
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    numerator, denominator, fraction = 1.0, 0.0, 1.0
    for index in itertools.count():
        half = index // 2
        if index == 0:
            term = 1.0
        elif index % 2:
            term = -(a + half) * (a + b + half) * x / ((a + index - 1) * (a + index))
        else:
            term = half * (b - half) * x / ((a + index - 1) * (a + index))
        denominator = 1 / (1 + term * denominator)
        numerator = 1 + term / numerator
        fraction *= numerator * denominator
        if index and abs(1 - numerator * denominator) <= _PRECISE:
            break
    return front * (fraction - 1)


def drift(seconds: Sequence[float]) -> float | None:
    """Relative difference of the medians of the last and the first third of times: 0.03 is 3 % slower.

    None for fewer than six, or if the first are not positive.
    """
    third = len(seconds) // 3
    if third < 2 or not (first := statistics.median(seconds[:third])) > 0:
        return None
    return statistics.median(seconds[-third:]) / first - 1


def drift_of_noise(seconds: Sequence[float]) -> float:
    """The absolute drift that one run in twenty reaches or exceeds if only noise changes batch times.

    A third of n batches has three times the variance of the mean, which is estimated as for the mean's confidence interval, but from cosines of
    even order: those are symmetric in time, so that a drift adds nothing to them. Medians vary by the factor √(π/2) more than means.

    Args:
        seconds: At least six batch times.
    """
    middle = statistics.median(seconds)
    if not middle > 0:
        return math.inf
    far = _FAR * 1.4826 * statistics.median(abs(value - middle) for value in seconds)
    clipped = [min(max(value, middle - far), middle + far) for value in seconds]
    cosines = math.ceil(_freedom(len(seconds)))
    power = cosine_power(clipped, range(2, 2 * cosines + 1, 2))
    error = math.sqrt((3 + 3) * math.pi / 2 * power / len(seconds)) / middle
    return student_quantile(0.975, cosines) * error


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The value below which a fraction of sorted values lies, with linear interpolation (Hyndman and Fan 1996, type 7)."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def latency_quantile(ordered: Sequence[float], share: float) -> float:
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
    middle = latency_quantile(ordered, share)
    size = max(4, math.floor(count / _dependence([float(value > middle) for value in values])))
    low, high = _binomial_bounds(size, share, (1 - confidence) / 2)
    upper = math.ceil(high / size * count)
    return (
        ordered[min(count - 1, max(0, math.floor(low / size * count) - 1))],
        ordered[upper] if upper < count else math.inf,
    )


def _dependence(above: Sequence[float]) -> float:
    """Factor by which dependence raises the variance of a share; at least 1."""
    share = statistics.fmean(above)
    if not 0 < share < 1:
        return 1.0
    return max(1.0, variance_of_mean(above)[0] * len(above) / (share * (1 - share)))


def _binomial_bounds(size: int, share: float, tail: float) -> tuple[int, int]:
    """The numbers k below and above which a binomial variable lies with probability at most `tail` each."""
    mean, deviation = size * share, math.sqrt(size * share * (1 - share))
    first = max(0, math.floor(mean - _WINDOW * deviation))
    last = min(size, math.ceil(mean + _WINDOW * deviation))
    below = list(itertools.accumulate(_binomial(size, share, range(first, last + 1))))
    low, high = first + bisect.bisect_left(below, tail), first + bisect.bisect_left(below, 1 - tail)
    return low, min(high, size)


def _binomial(size: int, share: float, numbers: Iterable[int]) -> Iterable[float]:
    """Probabilities of these numbers."""
    whole = math.lgamma(size + 1)
    for k in numbers:
        ways = whole - math.lgamma(k + 1) - math.lgamma(size - k + 1)
        yield math.exp(ways + k * math.log(share) + (size - k) * math.log1p(-share))
