"""Verdicts on the comparison of one experiment on two sides."""

from __future__ import annotations

import math

from dlbs.results.keys import better_of
from dlbs.results.statistics.estimators import FEWEST_RUNS
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.ratio import Estimate
from dlbs.results.statistics.samples import THROUGHPUT, TIME

__all__ = ["IMPROVEMENTS", "INCONCLUSIVE", "REGRESSIONS", "VERDICTS", "is_speed", "needed_repeats", "verdict_of"]

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
    INCONCLUSIVE: "the interval crosses a threshold",
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
