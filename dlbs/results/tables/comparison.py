"""A comparison as a table, as a document for programs, and in one line."""

from __future__ import annotations

import math
from typing import Any

from dlbs.results.read.records import status_of
from dlbs.results.statistics.compare import VERDICTS, Comparison
from dlbs.results.statistics.intervals import FEWEST_RUNS
from dlbs.results.tables.table import Cell, Table
from dlbs.text import short_number, text

__all__ = ["as_document", "comparison_table", "summary"]


def comparison_table(comparison: Comparison) -> Table:
    """The comparison as a table: the quantity on both sides, their ratio with its interval, the verdict."""
    limit = f"{100 * comparison.threshold:g} %"
    title = f"{comparison.metric}, B over A, threshold {limit}, {100 * comparison.confidence:.4g} % intervals"
    columns = ["A", "B", "ratio", "interval", "runs", "verdict"]
    table = Table(title, ["experiment"], [], columns, [])
    for match in comparison.matches:
        table.rows.append([match.label])
        interval = match.interval
        statuses = [", ".join(sorted(set(map(status_of, side)))) or "-" for side in (match.a, match.b)]
        table.cells.append(
            [
                *(
                    Cell(status) if value is None else Cell(value)
                    for value, status in zip(match.values, statuses, strict=True)
                ),
                Cell("-" if match.ratio is None else f"{match.ratio:.3f}"),
                Cell("-" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"),
                Cell(f"{len(match.a)}, {len(match.b)}"),
                Cell(match.verdict),
            ]
        )
        table.formulas += [f"{match.label}: {note}" for note in match.notes]
    seen = dict.fromkeys(match.verdict for match in comparison.matches)
    table.legend += [f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in seen]
    if any(match.source == "batches" for match in comparison.matches):
        table.legend.append(
            f"experiments that ran fewer than {FEWEST_RUNS} times: the interval is that of batches within a run, and knows nothing of how runs differ"
        )
    for name, (one, other) in comparison.differences.items():
        table.legend.append(f"{name}: {text(one) or 'none'} in A, {text(other) or 'none'} in B")
    return table


def as_document(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs: plain data, without the records."""
    return {
        "metric": comparison.metric,
        "threshold": comparison.threshold,
        "confidence": comparison.confidence,
        "differences": {name: list(values) for name, values in comparison.differences.items()},
        "verdicts": comparison.counts,
        "regressions": len(comparison.regressions),
        "experiments": [
            {
                "experiment": match.label,
                "a": match.values[0],
                "b": match.values[1],
                "runs": [len(match.a), len(match.b)],
                "ratio": match.ratio,
                "interval": None if match.interval is None else [match.interval.low, match.interval.high],
                "interval_of": match.source or None,
                "verdict": match.verdict,
                "notes": list(match.notes),
            }
            for match in comparison.matches
        ],
    }


def summary(comparison: Comparison) -> str:
    """The comparison in one line."""
    words = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    ratios = [match.ratio for match in comparison.matches if match.ratio]
    mean = (
        f"; geometric mean of the ratios {short_number(math.exp(math.fsum(map(math.log, ratios)) / len(ratios)))}"
        if ratios
        else ""
    )
    return f"{len(comparison.matches)} experiments: {words or 'none'}{mean}"
