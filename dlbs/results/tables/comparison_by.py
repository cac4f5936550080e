"""Format a comparison of the values of one parameter as a table, as a document for programs, and as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlbs.results.statistics.compare import Match
from dlbs.results.statistics.verdicts import VERDICTS
from dlbs.results.statistics.within import ComparisonBy
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.comparison import (
    BATCHES_ONLY,
    QUERIES_ONLY,
    STATISTIC_NAMES,
    as_document,
    explained_verdicts,
    gathered,
    included_doubts,
    method_lines,
    ratio_cell,
    run_count,
    summary,
    tone_of,
    value_cell,
)
from dlbs.results.tables.sentences import sentence
from dlbs.results.tables.table import Cell, Table
from dlbs.text import counted, text

__all__ = ["comparison_by_table", "document_by", "sentences", "summary_by"]

_MEANINGS = {
    **VERDICTS,
    "broken": "succeeded with the baseline, but not with this value",
    "missing": "with the baseline, but not with this value",
    "fixed": "succeeded with this value, but not with the baseline",
    "new": "with this value, but not with the baseline",
}


def comparison_by_table(made: ComparisonBy) -> Table:
    """Format a row for each experiment and value: quantity, ratio to the baseline with its interval, verdict. The first notes are the result in sentences."""
    one = made.comparisons[0]
    base, statistic, level = one.sides[0], STATISTIC_NAMES[one.estimator], f"{100 * one.confidence:.4g} %"
    records = [record for match in one.matches for record in (*match.a, *match.b)]
    of = quantity(one.metric, records)
    title = f"{of} by {made.name}; {statistic} of runs; ratio to {base} with {level} CI, threshold {100 * one.threshold:g} %"
    names, columns = ["experiment", made.name.rpartition(".")[2]], [statistic, f"over {base}", "runs", "verdict"]
    table = Table(title, names, [], columns, [], answers=(f"over {base}", "verdict"))
    for experiment in made.experiments:
        found = made.matches_of(experiment)
        _, _, first = found[0]
        if first.a:
            table.rows.append([experiment, text(made.baseline) or "none"])
            table.cells.append([value_cell(first, 0), Cell("1"), _runs(first, 0), Cell("baseline")])
        for value, _, match in found:
            verdict = Cell(match.verdict, tone=tone_of(match.verdict))
            table.rows.append([experiment, text(value) or "none"])
            table.cells.append([value_cell(match, 1), ratio_cell(match.estimate), _runs(match, 1), verdict])
    table.legend += included_doubts(match for comparison in made.comparisons for match in comparison.matches)
    table.legend += _legend(made)
    table.findings += sentences(made)
    table.formulas += gathered(_notes(made), made.experiments)
    return table


def _runs(match: Match, side: int) -> Cell:
    return Cell(run_count((match.a, match.b)[side], match.doubtful[side]))


def _notes(made: ComparisonBy) -> Iterator[tuple[str, str]]:
    """Yield subject and text of each note; notes on the baseline, shared by all matches of an experiment, once."""
    several = len(made.experiments) > 1
    for experiment in made.experiments:
        found = made.matches_of(experiment)
        lists = [match.notes for _, _, match in found]
        common = [note for note in lists[0] if all(note in notes for notes in lists)]
        for note in common:
            yield (experiment if several else ""), note
        for _, comparison, match in found:
            value = comparison.sides[1]
            for note in match.notes:
                if note in common:
                    continue
                about = [experiment] if several else []
                # A note about the runs of one side names the side itself.
                yield ", ".join(about if note.startswith(f"{value}: ") else [*about, value]), note


def _named_matches(made: ComparisonBy) -> Iterator[tuple[str, Match]]:
    """Yield the matches with the labels that distinguish their rows."""
    several = len(made.experiments) > 1
    for experiment in made.experiments:
        for _, comparison, match in made.matches_of(experiment):
            yield f"{experiment}, {comparison.sides[1]}" if several else comparison.sides[1], match


def _legend(made: ComparisonBy) -> list[str]:
    comparison = made.comparisons[0]
    matches = [match for one in made.comparisons for match in one.matches]
    sources = {match.estimate.source for match in matches if match.estimate}
    seen = {verdict for one in made.comparisons for verdict in explained_verdicts(one)}
    lines = []
    lines += method_lines(f"over {comparison.sides[0]}", comparison.estimator, _named_matches(made))
    lines += [f"{verdict}: {_MEANINGS[verdict]}" for verdict in VERDICTS if verdict in seen]
    if "batches" in sources:
        lines.append(BATCHES_ONLY)
    if "queries" in sources:
        lines.append(QUERIES_ONLY)
    if any(sum(match.doubtful) for match in matches):
        lines.append("runs: in 4 of 5, one doubtful run was left out")
    if made.name != "runtime.malloc":  # otherwise it is the compared parameter
        lines += dict.fromkeys(caution for one in made.comparisons for caution in one.cautions)
    for name, values in made.differences.items():
        lines.append(f"also differs: {name}: {', '.join(text(value) or 'none' for value in values)}")
    for one in made.comparisons:
        for name, (before, after) in one.environment.items():
            if name != made.name:
                lines.append(f"also differs: {name}: {before} with {one.sides[0]}, {after} with {one.sides[1]}")
    if made.left_out:
        lines.append(
            f"{counted(made.left_out, 'experiment')} {'have' if made.left_out > 1 else 'has'} no {made.name} and {'are' if made.left_out > 1 else 'is'} left out"
        )
    if any("±" in line for line in sentences(made)):
        lines.append(f"±: half the width of the {100 * comparison.confidence:.4g} % CI")
    return lines


def sentences(made: ComparisonBy) -> list[str]:
    """One sentence for each experiment and value: `keep ran 1.31 ± 0.04 times faster than system`."""
    several = len(made.experiments) > 1
    return [
        (f"{experiment}: " if several else "")
        + sentence(comparison.metric, comparison.sides, match.verdict, match.estimate, comparison.threshold)
        for experiment in made.experiments
        for _, comparison, match in made.matches_of(experiment)
    ]


def document_by(made: ComparisonBy) -> dict[str, Any]:
    """Convert the comparison to plain data for programs, without the records; in each comparison, A is the baseline and B the value."""
    return {
        "by": made.name,
        "baseline": made.baseline,
        "regressions": len(made.regressions),
        "left_out": made.left_out,
        "summary": sentences(made),
        "comparisons": [
            {"value": value, **as_document(comparison)}
            for value, comparison in zip(made.values, made.comparisons, strict=True)
        ],
    }


def summary_by(made: ComparisonBy) -> str:
    """Summarise the comparison in a line for each value."""
    return "\n".join(f"{comparison.sides[1]}: {summary(comparison)}" for comparison in made.comparisons)
