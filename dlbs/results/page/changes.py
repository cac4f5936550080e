"""Changes since earlier results: the regressions in the summary of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlbs.config.declarations import Parameter
from dlbs.results.read.onelog import Record
from dlbs.results.statistics.compare import Match, compare
from dlbs.results.statistics.rules import Rules
from dlbs.results.statistics.samples import usual_metric
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.comparison import ratio_cell, summary

__all__ = ["Changes", "Regression", "changes_since"]

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Regression:
    """A row of the summary: experiment, verdict, ratio with its interval, notes."""

    cells: tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """Summary of a comparison.

    Attributes:
        since: The earlier results, as given by the user.
        quantity: The compared quantity with its unit.
        threshold: The threshold as text.
        summary: Verdicts and the mean ratio in one line.
        regressions: The worst regressions, including broken and missing experiments.
        count: Number of all regressions.
    """

    since: str
    quantity: str
    threshold: str
    summary: str
    regressions: list[Regression]
    count: int


def changes_since(
    since: str, before: Sequence[Record], records: Sequence[Record], declarations: Mapping[str, Parameter]
) -> Changes:
    """Compare experiments with earlier ones by the default rules.

    Args:
        since: Name of the earlier results.
        before: Earlier experiments.
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.

    Raises:
        LogError: numpy or scipy is not installed.
    """
    metric = usual_metric([*before, *records])
    made = compare(before, records, declarations, Rules(metric), sides=("before", "now"))
    worst = sorted(made.regressions, key=_ratio)
    return Changes(
        since,
        quantity(metric, [*before, *records]),
        f"{100 * made.threshold:g} %",
        summary(made),
        [
            Regression((match.label, match.verdict, ratio_cell(match.estimate).words(), "; ".join(match.notes)))
            for match in worst[:_MOST_NAMED]
        ],
        len(worst),
    )


def _ratio(match: Match) -> float:
    """Sort key: broken experiments first, then the largest differences."""
    return -abs(math.log(match.estimate.ratio)) if match.estimate else -math.inf
