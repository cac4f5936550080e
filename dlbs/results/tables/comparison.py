"""A comparison as a table, as a document for programs, and in one line."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sized
from typing import Any

from dlbs.doubts import warnings_of
from dlbs.results.read.records import status_of
from dlbs.results.statistics.compare import Comparison, Match
from dlbs.results.statistics.estimators import ESTIMATORS, FEWEST_RUNS
from dlbs.results.statistics.ratio import Estimate
from dlbs.results.statistics.verdicts import IMPROVEMENTS, INCONCLUSIVE, REGRESSIONS, VERDICTS
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.table import DOUBTFUL, Cell, Table
from dlbs.text import counted, short_number, text

__all__ = [
    "STATISTIC_NAMES",
    "as_document",
    "comparison_table",
    "gathered",
    "run_count",
    "summary",
    "tone_of",
    "value_cell",
]

_MOST_NAMED = 3  # experiments in a note
STATISTIC_NAMES = {"rank": "median", "mean": "mean"}


def comparison_table(comparison: Comparison) -> Table:
    """The comparison as a table: the quantity on both sides, their ratio with its interval, the verdict."""
    limit = f"{100 * comparison.threshold:g} %"
    level = f"{100 * comparison.confidence:.4g} %"
    statistic = STATISTIC_NAMES[comparison.estimator]
    records = [record for match in comparison.matches for record in (*match.a, *match.b)]
    of = quantity(comparison.metric, records)
    title = f"{of}; {statistic} of runs; B over A with {level} interval, threshold {limit}"
    columns = [f"A, {statistic}", f"B, {statistic}", "B over A", f"{level} interval", "runs", "verdict"]
    table = Table(title, ["experiment"], [], columns, [])
    for match in comparison.matches:
        table.rows.append([match.label])
        estimate = match.estimate
        interval = estimate.interval if estimate else None
        table.cells.append(
            [
                *(value_cell(match, side) for side in range(2)),
                Cell("-" if estimate is None else f"{estimate.ratio:.3f}"),
                Cell("-" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"),
                Cell(", ".join(run_count(*counts) for counts in zip((match.a, match.b), match.doubtful, strict=True))),
                Cell(match.verdict, tone=tone_of(match.verdict)),
            ]
        )
    several = len(comparison.matches) > 1
    table.formulas += gathered(
        ((match.label if several else "", note) for match in comparison.matches for note in match.notes),
        [match.label for match in comparison.matches] if several else (),
    )
    seen = dict.fromkeys(match.verdict for match in comparison.matches)
    sources = {match.estimate.source for match in comparison.matches if match.estimate}
    if "runs" in sources:
        table.legend.append(f"B over A: {ESTIMATORS[comparison.estimator][1]}")
    table.legend += [f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in seen]
    if "batches" in sources:
        table.legend.append(
            f"experiments with fewer than {FEWEST_RUNS} runs: ratio and interval are those of the mean of batches within runs, which ignores how runs differ"
        )
    if any(cell.doubtful for row in table.cells for cell in row):
        table.legend.append(f"{DOUBTFUL}: doubtful runs are in it; the notes say why")
    if any(sum(match.doubtful) for match in comparison.matches):
        table.legend.append("runs: 4 of 5 means that one was doubtful and was left out")
    for name, (one, other) in comparison.differences.items():
        table.legend.append(f"{name}: {text(one) or 'none'} in A, {text(other) or 'none'} in B")
    return table


def value_cell(match: Match, side: int) -> Cell:
    """The quantity on a side, marked if doubtful runs are in it; the status of its experiments if none ended well."""
    value, records = match.values[side], (match.a, match.b)[side]
    if value is None:
        return Cell(", ".join(sorted(set(map(status_of, records)))) or "-")
    doubtful = 0 if match.doubtful[side] else sum(bool(warnings_of(record)) for record in records)
    return Cell(value, runs=match.used[side], doubtful=doubtful, tone="doubt" if doubtful else "")


def gathered(notes: Iterable[tuple[str, str]], experiments: Collection[str] = ()) -> list[str]:
    """Notes, each once with all that it is about.

    Args:
        notes: What a note is about, empty if that goes without saying, and the note.
        experiments: All of them; a note that is about each of them does not name them.
    """
    found: dict[str, dict[str, None]] = {}
    for subject, note in notes:
        found.setdefault(note, {})[subject] = None
    lines = []
    for note, subjects in found.items():
        named = ["all experiments"] if subjects.keys() == set(experiments) else list(filter(None, subjects))
        more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        lines.append(f"{'; '.join(named[:_MOST_NAMED])}{more}: {note}" if named else note)
    return lines


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
    line = f"{counted(len(comparison.matches), 'experiment')}: {words or 'none'}"
    if mean is not None:
        line += f"; geometric mean of {comparison.sides[1]} over {comparison.sides[0]} {short_number(mean)}"
    left_out = sum(sum(match.doubtful) for match in comparison.matches)
    if left_out:
        line += f"; {counted(left_out, 'doubtful run')} left out"
    return line
