"""Compute table cells from the runs of one experiment, and the lines below a table that explain them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmark_core.text import short_number
from dlbs.core.doubts import doubt_words
from dlbs.core.errors import Registry, registered
from dlbs.core.text import counted, first_few, text
from dlbs.results.grouping import label_of, varying
from dlbs.results.runs import FAMILY, HIGHEST_RATE, THROUGHPUT, TIME, Record, Runs, number
from dlbs.results.statistics.ratio import Interval, logged_interval, median_interval
from dlbs.results.tables.table import DOUBTFUL, USUAL, Cell, common_level

AGGREGATES: Registry = {
    "median": ("statistics:median", "median with its confidence interval"),
    "mean": ("statistics:fmean", "mean"),
    "min": ("builtins:min", "minimum"),
    "max": ("builtins:max", "maximum"),
    "std": ("dlbs.results.tables.cells:deviation", "standard deviation (n - 1)"),
    "sum": ("math:fsum", "sum"),
    "count": ("dlbs.results.tables.cells:count", "number of values"),
}


def deviation(values: Sequence[float]) -> float:
    """Standard deviation (n - 1); NaN for a single value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def count(values: Sequence[float]) -> float:
    """Number of values."""
    return float(len(values))


_MOST_REASONS = 10
_MOST_TERMS = 5  # binomials of a formula that are written as numbers: those of many runs have hundreds of digits


def cell_of(key: str, runs: Runs, aggregate: str = "median") -> Cell:
    """The cell of a quantity of runs."""
    if not runs:
        return Cell(None, "missing")
    fine = runs.ok
    values = [value for value in fine.numbers(key) if value is not None]
    if values:
        valued = fine if len(values) == len(fine) else fine.having(key)
        value = registered(AGGREGATES, aggregate, "aggregate")(values)
        lost = len(runs) - len(values)
        if math.isnan(value):
            return Cell(None, "no-result", runs=len(values), lost=lost)
        interval = None
        if aggregate == "median":
            interval = median_interval(values) if len(values) > 1 else interval_of_run(valued[0], key)
        low, high, level = (interval.low, interval.high, interval.confidence) if interval else (None, None, None)
        doubtful = sum(map(bool, valued.doubts))
        return Cell(float(value), "ok", low, high, level, len(values), lost, doubtful, "doubt" if doubtful else "")
    # Texts, such as the title of a device; a number of a failed experiment is not a result.
    found = (fine if key.startswith("results.") else fine or runs).distinct(key)
    words = list(dict.fromkeys(text(value) for value in found if value not in (None, "") and not _is_figure(value)))
    if words:
        return Cell(", ".join(words), runs=len(words), lost=len(runs) - len(fine))
    bad = [status for status in runs.statuses if status != "ok"]
    return Cell(None, bad[0] if bad else "no-result", lost=len(runs))


def formula_of(key: str, runs: Runs, aggregate: str = "median") -> str:
    """The formula of a cell: `median of 10.00, 11.00, 30.00 = 11.00; ...`; empty without a number."""
    cell = cell_of(key, runs, aggregate)
    if not isinstance(cell.value, float):
        return ""
    valued = runs.ok.having(key)
    ordered = sorted(zip(valued.numbers(key), valued.doubts, strict=True), key=lambda pair: pair[0] or 0.0)
    words = ", ".join(short_number(value or 0.0) + (f" {DOUBTFUL}" if doubts else "") for value, doubts in ordered)
    formula = f"{aggregate} of {words} = {short_number(cell.value)}" if cell.runs > 1 else f"{words}, a single run"
    if cell.low is None or cell.high is None or cell.confidence is None:
        return formula
    bounds = f"[{short_number(cell.low)}, {short_number(cell.high)}]"
    level = f"{100 * cell.confidence:.3g} %"
    if cell.runs == 1:
        return f"{formula}; {bounds}: {level} CI from its {_part(key)}"
    interval = median_interval([value or 0.0 for value, _ in ordered])
    depth = interval.depth if interval else 0
    which = "minimum and maximum" if not depth else f"value {depth + 1} from either end"
    sides = " + ".join(f"{math.comb(cell.runs, at)}" for at in range(min(depth, _MOST_TERMS) + 1))
    if depth > _MOST_TERMS:
        sides += f" + … + C({cell.runs}, {depth})"
    return f"{formula}; {bounds}: {which} of {cell.runs}, 1 - 2 · ({sides}) / 2^{cell.runs} = {level}"


def _part(key: str) -> str:
    """The parts of a run from which its interval of a quantity is computed."""
    if key == HIGHEST_RATE:
        return "trials"
    return "queries" if key.startswith(FAMILY) else "batches"


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def interval_of_run(record: Record, key: str) -> Interval | None:
    """Confidence interval that a single run logged for a quantity; for the mean batch time, derived from that of the throughput."""
    if key.startswith(FAMILY):
        return logged_interval(record, key)
    found, throughput = logged_interval(record, THROUGHPUT), number(record, THROUGHPUT)
    if key not in {THROUGHPUT, TIME} or found is None or throughput is None:
        return None
    if key == THROUGHPUT:
        return found
    time = number(record, TIME) or 0.0
    return Interval(time * throughput / found.high, time * throughput / found.low, USUAL)


def statistic(aggregate: str, cells: Sequence[Cell]) -> str:
    """Statistic of the numbers in a table, for its title: `median of 5 runs with 95 % CI`; empty for plain values of single runs."""
    figures = [cell for cell in cells if isinstance(cell.value, float)]
    runs = {cell.runs for cell in figures}
    levels = {cell.confidence for cell in figures if cell.confidence is not None}
    if not figures or (runs == {1} and not levels):
        return ""
    most = counted(max(runs), "run")
    words = most if runs == {1} else f"{aggregate} of {most if len(runs) == 1 else f'up to {most}'}"
    if not levels:
        return words
    named = levels.copy() if len(levels) == 1 else set()
    if min(levels) >= USUAL:
        named = {USUAL}
    return f"{words} with {f'{100 * named.pop():.0f} % ' if named else ''}CI"


def interval_lines(cells: Sequence[Cell], keys: Sequence[str] = ()) -> list[str]:
    """Explain the intervals in cells of these quantities."""
    with_interval = [cell for cell in cells if cell.low is not None]
    lines = []
    levels = [cell.confidence for cell in with_interval if cell.runs > 1 and cell.confidence is not None]
    if levels:
        usual = common_level(with_interval)
        lower = ", or the lower level shown in the cell" if min(levels) < usual else ""
        lines.append(f"[low, high]: {100 * usual:.0f} % confidence interval of the median{lower}")
    if any(cell.runs == 1 for cell in with_interval):
        run = "of a single run" if levels else "1 run"
        of = " or ".join(sorted({_part(key) for key in keys} or {"batches"}))
        lines.append(f"[low, high] {run}: {100 * USUAL:.0f} % CI from its {of}; ignores variation between runs")
    return lines


def doubt_lines(runs: Runs, keys: Sequence[str]) -> list[str]:
    """Explain the mark of doubtful runs in a table."""
    fine = runs.ok
    used = fine.where(any(value is not None for value in row) for row in zip(*map(fine.numbers, keys), strict=True))
    kinds = [found for found in used.doubts if found]
    if not kinds:
        return []
    words = doubt_words(Counter(kind for found in kinds for kind in found))
    return [f"{DOUBTFUL}: {len(kinds)} of {counted(len(used), 'run')} doubtful: {words}"]


def unit_lines(runs: Runs, names: Sequence[str]) -> list[str]:
    """List the experiments of each unit of throughput in a table, if there are several: `sequences/s: bert`.

    Args:
        runs: All experiments of the table.
        names: Parameters that distinguish them.
    """
    runs = runs.having("results.throughput")
    shown, by_unit = varying(runs, names), runs.group(["results.unit"])
    if len(by_unit) < 2:
        return []
    # One parameter is enough where its values determine the unit.
    values = {name: sum(len(group.distinct(name)) for group in by_unit.values()) for name in shown}
    shown = [name for name, count in values.items() if count == len(runs.distinct(name))][:1] or shown
    return [
        f"{text(unit) or 'instances'}/s: {first_few(list(dict.fromkeys(label_of(run, shown) for run in group)), '; ')}"
        for (unit,), group in by_unit.items()
    ]


def reason_lines(runs: Runs, names: Sequence[str]) -> list[str]:
    """List the reasons of unsuccessful experiments, each once with its experiments.

    Args:
        runs: All experiments of a table.
        names: Parameters that distinguish them.
    """
    bad = runs.where([status != "ok" for status in runs.statuses])
    shown = varying(runs, names) if bad else []
    found: dict[tuple[str, str], dict[str, None]] = {}
    for record, status in zip(bad, bad.statuses, strict=True):
        if message := text(record.get("exp.status_msg")):
            found.setdefault((status, message), {})[label_of(record, shown)] = None
    lines = []
    for (status, message), labels in found.items():
        lines.append(f"{status}: {message} ({first_few(list(labels), '; ')})")
    if len(lines) > _MOST_REASONS:
        lines[_MOST_REASONS:] = [f"and {counted(len(lines) - _MOST_REASONS, 'other reason')}"]
    return lines
