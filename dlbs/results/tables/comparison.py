"""Format a comparison as a table, as a document for programs, and in one line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Sized
from typing import Any

from dlbs.doubts import doubt_words, doubts_of, warnings_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of
from dlbs.results.statistics.compare import Comparison, Match
from dlbs.results.statistics.estimators import ESTIMATORS, FEWEST_RUNS
from dlbs.results.statistics.intervals import METHODS
from dlbs.results.statistics.ratio import Estimate
from dlbs.results.statistics.verdicts import IMPROVEMENTS, INCONCLUSIVE, REGRESSIONS, VERDICTS, verdict_of
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.table import DOUBTFUL, Cell, Table
from dlbs.text import counted, short_number, text

__all__ = [
    "BATCHES_ONLY",
    "QUERIES_ONLY",
    "STATISTIC_NAMES",
    "as_document",
    "comparison_table",
    "explained_verdicts",
    "gathered",
    "included_doubts",
    "method_lines",
    "ratio_cell",
    "run_count",
    "summary",
    "tone_of",
    "value_cell",
]

_MOST_NAMED = 3  # experiments in a note
BATCHES_ONLY = (
    f"fewer than {FEWEST_RUNS} runs: ratio and interval from batches within runs; ignores variation between runs"
)
_OF_ROUNDS = "median of the means of the ratios of two rounds (Hodges-Lehmann)"
QUERIES_ONLY = "one run per side: interval from those that both runs logged; ignores variation between runs"
STATISTIC_NAMES = {"rank": "median", "mean": "mean"}


def comparison_table(comparison: Comparison) -> Table:
    """Format a comparison as a table: the quantity on both sides, their ratio with its interval, the verdict."""
    limit = f"{100 * comparison.threshold:g} %"
    level = f"{100 * comparison.confidence:.4g} %"
    statistic = STATISTIC_NAMES[comparison.estimator]
    records = [record for match in comparison.matches for record in (*match.a, *match.b)]
    of = quantity(comparison.metric, records)
    title = f"{of}; {statistic} of runs; B over A with {level} CI, threshold {limit}"
    columns = [f"A, {statistic}", f"B, {statistic}", "B over A", "runs", "verdict"]
    table = Table(title, ["experiment"], [], columns, [], answers=("B over A", "verdict"))
    for match in comparison.matches:
        table.rows.append([match.label])
        table.cells.append(
            [
                *(value_cell(match, side) for side in range(2)),
                ratio_cell(match.estimate),
                Cell(", ".join(run_count(*counts) for counts in zip((match.a, match.b), match.doubtful, strict=True))),
                Cell(match.verdict, tone=tone_of(match.verdict)),
            ]
        )
    several = len(comparison.matches) > 1
    table.formulas += gathered(
        ((match.label if several else "", note) for match in comparison.matches for note in match.notes),
        [match.label for match in comparison.matches] if several else (),
    )
    seen = explained_verdicts(comparison)
    sources = {match.estimate.source for match in comparison.matches if match.estimate}
    table.legend += method_lines(
        "B over A", comparison.estimator, [(match.label, match) for match in comparison.matches]
    )
    table.legend += [f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in seen]
    if "batches" in sources:
        table.legend.append(BATCHES_ONLY)
    if "queries" in sources:
        table.legend.append(QUERIES_ONLY)
    table.legend += included_doubts(comparison.matches)
    if any(sum(match.doubtful) for match in comparison.matches):
        table.legend.append("runs: in 4 of 5, one doubtful run was left out")
    for name, (one, other) in comparison.differences.items():
        table.legend.append(f"{name}: {text(one) or 'none'} in A, {text(other) or 'none'} in B")
    table.legend += [f"{name}: {one} in A, {other} in B" for name, (one, other) in comparison.environment.items()]
    table.legend += comparison.cautions
    return table


def method_lines(column: str, estimator: str, matches: Iterable[tuple[str, Match]]) -> list[str]:
    """Explain the estimator of the ratios and the method of each interval.

    Args:
        column: Name of the column with the ratios.
        estimator: A key of `ESTIMATORS`.
        matches: Label of each row, and its match.
    """
    found: dict[str, list[str]] = {}
    for label, match in matches:
        if match.estimate is not None and match.estimate.source == "runs":
            interval = match.estimate.interval
            found.setdefault(interval.method if interval else "", []).append(label)
    if not found:
        return []
    used = [method for method in METHODS if method in found]
    ratios = {method: _OF_ROUNDS if method == "signed ranks" else ESTIMATORS[estimator][1] for method in found}
    if len(used) == 1:
        return [f"{column}: {ratios[used[0]]}; interval: {METHODS[used[0]]}"]
    if len(set(ratios.values())) == 1:
        return [
            f"{column}: {ESTIMATORS[estimator][1]}",
            *(f"interval of {named(found[method])}: {METHODS[method]}" for method in used),
        ]
    return [
        f"{column}, {named(labels)}: {ratios[method]}" + (f"; interval: {METHODS[method]}" if method else "")
        for method, labels in found.items()
    ]


def named(labels: Sequence[str]) -> str:
    """List labels of experiments, only the first few by name."""
    more = f"; and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return "; ".join(labels[:_MOST_NAMED]) + more


def ratio_cell(estimate: Estimate | None) -> Cell:
    """Cell of a ratio with its interval."""
    if estimate is None:
        return Cell("-")
    interval = estimate.interval
    if interval is None:
        return Cell(estimate.ratio)
    return Cell(estimate.ratio, low=interval.low, high=interval.high, confidence=interval.confidence)


def value_cell(match: Match, side: int) -> Cell:
    """Cell of the quantity on one side, marked if it includes doubtful runs; the status of the experiments if none succeeded."""
    value, records = match.values[side], (match.a, match.b)[side]
    if value is None:
        return Cell(", ".join(sorted(set(map(status_of, records)))) or "-")
    doubtful = 0 if match.doubtful[side] else sum(bool(warnings_of(record)) for record in records)
    return Cell(value, runs=match.used[side], doubtful=doubtful, tone="doubt" if doubtful else "")


def included_doubts(matches: Iterable[Match]) -> list[str]:
    """Explain the mark of doubtful runs: the kinds of warnings with their number of runs."""
    runs: dict[int, Record] = {}  # the baseline is a side of several matches
    for match in matches:
        for side, records in enumerate((match.a, match.b)):
            if value_cell(match, side).doubtful:
                runs |= {id(record): record for record in records}
    counts = Counter(kind for record in runs.values() for kind in doubts_of(record))
    return [f"{DOUBTFUL}: includes doubtful runs ({doubt_words(counts)})"] if counts else []


def explained_verdicts(comparison: Comparison) -> set[str]:
    """Verdicts for the legend; where an experiment is inconclusive for another reason than its interval, its notes explain it."""
    return {match.verdict for match in comparison.matches if match.verdict != INCONCLUSIVE} | {
        INCONCLUSIVE
        for match in comparison.matches
        if match.verdict == INCONCLUSIVE
        and match.estimate is not None
        and match.estimate.interval is not None
        and verdict_of(comparison.metric, match.estimate.interval, comparison.threshold) == INCONCLUSIVE
    }


def gathered(notes: Iterable[tuple[str, str]], experiments: Collection[str] = ()) -> list[str]:
    """Merge equal notes, each with all its subjects.

    Args:
        notes: Subject (may be empty) and text of each note.
        experiments: All experiments; a note on all of them does not name them.
    """
    found: dict[str, dict[str, None]] = {}
    for subject, note in notes:
        found.setdefault(note, {})[subject] = None
    lines = []
    for note, subjects in found.items():
        about = ["all experiments"] if subjects.keys() == set(experiments) else list(filter(None, subjects))
        lines.append(f"{named(about)}: {note}" if about else note)
    return lines


def run_count(side: Sized, left_out: int) -> str:
    """Number of runs of a side: `5`, or `4 of 5` if one was left out."""
    return f"{len(side) - left_out} of {len(side)}" if left_out else str(len(side))


def tone_of(verdict: str) -> str:
    """Tone of the cell of a verdict."""
    if verdict in REGRESSIONS:
        return "bad"
    return "good" if verdict in IMPROVEMENTS else "doubt" if verdict == INCONCLUSIVE else ""


def as_document(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to plain data for programs, without the records."""
    return {
        "metric": comparison.metric,
        "threshold": comparison.threshold,
        "confidence": comparison.confidence,
        "estimator": comparison.estimator,
        "statistic": f"{STATISTIC_NAMES[comparison.estimator]} of runs",
        "differences": {name: list(values) for name, values in comparison.differences.items()},
        "environment": {name: list(values) for name, values in comparison.environment.items()},
        "cautions": comparison.cautions,
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
        "interval_method": (interval.method if interval else "") or None,
    }


def summary(comparison: Comparison) -> str:
    """Summarise a comparison in one line."""
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
