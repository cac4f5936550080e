"""Tables of results: models against batch sizes, one table for each setting that differs otherwise."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlbs.formatting import short_number
from dlbs.parameters import Parameter, text
from dlbs.results.records import Record, status_of

__all__ = ["Table", "regular_tables"]

_ROW, _COLUMN = "exp.model", "exp.replica_batch"
_FIRST = ("exp.framework", "exp.phase", "exp.dtype", "exp.device_type", "exp.gpus", "exp.docker")
_FACTS = ("exp.framework_version", "exp.device_title", "exp.node_id")  # found out by a run, and decisive
_PER_RUN = frozenset(
    {
        _ROW,
        _COLUMN,
        "exp.effective_batch",
        "exp.repeat",
        "exp.start_time",
        "exp.end_time",
        "exp.exit_code",
        "exp.seconds",
    }
)
MISSING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Attributes:
        title: What is in the cells, with the unit, and for which settings.
        header: Column names.
        rows: One list of cells for each row.
        legend: What cells that hold no number mean.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    legend: list[str]


def regular_tables(records: Iterable[Record], declarations: Mapping[str, Parameter]) -> list[Table]:
    """Throughput and batch time, models against replica batches.

    Runs that differ in nothing but `exp.repeat` are one cell: the median. What else differs makes tables of its own, so that a
    cell never mixes settings.

    Args:
        records: Experiments, failed ones too.
        declarations: Tells which parameters say what an experiment is.
    """
    records = list(records)
    splitting = _splitting_names(records, declarations)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_key(record, splitting), []).append(record)
    tables = []
    for group in groups.values():
        setting = _setting(group[0], splitting)
        tables.append(_table(f"Throughput, {_unit(group)}/s{setting}", group, "results.throughput"))
        tables.append(_table(f"Batch time, ms{setting}", group, "results.time"))
    return tables


def _unit(records: list[Record]) -> str:
    units = {text(record["results.unit"]) for record in records if record.get("results.unit")}
    return units.pop() if len(units) == 1 else "instances"


def _splitting_names(records: list[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Parameters that tell apart experiments of the same model and batch, as few as needed."""
    names = dict.fromkeys(_FIRST + _FACTS)
    names.update(dict.fromkeys(sorted({name for record in records for name in record})))
    chosen: list[str] = []
    for name in names:
        own = name not in declarations or declarations[name].identity or name in _FACTS
        if (
            not own
            or name in _PER_RUN
            or name.startswith("results.")
            or (name not in _FACTS and name.endswith("_title"))
        ):
            continue
        if name in _FACTS:  # an experiment that failed early never learnt them
            considered = [record for record in records if record.get(name)]
        else:
            considered = records
        values: dict[str, set[str]] = {}
        for record in considered:
            values.setdefault(_key(record, [_ROW, _COLUMN, *chosen]), set()).add(_key(record, [name]))
        if any(len(found) > 1 for found in values.values()):
            chosen.append(name)
    # The phase and the type are what readers look for first, even where the batch sizes tell them apart already.
    always = [name for name in _FIRST if len({_key(record, [name]) for record in records}) > 1]
    return [*always, *(name for name in chosen if name not in always)]


def _key(record: Record, names: list[str]) -> str:
    return json.dumps([record.get(name) for name in names], sort_keys=True)


def _setting(record: Record, splitting: list[str]) -> str:
    shown = list(dict.fromkeys([*[name for name in _FIRST[:4] if record.get(name)], *splitting]))
    words = []
    for name in shown:
        value = text(record.get(name)) or "none"
        words.append(value if name in _FIRST[:4] else f"{name}={value}")
    return f" ({', '.join(words)})" if words else ""


def _table(title: str, records: list[Record], key: str) -> Table:
    models = list(dict.fromkeys(text(record.get(_ROW)) for record in records))
    batches = sorted({record.get(_COLUMN) for record in records}, key=_batch_order)
    cells: dict[tuple[str, Any], list[Record]] = {}
    for record in records:
        cells.setdefault((text(record.get(_ROW)), record.get(_COLUMN)), []).append(record)
    rows = []
    seen: set[str] = set()
    for model in models:
        row = [model]
        for batch in batches:
            cell = _cell(cells.get((model, batch), []), key)
            seen.update(cell.split(" ")[0:1])
            row.append(cell)
        rows.append(row)
    legend = [f"{word}: {meaning}" for word, meaning in _LEGEND.items() if word in seen]
    repeats = max(len(found) for found in cells.values())
    if repeats > 1:
        legend.append(f"cells are medians of up to {repeats} runs")
    return Table(title, ["model", *(f"batch {text(batch)}" for batch in batches)], rows, legend)


_LEGEND = {
    MISSING: "not in the plan, or no log",
    "failure": "the experiment failed",
    "timeout": "the experiment was ended by exp.timeout",
    "skipped": "the experiment was skipped",
    "cancelled": "the run was stopped",
    "unfinished": "still running, or interrupted",
    "no-result": "the experiment ended well, but logged no such value",
}


def _cell(records: list[Record], key: str) -> str:
    if not records:
        return MISSING
    values = [
        record[key]
        for record in records
        if status_of(record) == "ok" and isinstance(record.get(key), (int, float)) and not isinstance(record[key], bool)
    ]
    if values:
        return short_number(statistics.median(values))
    bad = [status for status in map(status_of, records) if status != "ok"]
    return bad[0] if bad else "no-result"


def _batch_order(batch: Any) -> tuple[int, float, str]:
    return (0, float(batch), "") if isinstance(batch, (int, float)) else (1, 0.0, text(batch))
