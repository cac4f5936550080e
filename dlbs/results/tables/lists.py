"""Tables with a row for each run, value, missing result or batch: listings, summaries of parameters, gaps of a plan, series."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark_core.text import short_number
from dlbs.core.text import counted, text
from dlbs.results.grouping import (
    distinguishing_names,
    identity_names,
    in_order,
    label_of,
    ordered_keys,
    varying,
)
from dlbs.results.keys import header, quantity
from dlbs.results.runs import Record, Runs, number, status_of
from dlbs.results.statistics.compare import is_fact
from dlbs.results.statistics.series import FEWEST_BATCHES, Series, smoothed
from dlbs.results.tables.cells import doubt_lines, reason_lines
from dlbs.results.tables.report import shown_value
from dlbs.results.tables.table import Cell, Table
from dlbs.run.status import Watch

_DOUBTED = frozenset({"results.throughput", "results.time"})  # quantities that warnings of a run concern
_LONGEST = 60  # characters of a text


def listing_table(runs: Runs, columns: Sequence[str] = ()) -> Table:
    """Make a table with a row for each experiment.

    Args:
        runs: The experiments.
        columns: Keys to show; by default start time, distinguishing parameters, machine and results.
    """
    names = distinguishing_names(runs, without=["exp.effective_batch", "exp.id"])
    if len(runs.distinct("exp.repeat")) > 1:
        names.append("exp.repeat")
    # Distinguishing parameters are the labels; runs of one experiment differ in their start time.
    labels = names or ["exp.model", "exp.phase", "exp.dtype", "exp.replica_batch"]
    if len(runs.group(labels)) < len(runs):
        labels = ["exp.start_time", *labels]
    usual = [
        *labels, "results.accuracy_top1", "results.throughput", "results.time", "exp.status", "exp.start_time", "exp.env.host",
        "db.tags", "exp.id",
    ]  # fmt: skip
    present = [
        name for name in dict.fromkeys(usual) if any(value not in (None, "", []) for value in runs.distinct(name))
    ]
    title = counted(len(runs), "experiment")
    if columns or not present:
        table = _table(title, runs, list(columns) or ["db.added"])
    else:
        table = _table(title, runs, present, labels=max(1, len([name for name in labels if name in present])))
    if _DOUBTED & set(columns or present):
        table.legend += doubt_lines(runs, sorted(_DOUBTED))
    table.legend += reason_lines(runs, names)
    return table


def history_table(runs: Runs, columns: Sequence[str]) -> Table:
    """Make a table of runs of one experiment, with all facts that differ between them."""
    usual = ("exp.start_time", "exp.env.host", "exp.status", "results.throughput", "results.time")
    always = [name for name in usual if name in runs.names]
    changing = [
        name
        for name in sorted(runs.names)
        if (is_fact(name) or name.startswith("exp.docker_image"))
        and name not in always
        and len(runs.distinct(name)) > 1
    ]
    return _table(counted(len(runs), "run"), runs, [*(columns or [*always, *changing]), "db.tags"])


def _table(title: str, runs: Runs, names: Sequence[str], *, labels: int = 1) -> Table:
    columns = [_cells(runs, name) for name in names]
    rows = [[cell.words() for cell in row] for row in zip(*columns[:labels], strict=True)]
    cells = [list(row) for row in zip(*columns[labels:], strict=True)] or [[] for _ in runs]
    titles = [quantity(name, runs) if name.startswith("results.") else header(name) for name in names]
    return Table(title, titles[:labels], rows, titles[labels:], cells, is_divisible=labels > 1)


def _cells(runs: Runs, name: str) -> list[Cell]:
    """Cells of the values of a key; long texts are shortened where different ones stay different."""
    whole = [_words(name, value) for value in runs.values(name)]
    short = [words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…" for words in whole]
    shown = short if len(set(short)) == len(set(whole)) else whole
    numbers = runs.numbers(name) if name.startswith("results.") else [None] * len(runs)
    doubtful = [name in _DOUBTED and bool(doubts) for doubts in runs.doubts]
    return [
        Cell(words or "-") if value is None else Cell(value, doubtful=doubt, tone="doubt" if doubt else "")
        for words, value, doubt in zip(shown, numbers, doubtful, strict=True)
    ]


def _words(name: str, value: object) -> str:
    if name == "exp.start_time":
        return text(value)[:19].replace("T", " ")
    return ", ".join(map(text, value)) if isinstance(value, list) else text(value)


_MOST_VALUES = 20


def summary_table(runs: Runs, names: Sequence[str] = ()) -> Table:
    """Make a table of parameters with their distinct values: varied parameters first, in the plan's order.

    Args:
        runs: Experiments, including failed ones.
        names: Parameters or results, shown with all values; if empty, all parameters that identify an experiment, with at most 20 values each.
    """
    chosen = list(names)
    if not names:
        known = [
            name
            for name in identity_names(runs)
            if any(text(value) not in ("", "[]", "{}") for value in runs.distinct(name))
        ]
        differing = varying(runs, known)
        chosen = [*differing, *(name for name in in_order(runs, known) if name not in differing)]
    cells = []
    for name in chosen:
        found = runs.group([name])
        keys = [key for key in ordered_keys(found, [name]) if key != (None,)]
        words = [f"{shown_value(found[key][0], name)} ({len(found[key])})" for key in keys]
        if not names and len(words) > _MOST_VALUES:
            words[_MOST_VALUES:] = [f"and {len(words) - _MOST_VALUES} more"]
        cells.append([Cell(len(keys)), Cell(", ".join(words) or "-")])
    return Table(
        f"Parameters of {counted(len(runs), 'experiment')}",
        ["parameter"],
        [[name] for name in chosen],
        ["distinct", "values (experiments)"],
        cells,
    )


USUAL = ("results.time", "results.throughput")


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap in the results.

    Attributes:
        what: Description: `failure: exit code 1`, `lacks results.energy`.
        experiment: Label of the experiment.
    """

    what: str
    experiment: str


def gaps(
    records: Sequence[Record],
    required: Sequence[str] = (),
    planned: Mapping[str, str] | None = None,
    names: Collection[str] = (),
) -> list[Gap]:
    """Find gaps: experiments that did not succeed, missing values, missing experiments of the plan, and duplicate identifiers.

    Args:
        records: Experiments, including failed ones.
        required: Keys that each experiment must have; if empty, a time or a throughput.
        planned: exp.id of each experiment of the plan → its label; None if the plan is unknown.
        names: Parameters that distinguish experiments, for labels.
    """
    found = []
    counts: dict[str, int] = {}
    for record in records:
        label = label_of(record, list(names))
        status = status_of(record)
        identifier = text(record.get("exp.id"))
        if identifier:
            counts[identifier] = counts.get(identifier, 0) + 1
            if counts[identifier] == 2:
                found.append(Gap(f"several results have exp.id {identifier}", label))
        if status != "ok":
            reason = text(record.get("exp.status_msg"))
            found.append(Gap(f"{status}: {reason}" if reason else status, label))
            continue
        lacking = [key for key in required if record.get(key) is None]
        if not required and not any(number(record, key) is not None for key in USUAL):
            lacking = [" and ".join(USUAL)]
        found += [Gap(f"lacks {key}", label) for key in lacking]
    if planned is not None:
        found += [Gap("no result", label) for identifier, label in planned.items() if identifier not in counts]
    return found


def missing_logs(paths: Iterable[str]) -> list[Gap]:
    """Find planned experiments whose logs are missing from log directories.

    Raises:
        LogError: A directory cannot be read.
    """
    found = []
    for look in (Watch(Path(path)).look() for path in paths if Path(path).is_dir()):
        if look.errors:
            raise look.errors[0]
        found += [Gap(f"no log: {state.status}", str(state.log)) for state in look.states if not state.log.exists()]
    return found


_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 72
_MOST_OUTLIERS = 10


def series_lines(series: Series) -> list[str]:
    """Format a series for a terminal, line by line."""
    times = series.times
    settled = series.times[max(0, series.steady - len(series.warmup)) :]
    lines = [
        f"warm-up: {_batches(len(series.warmup))}; timed: {len(times)}, median {short_number(statistics.median(times))} ms, "
        f"{short_number(min(times))} to {short_number(max(times))} ms",
        "",
        *_spark("batch times, ms", [*series.warmup, *times], len(series.warmup)),
        *_spark("smoothed, ms", smoothed([*series.warmup, *times]), len(series.warmup)),
        "",
    ]
    if not series.is_conclusive:
        return [
            *lines,
            f"too few batches to detect warm-up, steady part and outliers: {FEWEST_BATCHES} are needed (exp.num_batches)",
            *_monitor_and_warnings(series),
        ]
    lines += [
        f"steady from batch {series.steady + 1} on, warm-up included: {_needed(series)}",
        f"median of the steady part: {short_number(statistics.median(settled))} ms",
    ]
    if series.outliers:
        lines.append(
            f"{len(series.outliers)} of {_batches(len(times))} {'are outliers' if len(series.outliers) > 1 else 'is an outlier'}:"
        )
        worst = sorted(series.outliers, key=lambda outlier: -abs(outlier.times_median - 1))[:_MOST_OUTLIERS]
        lines += [
            f"  batch {outlier.batch}: {short_number(outlier.time)} ms, {outlier.times_median:.2f} times the local median"
            for outlier in sorted(worst, key=lambda outlier: outlier.batch)
        ]
        if len(series.outliers) > _MOST_OUTLIERS:
            lines.append(f"  and {len(series.outliers) - _MOST_OUTLIERS} smaller ones")
    else:
        lines.append("no outliers")
    return [*lines, *_monitor_and_warnings(series)]


def series_table(title: str, series: Series) -> Table:
    """Time, running median and end of each batch; a row for each, those of the warm-up first."""
    outliers = {outlier.batch for outlier in series.outliers}
    rows = [[f"warm-up {number}"] for number in range(1, len(series.warmup) + 1)]
    cells = [[Cell(time), Cell(None, "warm-up"), Cell(None, "warm-up"), Cell("")] for time in series.warmup]
    found = zip(series.times, smoothed(series.times), series.ends, strict=True)
    for batch, (time, middle, end) in enumerate(found, 1):
        rows.append([str(batch)])
        cells.append([Cell(time), Cell(middle), Cell(end), Cell("outlier" if batch in outliers else "")])
    columns = ["time, ms", "running median, ms", "end, s", "mark"]
    return Table(title, ["batch"], rows, columns, cells)


def _monitor_and_warnings(series: Series) -> list[str]:
    lines = []
    for name, (_, values) in series.monitor.items():
        lines += ["", *_spark(name, values, 0)]
    return [*lines, *(f"warning: {warning}" for warning in series.warnings)]


def _batches(count: int) -> str:
    return f"{count:,} batch{'' if count == 1 else 'es'}"


def _needed(series: Series) -> str:
    if series.steady == 0:
        return "no warm-up was needed" if series.warmup else "the timed batches needed no further warm-up"
    return f"{_batches(series.steady)} of warm-up {'were' if series.steady > 1 else 'was'} needed"


def _spark(name: str, values: list[float], warmup: int) -> list[str]:
    """Format a line of bars with its scale; a mark below shows where timing began."""
    columns = min(_WIDTH, len(values))
    edges = [round(index * len(values) / columns) for index in range(columns + 1)]
    means = [statistics.fmean(values[begin:end]) for begin, end in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(_BARS[round((mean - low) * scale)] for mean in means)
    lines = [f"{name}, {short_number(low)} to {short_number(high)}", f"  {bars}"]
    if warmup:
        lines.append("  " + " " * min(columns - 1, round(warmup * columns / len(values))) + "↑ timed from here")
    return lines
