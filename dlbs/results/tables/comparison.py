"""A comparison in words: tables, documents for programs, sentences and one line, of two sets or of the values of a parameter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from typing import Any

from benchmark_core.text import short_number
from dlbs.core.doubts import doubt_words
from dlbs.core.experiment import TITLES
from dlbs.core.text import counted, text
from dlbs.results.changes import COMMIT, change_words
from dlbs.results.keys import better_of, header, quantity
from dlbs.results.statistics.compare import Comparison, ComparisonBy, Match, value_words
from dlbs.results.statistics.ratio import (
    ESTIMATORS,
    FEWEST_RUNS,
    IMPROVEMENTS,
    INCONCLUSIVE,
    METHODS,
    REGRESSIONS,
    VERDICTS,
    Estimate,
    Interval,
    is_speed,
    verdict_of,
)
from dlbs.results.tables.table import DOUBTFUL, Cell, Table

_NEARLY_SYMMETRIC = 1.25  # largest ratio of the halves of an interval for which ± is accurate enough


def sentence(metric: str, sides: tuple[str, str], verdict: str, estimate: Estimate | None, threshold: float) -> str:
    """Format one comparison as a sentence.

    Args:
        metric: Key of the quantity.
        sides: Names of the baseline and the value.
        verdict: A key of `VERDICTS`.
        estimate: Ratio of the value to the baseline; None if there is none.
        threshold: Largest relative difference that counts as the same.
    """
    base, value = sides
    if estimate is None:
        return f"{value} against {base}: {verdict}"
    limit = f"within {100 * threshold:g} %"
    words = speed_words(metric, estimate)
    if not is_speed(metric):
        if verdict == "same":
            return f"{metric} with {value} is the same as with {base}, {limit} ({words})"
        return f"{metric} with {value} is {words} that with {base}: {verdict}"
    if verdict == "same":
        return f"{value} ran as fast as {base}, {limit} ({words})"
    if verdict in {"faster", "slower"}:
        return f"{value} {'took' if better_of(metric) < 0 else 'ran'} {words} as {base}"
    return f"{value} against {base}: {verdict} ({words})"


def speed_words(metric: str, estimate: Estimate) -> str:
    """Format the ratio of a table for a sentence: `1.31 ± 0.04 times as fast`, of times `0.76 ± 0.02 times as long`; otherwise `1.31 ± 0.04 times`."""
    words = f"{ratio_words(estimate)} times"
    if not is_speed(metric):
        return words
    return f"{words} as {'long' if better_of(metric) < 0 else 'fast'}"


def ratio_words(estimate: Estimate) -> str:
    """Format a ratio with its interval: `1.31 ± 0.04`, half the width, or `2.53 [0.40, 15.9]` where ± would mislead."""
    interval, ratio = estimate.interval, estimate.ratio
    small = ratio < 0.2
    if interval is None:
        return f"{ratio:.{2 + small}f}"
    half = (interval.high - interval.low) / 2
    digits = (2 if half >= 0.005 else 3) + small
    if is_nearly_symmetric(ratio, interval) or half < 0.5 * 10**-digits:
        return f"{ratio:.{digits}f} ± {half:.{digits}f}"
    low, high = (_bound(bound, digits) for bound in (interval.low, interval.high))
    return f"{_bound(ratio, digits)} [{low}, {high}]"


def _bound(value: float, digits: int) -> str:
    if value >= 100:
        return short_number(value)
    return f"{value:.1f}" if value >= 10 else f"{value:.{digits}f}"


def is_nearly_symmetric(ratio: float, interval: Interval) -> bool:
    """Whether both halves of an interval are about equally wide."""
    halves = interval.high - ratio, ratio - interval.low
    return max(halves) <= _NEARLY_SYMMETRIC * min(halves)


_MOST_NAMED = 3  # experiments in a note
BATCHES_ONLY = (
    f"fewer than {FEWEST_RUNS} runs: ratio and interval from batches within runs; ignores variation between runs"
)
_RATIOS = {
    "signed ranks": "median of the means of the ratios of two rounds (Hodges-Lehmann)",
    "pairs": "mean ratio of pairs of processes that took turns, weighted by their precision",
}
QUERIES_ONLY = "one run per side: interval from those that both runs logged; ignores variation between runs"
STATISTIC_NAMES = {"rank": "median", "mean": "mean"}


def comparison_table(made: Comparison | ComparisonBy) -> Table:
    """Format a comparison as a table.

    Two sets have a row for each experiment, the values of a parameter one for each experiment and value: the quantity, the ratio with its
    interval, the verdict. The findings of the latter are the result in sentences.
    """
    one = made.comparisons[0]
    statistic, rows = STATISTIC_NAMES[one.estimator], made.rows
    limits = f"with {100 * one.confidence:.4g} % CI, threshold {100 * one.threshold:g} %"
    of = quantity(one.metric, one.runs(0, 1))
    if isinstance(made, ComparisonBy):
        over = f"over {one.sides[0]}"
        title = f"{of} by {made.name}; {statistic} of runs; ratio to {one.sides[0]} {limits}"
        name = header(made.name) if made.name in TITLES else made.name.rpartition(".")[2]
        names, columns = ["experiment", name], [statistic, over, "runs", "verdict"]
    else:
        over = one.over
        title = f"{of}; {statistic} of runs; {over} {limits}"
        names, columns = ["experiment"], [*(f"{side}, {statistic}" for side in one.sides), over, "runs", "verdict"]
    table = Table(title, names, [], columns, [], answers=(over, "verdict"))
    for experiment, found in rows:
        if isinstance(made, ComparisonBy) and (first := found[0][2]).a:
            table.rows.append([experiment, value_words(made.baseline)])
            table.cells.append([value_cell(first, 0), Cell("1"), Cell(_counts(first)[0]), Cell("baseline")])
        for value, _, match in found:
            verdict = Cell(match.verdict, tone=tone_of(match.verdict))
            counts, ratio = _counts(match), ratio_cell(match.estimate)
            if isinstance(made, ComparisonBy):
                table.rows.append([experiment, value_words(value)])
                table.cells.append([value_cell(match, 1), ratio, Cell(counts[1]), verdict])
            else:
                table.rows.append([experiment])
                sides = [value_cell(match, side) for side in range(2)]
                table.cells.append([*sides, ratio, Cell(", ".join(counts)), verdict])
    table.formulas += gathered(_notes(made), [experiment for experiment, _ in rows])
    table.legend += _legend(made, over)
    if isinstance(made, ComparisonBy):
        table.findings += sentences(made)
    return table


def _counts(match: Match) -> list[str]:
    return [run_count(*side) for side in zip((match.a, match.b), match.doubtful, strict=True)]


def method_lines(column: str, estimator: str, matches: Iterable[tuple[str, Match]]) -> list[str]:
    """Explain the estimator of the ratios and the method of each interval.

    Args:
        column: Name of the column with the ratios.
        estimator: A key of `ESTIMATORS`.
        matches: Label of each row, and its match.
    """
    found: dict[str, list[str]] = {}
    for label, match in matches:
        if match.estimate is not None and match.estimate.source in {"runs", "pairs"}:
            interval = match.estimate.interval
            method = interval.method if interval else ""
            found.setdefault("pairs" if match.estimate.source == "pairs" else method, []).append(label)
    if not found:
        return []
    used = [method for method in METHODS if method in found]
    ratios = {method: _RATIOS.get(method, ESTIMATORS[estimator][1]) for method in found}
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
    value, runs = match.values[side], (match.a, match.b)[side]
    if value is None:
        return Cell(", ".join(sorted(set(runs.statuses))) or "-")
    doubtful = 0 if match.doubtful[side] else sum(map(bool, runs.doubts))
    return Cell(value, runs=match.used[side], doubtful=doubtful, tone="doubt" if doubtful else "")


def included_doubts(matches: Iterable[Match]) -> list[str]:
    """Explain the mark of doubtful runs: the kinds of warnings with their number of runs."""
    doubts: dict[int, Sequence[str]] = {}  # the baseline is a side of several matches, all with runs of one table
    for match in matches:
        for side, runs in enumerate((match.a, match.b)):
            if value_cell(match, side).doubtful:
                doubts |= zip(runs.rows, runs.doubts, strict=True)
    counts = Counter(kind for kinds in doubts.values() for kind in kinds)
    return [f"{DOUBTFUL}: includes doubtful runs ({doubt_words(counts)})"] if counts else []


def explained_verdicts(comparison: Comparison) -> set[str]:
    """Verdicts for the legend; where an experiment is inconclusive for another reason than its interval, its notes explain it."""
    return {
        match.verdict
        for match in comparison.matches
        if match.verdict != INCONCLUSIVE
        or (
            match.estimate is not None
            and match.estimate.interval is not None
            and verdict_of(comparison.metric, match.estimate.interval, comparison.threshold) == INCONCLUSIVE
        )
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


def as_document(made: Comparison | ComparisonBy) -> dict[str, Any]:
    """Convert a comparison to plain data for programs, without the records; of the values of a parameter, A is the baseline and B the value."""
    if isinstance(made, ComparisonBy):
        return {
            "by": ",".join(made.parameters) or made.name,
            "baseline": made.baseline,
            "regressions": len(made.regressions),
            "left_out": made.left_out,
            "summary": sentences(made),
            "comparisons": [
                {"value": value, **as_document(comparison)}
                for value, comparison in zip(made.values, made.comparisons, strict=True)
            ],
        }
    comparison = made
    return {
        "sides": list(comparison.sides),
        "sources": list(comparison.sources),
        "metric": comparison.metric,
        "threshold": comparison.threshold,
        "confidence": comparison.confidence,
        "estimator": comparison.estimator,
        "statistic": f"{STATISTIC_NAMES[comparison.estimator]} of runs",
        "differences": {name: list(values) for name, values in comparison.differences.items()},
        "environment": {name: list(values) for name, values in comparison.environment.items()},
        "changes": comparison.changes,
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


def flat_rows(made: Comparison | ComparisonBy) -> list[dict[str, Any]]:
    """The experiments of `as_document`, with the bounds of the interval and the value of a parameter, for frames."""
    rows = []
    for value, one in zip(made.values if isinstance(made, ComparisonBy) else [None], made.comparisons, strict=True):
        for row in as_document(one)["experiments"]:
            low, high = row.pop("interval") or (None, None)
            rows.append(
                {**({made.name: value} if isinstance(made, ComparisonBy) else {}), **row, "low": low, "high": high}
            )
    return rows


def _estimated(estimate: Estimate | None) -> dict[str, Any]:
    interval = estimate.interval if estimate else None
    return {
        "ratio": estimate.ratio if estimate else None,
        "interval": [interval.low, interval.high] if interval else None,
        "interval_confidence": interval.confidence if interval else None,
        "interval_of": (estimate.source if estimate else "") or None,
        "interval_method": (interval.method if interval else "") or None,
    }


def summary(made: Comparison | ComparisonBy) -> str:
    """Summarise a comparison in one line, or one for each value of a parameter."""
    if isinstance(made, ComparisonBy):
        return "\n".join(f"{one.over}: {_summary(one)}" for one in made.comparisons)
    return _summary(made, f" of {made.over}")


def _summary(comparison: Comparison, of: str = "") -> str:
    words = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    ratios = [match.estimate.ratio for match in comparison.matches if match.estimate]
    line = f"{counted(len(comparison.matches), 'experiment')}: {words or 'none'}"
    if ratios:
        mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        line += f"; {'geometric mean' if len(ratios) > 1 else 'ratio'}{of} {short_number(mean)}"
    left_out = sum(sum(match.doubtful) for match in comparison.matches)
    if left_out:
        line += f"; {counted(left_out, 'doubtful run')} left out"
    return line


def _notes(made: Comparison | ComparisonBy) -> Iterator[tuple[str, str]]:
    """Yield subject and text of each note; notes on the baseline, shared by all matches of an experiment, once."""
    rows = made.rows
    several = len(rows) > 1
    for experiment, found in rows:
        about = [experiment] if several else []
        lists = [match.notes for _, _, match in found]
        common = [note for note in lists[0] if all(note in notes for notes in lists)]
        for note in common:
            yield "".join(about), note
        for _, comparison, match in found:
            value = comparison.sides[1]
            for note in match.notes:
                if note not in common:
                    # A note about the runs of one side names the side itself.
                    yield ", ".join(about if note.startswith(f"{value}: ") else [*about, value]), note


def _legend(made: Comparison | ComparisonBy, over: str) -> list[str]:
    """Explain the column with the ratios, the verdicts and marks, and list what else differs."""
    rows, one = made.rows, made.comparisons[0]
    matches: list[tuple[str, Match]] = []
    for experiment, found in rows:
        for _, comparison, match in found:
            value = [comparison.sides[1]] if isinstance(made, ComparisonBy) else []
            about = [experiment] if len(rows) > 1 or not value else []
            matches.append((", ".join([*about, *value]), match))
    seen = {verdict for comparison in made.comparisons for verdict in explained_verdicts(comparison)}
    meanings = meanings_of(made)
    sources = {match.estimate.source for _, match in matches if match.estimate}
    lines = method_lines(over, one.estimator, matches)
    lines += [f"{verdict}: {meanings[verdict]}" for verdict in VERDICTS if verdict in seen]
    if "batches" in sources:
        lines.append(BATCHES_ONLY)
    if "queries" in sources:
        lines.append(QUERIES_ONLY)
    lines[0 if isinstance(made, ComparisonBy) else len(lines) : 0] = included_doubts(
        match for comparison in made.comparisons for match in comparison.matches
    )
    if any(sum(match.doubtful) for _, match in matches):
        lines.append("runs: in 4 of 5, one doubtful run was left out")
    return lines + (_other_values(made) if isinstance(made, ComparisonBy) else _other_sides(made))


def meanings_of(made: Comparison | ComparisonBy) -> dict[str, str]:
    """Meaning of each verdict, with the names of the sides."""
    a, b = (f"in {side}" for side in made.comparisons[0].sides)
    if isinstance(made, ComparisonBy):
        a, b = "with the baseline", "with this value"
    return {
        **VERDICTS,
        "broken": f"succeeded {a}, but not {b}",
        "missing": f"{a}, but not {b}",
        "fixed": f"succeeded {b}, but not {a}",
        "new": f"{b}, but not {a}",
    }


def sources_of(made: Comparison) -> list[str]:
    """Where the runs of each side come from: `A: logs/main`; empty if it is unknown."""
    return [f"{side}: {source}" for side, source in zip(made.sides, made.sources, strict=False)]


def _other_sides(made: Comparison) -> list[str]:
    a, b = made.sides
    lines = [
        f"{name}: {text(one) or 'none'} in {a}, {text(other) or 'none'} in {b}"
        for name, (one, other) in (*made.differences.items(), *made.environment.items())
    ]
    lines += [f"from {a} to {b}: {words}" for words in change_words(made.changes)]
    return [*sources_of(made), *lines, *made.cautions]


def _other_values(made: ComparisonBy) -> list[str]:
    lines: list[str] = []
    if "runtime.malloc" not in (made.name, *made.parameters):  # otherwise it is a compared parameter
        lines += dict.fromkeys(caution for one in made.comparisons for caution in one.cautions)
    for name, values in made.differences.items():
        lines.append(f"also differs: {name}: {', '.join(text(value) or 'none' for value in values)}")
    for one in made.comparisons:
        lines += [
            f"also differs, {' → '.join(one.sides)}: {words}"
            for words in change_words(one.changes)
            if made.name != COMMIT
        ]
        for name, (before, after) in one.environment.items():
            if name not in (made.name, *made.parameters):
                lines.append(f"also differs: {name}: {before} with {one.sides[0]}, {after} with {one.sides[1]}")
    if made.left_out:
        lines.append(
            f"{counted(made.left_out, 'experiment')} {'have' if made.left_out > 1 else 'has'} no {made.name} and {'are' if made.left_out > 1 else 'is'} left out"
        )
    if any("±" in line for line in sentences(made)):
        lines.append(f"±: half the width of the {100 * made.comparisons[0].confidence:.4g} % CI")
    return lines


def sentences(made: ComparisonBy) -> list[str]:
    """One sentence for each experiment and value: `keep ran 1.31 ± 0.04 times as fast as system`."""
    several = len(made.experiments) > 1
    return [
        (f"{experiment}: " if several else "")
        + sentence(comparison.metric, comparison.sides, match.verdict, match.estimate, comparison.threshold)
        for experiment, found in made.rows
        for _, comparison, match in found
    ]
