"""The comparison page: verdicts, intervals against the threshold, differences between the sides, and the values of the runs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dlbs.core.files import make_parent, write_atomically
from dlbs.core.text import finite, first_few, text
from dlbs.results.grouping import common_label
from dlbs.results.keys import quantity
from dlbs.results.page.assets import COMPARISON_SCRIPTS, document, five_digits
from dlbs.results.runs import THROUGHPUT, TIME, Runs, usual_metric
from dlbs.results.statistics.compare import (
    Comparison,
    ComparisonBy,
    Match,
    compare,
    different_facts,
    is_fact,
    side_by_side,
)
from dlbs.results.statistics.ratio import IMPROVEMENTS, INCONCLUSIVE, REGRESSIONS, VERDICTS, Rules
from dlbs.results.tables import comparison as tables
from dlbs.results.tables.table import Table

_MOST_NAMED = 20


def changes_since(since: str, before: Runs, runs: Runs) -> dict[str, Any]:
    """Compare experiments with earlier ones by the default rules.

    Returns:
        `since`, the name of the earlier results; `quantity` and `threshold` as texts; `summary`, verdicts and mean ratio in one line; `count` of all
        regressions, including broken and missing experiments; and the worst `regressions`: experiment, verdict, ratio with its interval, notes.

    Raises:
        LogError: numpy or scipy is not installed.
    """
    both, sides = side_by_side((before, runs))
    metric = usual_metric(both)
    made = compare(sides[0], sides[1], Rules(metric=metric), sides=("before", "now"))
    worst = sorted(made.regressions, key=_ratio)
    return {
        "since": since,
        "quantity": quantity(metric, both),
        "threshold": f"{100 * made.threshold:g} %",
        "summary": tables.summary(made),
        "regressions": [
            (match.label, match.verdict, tables.ratio_cell(match.estimate).words(), "; ".join(match.notes))
            for match in worst[:_MOST_NAMED]
        ],
        "count": len(worst),
    }


def _ratio(match: Match) -> float:
    """Sort key: broken experiments first, then the largest differences."""
    return -abs(math.log(match.estimate.ratio)) if match.estimate else -math.inf


_QUANTILES = 40  # steps of the distribution of batch times
_MOST_BATCHES = 4_000  # largest number of matches for which the file contains batch times
_MOST_FACTS = 60
_MOST_NOTES = 200  # lines


def write_comparison(path: str, made: Comparison | ComparisonBy, table: Table, *, title: str | None = None) -> None:
    """Write a self-contained page about a comparison.

    Args:
        path: Path of the file.
        made: The comparison.
        table: Its table, whose notes the page shows.
        title: Title of the page; None for the default one.

    Raises:
        ConfigError: The file cannot be written.
    """
    page = comparison_html(made, table, title=title)
    make_parent(path)
    with write_atomically(path) as stream:
        stream.write(page)


def comparison_html(
    made: Comparison | ComparisonBy, table: Table, *, title: str | None = None, links: Mapping[str, Any] | None = None
) -> str:
    """Render the page as text; arguments as for `write_comparison`.

    Args:
        links: Of a page of the history: `back`, `swap`, and `runs`, the address and words of each run of each side.
    """
    comparisons = made.comparisons
    one = comparisons[0]
    by = made.name if isinstance(made, ComparisonBy) else ""
    base = one.sides[0]
    runs = one.runs(0, 1)
    of = quantity(one.metric, runs)
    counts = Counter(match.verdict for comparison in comparisons for match in comparison.matches)
    usual = f"{of.partition(',')[0]} by {by}" if by else f"{of.partition(',')[0]}, {one.sides[1]} compared with {base}"
    meanings = tables.meanings_of(made)
    variables = {
        "by": by,
        "links": links,
        "base": base,
        "sources": [] if by else tables.sources_of(one),
        "quantity": of,
        "tiles": [
            ("comparisons", f"{sum(counts.values()):,}", ""),
            *((verdict, f"{counts[verdict]:,}", tables.tone_of(verdict)) for verdict in VERDICTS if counts[verdict]),
            ("threshold", f"{100 * one.threshold:g} %", ""),
            ("confidence", f"{100 * one.confidence:.4g} %", ""),
        ],
        "summary": tables.summary(made).splitlines(),
        "meanings": [(verdict, meanings[verdict]) for verdict in VERDICTS if counts[verdict]],
        "sides": [base, *(comparison.sides[1] for comparison in comparisons)],
        "differences": _differences(made),
        "facts": _facts(comparisons),
        "common": common_label(runs) if runs else "",
        "legend": [
            line
            for line in table.legend
            if line.partition(":")[0] not in VERDICTS and (by or line not in tables.sources_of(one))
        ],
        "findings": table.findings[:_MOST_NOTES],
        "formulas": table.formulas[:_MOST_NOTES],
        "more_notes": max(0, len(table.findings) - _MOST_NOTES) + max(0, len(table.formulas) - _MOST_NOTES),
        "table": replace(table, legend=[]),  # for browsers without JavaScript
        "data": _data(comparisons, of, by),
    }
    return document("comparison.html", COMPARISON_SCRIPTS, variables, title=title or usual)


def _data(comparisons: Sequence[Comparison], of: str, by: str) -> dict[str, Any]:
    """Data for the page's script: plain data with finite numbers."""
    one = comparisons[0]
    pairs = ((comparison, match) for comparison in comparisons for match in comparison.matches)
    rows = [_row_data(*pair, with_batches=at < _MOST_BATCHES) for at, pair in enumerate(pairs)]
    return {
        "quantity": of,
        "statistic": tables.STATISTIC_NAMES[one.estimator],
        "threshold": one.threshold,
        "by": by.rpartition(".")[2],
        "sides": [one.sides[0], "" if by else one.sides[1]],
        "verdicts": [verdict for verdict in VERDICTS if any(row["verdict"] == verdict for row in rows)],
        "tones": {
            **dict.fromkeys(REGRESSIONS, "bad"),
            **dict.fromkeys(IMPROVEMENTS, "good"),
            INCONCLUSIVE: "doubt",
        },
        "rows": rows,
    }


def _row_data(comparison: Comparison, match: Match, *, with_batches: bool) -> dict[str, Any]:
    interval = match.estimate.interval if match.estimate else None
    batches = with_batches and comparison.metric in (THROUGHPUT, TIME)
    return {
        "label": match.label,
        "value": comparison.sides[1],
        "verdict": match.verdict,
        "ratio": finite(match.estimate.ratio) if match.estimate else None,
        "low": finite(interval.low) if interval else None,
        "high": finite(interval.high) if interval else None,
        "confidence": interval.confidence if interval else None,
        "words": [tables.value_cell(match, side).words() for side in range(2)],
        "sides": [finite(value) for value in match.values],
        "runs": [tables.run_count(*counts) for counts in zip((match.a, match.b), match.doubtful, strict=True)],
        "values": [
            _values(side, comparison.metric, left_out > 0)
            for side, left_out in zip((match.a, match.b), match.doubtful, strict=True)
        ],
        "batches": [_quantiles(side) if batches else [] for side in (match.a, match.b)],
        "notes": list(match.notes),
    }


def _values(runs: Runs, metric: str, are_left_out: bool) -> list[tuple[float, int]]:
    """Value of each run with a code: 1 if the run is doubtful, 2 if it was also left out, else 0."""
    doubt = 2 if are_left_out else 1
    found = zip(runs.comparable(metric), runs.doubts, strict=True)
    return [(value, doubt if kinds else 0) for value, kinds in found if value is not None]


def _quantiles(runs: Runs) -> list[float]:
    """Quantiles of all batch times of some runs in equal steps, from minimum to maximum, ms; empty for fewer than two batches."""
    times: list[float] = []
    for data in runs.values("results.time_data"):
        if isinstance(data, list):
            times += [time for one in data if (time := finite(one)) is not None]
    if len(times) < 2:
        return []
    between = statistics.quantiles(times, n=_QUANTILES, method="inclusive")
    return [five_digits(value) for value in (min(times), *between, max(times))]


def _differences(made: Comparison | ComparisonBy) -> list[tuple[str, list[str]]]:
    """Parameters with one value on each side, the compared ones and those that change with them: name → value of each side."""
    rows = [(name, [text(value) or "none" for value in values]) for name, values in made.differences.items()]
    if isinstance(made, ComparisonBy):
        rows.insert(0, (made.name, [text(value) or "none" for value in (made.baseline, *made.values)]))
    return rows


def _facts(comparisons: Sequence[Comparison]) -> list[tuple[str, list[str]]]:
    """Facts about machines and software in which the sides differ: possible causes of unintended differences."""
    sides = [comparisons[0].runs(0), *(one.runs(1) for one in comparisons)]
    names = sorted({name for side in sides for name in side.names if is_fact(name)})
    known = comparisons[0].differences
    found = [
        (name, [first_few([value or "none" for value in one]) or "unknown" for one in values])
        for name, values in different_facts(sides, names).items()
        if name not in known
    ]
    return found[:_MOST_FACTS]
