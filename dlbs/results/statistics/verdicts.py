"""Rules of a comparison, and the verdict that an interval has under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlbs.errors import LogError, suggestion
from dlbs.results.keys import better_of, check_known
from dlbs.results.runs import Record, Runs
from dlbs.results.statistics.intervals import Interval
from dlbs.results.statistics.ratio import ESTIMATORS, FEWEST_RUNS, Estimate
from dlbs.results.statistics.samples import THROUGHPUT, TIME, none_ended_well, usual_metric


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

    def for_results(self, records: Sequence[Record]) -> Rules:
        """These rules with the quantity to compare in these experiments.

        Raises:
            LogError: No experiment has a value, or none has a named key.
        """
        runs = Runs.of(records)
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
