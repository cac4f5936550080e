"""The rules of a comparison: the quantity, when a difference counts, which runs are trusted, and what is matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlbs.results.statistics.samples import THROUGHPUT

__all__ = ["DEFAULT_RULES", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How experiments are compared, within one set or between two.

    Attributes:
        metric: Key of the quantity.
        threshold: Share by which a ratio may differ from 1 and count as the same.
        confidence: Of an interval.
        simultaneous: Make the intervals so wide that all of them together have this confidence (Bonferroni).
        estimator: A key of `ESTIMATORS`.
        trust_single_runs: Give verdicts on fewer than three runs, from the batches within them.
        trust_doubtful: Give verdicts on doubtful runs where too few others remain.
        match: Match experiments by these parameters alone.
        ignore: Parameters that do not distinguish experiments; those that differ in them only are repeats.
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
        """The confidence of the interval of one of several comparisons."""
        return 1 - (1 - self.confidence) / max(1, comparisons) if self.simultaneous else self.confidence


DEFAULT_RULES = Rules()
