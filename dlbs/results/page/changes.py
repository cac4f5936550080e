"""What changed since earlier results: the regressions in the summary of the page."""

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
    """A comparison in a few lines.

    Attributes:
        since: What the experiments are compared with, as it was given.
        quantity: What is compared, with its unit.
        threshold: In words.
        summary: Verdicts and the mean ratio in one line.
        regressions: The worst; experiments that broke or are missing included.
        count: Of all regressions.
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
    """Compare experiments with earlier ones by the usual rules.

    Args:
        since: What the earlier ones are called.
        before: The earlier ones.
        records: The experiments.
        declarations: Say which parameters identify an experiment.

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
    """For sorting: what broke first, then the largest differences."""
    return -abs(math.log(match.estimate.ratio)) if match.estimate else -math.inf
