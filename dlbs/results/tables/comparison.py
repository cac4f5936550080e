"""A comparison as a table, as a document for programs, and in one line."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any

from dlbs.results.read.records import status_of
from dlbs.results.statistics.compare import Comparison
from dlbs.results.statistics.estimators import ESTIMATORS, FEWEST_RUNS
from dlbs.results.statistics.ratio import Estimate
from dlbs.results.statistics.verdicts import IMPROVEMENTS, INCONCLUSIVE, REGRESSIONS, VERDICTS
from dlbs.results.tables.table import Cell, Table
from dlbs.text import short_number, text

__all__ = ["STATISTIC_NAMES", "as_document", "comparison_table", "run_count", "summary", "tone_of"]

STATISTIC_NAMES = {"rank": "median", "mean": "mean"}


def comparison_table(comparison: Comparison) -> Table:
    """The comparison as a table: the quantity on both sides, their ratio with its interval, the verdict."""
    limit = f"{100 * comparison.threshold:g} %"
    level = f"{100 * comparison.confidence:.4g} %"
    statistic = STATISTIC_NAMES[comparison.estimator]
    title = f"{comparison.metric}, {statistic} of runs; B over A with {level} interval, threshold {limit}"
    columns = [f"A, {statistic}", f"B, {statistic}", "B over A", f"{level} interval", "runs", "verdict"]
    table = Table(title, ["experiment"], [], columns, [])
    for match in comparison.matches:
        table.rows.append([match.label])
        estimate = match.estimate
        interval = estimate.interval if estimate else None
        statuses = [", ".join(sorted(set(map(status_of, side)))) or "-" for side in (match.a, match.b)]
        table.cells.append(
            [
                *(
                    Cell(status) if value is None else Cell(value)
                    for value, status in zip(match.values, statuses, strict=True)
                ),
                Cell("-" if estimate is None else f"{estimate.ratio:.3f}"),
                Cell("-" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"),
                Cell(", ".join(run_count(*counts) for counts in zip((match.a, match.b), match.doubtful, strict=True))),
                Cell(match.verdict, tone=tone_of(match.verdict)),
            ]
        )
        table.formulas += [f"{match.label}: {note}" for note in match.notes]
    seen = dict.fromkeys(match.verdict for match in comparison.matches)
    sources = {match.estimate.source for match in comparison.matches if match.estimate}
    if "runs" in sources:
        table.legend.append(f"B over A: {ESTIMATORS[comparison.estimator][1]}")
    table.legend += [f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in seen]
    if "batches" in sources:
        table.legend.append(
            f"experiments with fewer than {FEWEST_RUNS} runs: ratio and interval are those of the mean of batches within runs, which ignores how runs differ"
        )
    if any(sum(match.doubtful) for match in comparison.matches):
        table.legend.append("runs: 4 of 5 means that one was doubtful and was left out")
    for name, (one, other) in comparison.differences.items():
        table.legend.append(f"{name}: {text(one) or 'none'} in A, {text(other) or 'none'} in B")
    return table


def run_count(side: Sized, left_out: int) -> str:
    """How many runs a side has: `5`, or `4 of 5` where one was left out."""
    return f"{len(side) - left_out} of {len(side)}" if left_out else str(len(side))


def tone_of(verdict: str) -> str:
    """The tone of a verdict's cell."""
    if verdict in REGRESSIONS:
        return "bad"
    return "good" if verdict in IMPROVEMENTS else "doubt" if verdict == INCONCLUSIVE else ""


def as_document(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs: plain data, without the records."""
    return {
        "metric": comparison.metric,
        "threshold": comparison.threshold,
        "confidence": comparison.confidence,
        "estimator": comparison.estimator,
        "statistic": f"{STATISTIC_NAMES[comparison.estimator]} of runs",
        "differences": {name: list(values) for name, values in comparison.differences.items()},
        "verdicts": comparison.counts,
        "regressions": len(comparison.regressions),
        "experiments": [
            {
                "experiment": match.label,
                "a": match.values[0],
                "b": match.values[1],
                "runs": [len(match.a), len(match.b)],
                "runs_used": list(match.used),
                "doubtful_left_out": list(match.doubtful),
                **_estimated(match.estimate),
                "verdict": match.verdict,
                "notes": list(match.notes),
            }
            for match in comparison.matches
        ],
    }


def _estimated(estimate: Estimate | None) -> dict[str, Any]:
    interval = estimate.interval if estimate else None
    return {
        "ratio": estimate.ratio if estimate else None,
        "interval": [interval.low, interval.high] if interval else None,
        "interval_confidence": interval.confidence if interval else None,
        "interval_of": (estimate.source if estimate else "") or None,
    }


def summary(comparison: Comparison) -> str:
    """The comparison in one line."""
    words = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    ratios = [match.estimate.ratio for match in comparison.matches if match.estimate]
    mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if ratios else None
    count = len(comparison.matches)
    line = f"{count} experiment{'s' if count != 1 else ''}: {words or 'none'}"
    if mean is not None:
        line += f"; geometric mean of {comparison.sides[1]} over {comparison.sides[0]} {short_number(mean)}"
    left_out = sum(sum(match.doubtful) for match in comparison.matches)
    if left_out:
        line += f"; {left_out} doubtful run{'s' if left_out > 1 else ''} left out"
    return line
