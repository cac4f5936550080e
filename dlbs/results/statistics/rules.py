"""Rules of a comparison: quantity, threshold, trusted runs, and matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlbs.results.statistics.samples import THROUGHPUT

__all__ = ["DEFAULT_RULES", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for comparing experiments, within one set or between two.

    Attributes:
        metric: Key of the quantity.
        threshold: Largest relative difference that counts as the same.
        confidence: Confidence level of an interval.
        simultaneous: Widen the intervals so that all of them together have this confidence level (Bonferroni).
        estimator: A key of `ESTIMATORS`.
        trust_single_runs: Give verdicts on fewer than three runs, from the batches within them.
        trust_doubtful: Give verdicts on doubtful runs if too few others remain.
        match: Match experiments by these parameters only.
        ignore: Parameters that do not distinguish experiments: experiments that differ only in them are repeats.
    """

    metric: str = THROUGHPUT
    threshold: float = 0.03
    confidence: float = 0.95
    simultaneous: bool = False
    estimator: str = "rank"
    trust_single_runs: bool = False
    trust_doubtful: bool = False
    match: Sequence[str] = ()
    ignore: Sequence[str] = ()

    def each(self, comparisons: int) -> float:
        """Confidence level of the interval of one of several comparisons."""
        return 1 - (1 - self.confidence) / max(1, comparisons) if self.simultaneous else self.confidence


DEFAULT_RULES = Rules()
