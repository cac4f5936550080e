"""Ratios of processes that took turns: one from the turns of each pair of processes, and the interval of all pairs.

The processes of a pair run in the same moments, so disturbances of the machine affect both, and cancel out. The noise between turns remains,
and the difference between processes, such as the layout of their memory, which more turns do not reduce but more pairs do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark_core.doubts import doubts_of
from benchmark_core.intervals import student_quantile
from benchmark_core.turns import PAIR
from dlbs.results.runs import THROUGHPUT, TIME, Record, Runs, has_value, number
from dlbs.results.statistics.ratio import FEWEST_RUNS, Estimate, Interval, factor
from dlbs.text import are_finite

_ONE_SIDED = (
    0.2  # a larger difference of the CPUs' share that other programs used in two turns is a disturbance of one side
)
_LEAST = 1e-100  # of times in ms and of numbers of batches, whose product must not be 0
_FEWEST = 5  # turns
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
    if len(sizes) > 1 or min(sizes) < _FEWEST or min(map(min, (*times, *batches))) < _LEAST:
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
    if 2 * len(clean) < len(logs) or len(clean) < _FEWEST:
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
    """Ratio of two sides from their pairs, with Student's interval of the logarithms.

    Its variance is at least that of the errors within pairs, so that a few pairs that agree by chance do not make it too narrow.

    Args:
        pairs: At least two.
        confidence: Confidence level of the interval.
    """
    logs = [pair.log for pair in pairs]
    mean = statistics.fmean(logs)
    variance = max(statistics.variance(logs), statistics.fmean(pair.error**2 for pair in pairs))
    half = student_quantile((1 + confidence) / 2, len(logs) - 1) * math.sqrt(variance / len(logs))
    return factor(mean), Interval(factor(mean - half), factor(mean + half), confidence, "pairs")


def estimate_pairs(pairs: Sequence[PairRatio], confidence: float) -> Estimate:
    """Ratio of two sides from at least one pair; without an interval if there are fewer than three."""
    if len(pairs) < FEWEST_RUNS:
        return Estimate(factor(statistics.fmean(pair.log for pair in pairs)), source="pairs")
    return Estimate(*pairs_interval(pairs, confidence), "pairs")
