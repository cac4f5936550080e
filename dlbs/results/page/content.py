"""What stands on the page: tiles, the table of experiments, tables, plots, failures, machines."""

from __future__ import annotations

import base64
import os
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.logs import STATUSES
from dlbs.results.grouping import describe, groups, telling_names
from dlbs.results.plots import Options, draw, svg
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.tables.pivot import Table, regular_tables
from dlbs.results.tables.scaling import devices, scaling_tables
from dlbs.text import duration, short_number, text

__all__ = ["page_content"]

_TAIL_LINES, _TAIL_BYTES = 30, 16_384

_MOST_FAILURES = 200

_MOST_COLUMNS = 6  # of parameters that tell experiments apart

_MIB = 1 << 20

_BAD = frozenset({"failure", "timeout", "cancelled", "unfinished"})


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class _Cell:
    words: str
    value: float | None = None
    is_number: bool = False
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    status: str
    cells: list[_Cell]


def page_content(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    logs: Collection[str],
    live: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the template shows.

    Args:
        records: The experiments.
        declarations: Tell which parameters say what an experiment is.
        logs: Logs whose ends may be shown.
        live: What the live view adds.
    """
    tables = _tables(records, declarations)
    columns, rows = _rows(records, declarations)
    counts = Counter(map(status_of, records))
    readable = frozenset(logs)
    return {
        "running": None,
        "planned": 0,
        "done": 0,
        "owner": None,
        **(live or {}),
        "tiles": _tiles(records, counts),
        "notes": _notes(records),
        "columns": columns,
        "rows": rows,
        "statuses": [status for status in (*STATUSES, "unfinished") if counts[status]],
        "repeat": "dlbs rerun repeats an experiment and replaces its log; bash LOG.sh runs its launcher alone and prints the log.",
        "tables": tables,
        "plots": _plots(records, declarations),
        "failures": _failures(records, readable),
        "machines": _machines(records),
    }


def _tables(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[Table]:
    if not records:
        return []
    tables = regular_tables(records, declarations)
    if len({devices(record) for record in records}) > 1:
        for kind in ("weak", "strong"):
            made = scaling_tables(records, declarations, kind)
            tables += [
                table for table in made if table.title.startswith(("Speed-up", "Efficiency")) and _is_full(table)
            ]
    return tables


def _is_full(table: Table) -> bool:
    """Whether some row has two numbers: else nothing scales in it."""
    return any(sum(isinstance(cell.value, float) for cell in row) > 1 for row in table.cells)


def _tiles(records: Sequence[Record], counts: Mapping[str, int]) -> list[tuple[str, str]]:
    def distinct(name: str) -> str:
        found = dict.fromkeys(text(record[name]) for record in records if record.get(name) not in (None, ""))
        shown = ", ".join(list(found)[:3])
        return shown + (f" and {len(found) - 3} more" if len(found) > 3 else "")

    starts = sorted(text(record["exp.start_time"]) for record in records if record.get("exp.start_time"))
    seconds = sum(number(record, "exp.seconds") or 0.0 for record in records)
    versions = dict.fromkeys(
        f"{text(record.get('exp.framework_title') or record.get('exp.framework'))} {text(record['exp.framework_version'])}"
        for record in records
        if record.get("exp.framework_version")
    )
    tiles = [
        ("experiments", str(len(records))),
        *((status, str(count)) for status, count in counts.items()),
        ("models", str(len({text(record.get("exp.model")) for record in records}))),
        ("devices", distinct("exp.device_title")),
        ("software", ", ".join(list(versions)[:3])),
        ("first, last", _from_to(starts[0], starts[-1]) if starts else ""),
        ("time", duration(seconds) if seconds else ""),
    ]
    return [(name, value) for name, value in tiles if value]


def _from_to(first: str, last: str) -> str:
    """`2026-11-21 10:01 – 10:03`."""
    first, last = first[:16].replace("T", " "), last[:16].replace("T", " ")
    if first == last:
        return first
    return f"{first} – {last[11:] if first[:10] == last[:10] else last}"


def _notes(records: Sequence[Record]) -> list[str]:
    """What makes numbers doubtful, each once with how many experiments it concerns."""
    counts: Counter[str] = Counter()
    for record in records:
        warnings = record.get("results.warnings")
        if isinstance(warnings, list):
            counts.update({line.partition(":")[0][:80] for line in warnings if isinstance(line, str)})
    return [f"{count} experiment{'s' if count != 1 else ''}: {line}" for line, count in counts.most_common(10)]


def _rows(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> tuple[list[_Column], list[_Row]]:
    always = ["exp.model", "exp.phase", "exp.dtype", "exp.replica_batch"]
    names = [
        *always,
        *telling_names(records, declarations, given=always, without=["exp.effective_batch"])[:_MOST_COLUMNS],
    ]
    if any(number(record, "exp.repeat") not in (None, 1.0) for record in records):
        names.append("exp.repeat")
    figures = {
        "results.throughput": ("throughput", 1.0),
        "results.time": ("batch time, ms", 1.0),
        "results.time_p99": ("p99, ms", 1.0),
        "results.memory_host": ("host memory, MiB", _MIB),
        "results.memory_device_reserved": ("device memory, MiB", _MIB),
        "results.mfu": ("MFU, %", 0.01),
    }
    present = {
        key: value for key, value in figures.items() if any(number(record, key) is not None for record in records)
    }
    titles = {"exp.model": "model", "exp.phase": "phase", "exp.dtype": "type", "exp.replica_batch": "batch"}
    columns = [
        *(_Column(titles.get(name, name), all(number(r, name) is not None for r in records)) for name in names),
        _Column("status", False),
        *(_Column(title, True) for title, _ in present.values()),
        _Column("warnings", True),
        _Column("to repeat it", False),
    ]
    rows = []
    for record in records:
        status = status_of(record)
        warnings = record.get("results.warnings")
        doubts = len(warnings) if isinstance(warnings, list) else 0
        cells = [
            _Cell(text(record.get(name))[:120], number(record, name), column.is_number)
            for name, column in zip(names, columns, strict=False)
        ]
        cells.append(_Cell(status, is_bad=status in _BAD))
        for key, (_, scale) in present.items():
            value = number(record, key)
            shown = "–" if value is None else short_number(value / scale)
            cells.append(_Cell(shown, value, is_number=True))
        cells.append(_Cell(str(doubts), float(doubts), is_number=True, is_bad=doubts > 0))
        cells.append(_Cell(_command(record)))
        rows.append(_Row(status, cells))
    return columns, rows


def _plots(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[dict[str, str]]:
    fine = [record for record in records if status_of(record) == "ok" and number(record, "results.throughput")]
    wanted = []
    if len({number(record, "exp.replica_batch") for record in fine}) > 1:
        wanted.append(("throughput", "Throughput against batch size"))
    if len({text(record.get("exp.model")) for record in fine}) > 1:
        wanted.append(("bars", "Throughput by model"))
    for kind in ("weak", "strong"):
        fixed = "exp.replica_batch" if kind == "weak" else "exp.effective_batch"
        sets = groups(fine, ["exp.model", fixed]).values()
        if any(len({devices(record) for record in found}) > 1 for found in sets):
            wanted.append((kind, f"{kind.title()} scaling"))
    if any(number(record, "results.bytes_per_batch") for record in fine):
        wanted.append(("roofline", "Achieved operations over operations for each byte"))
    plots = []
    for kind, title in wanted:
        try:
            source = svg(draw(kind, records, declarations, Options()))
        except LogError:  # too many lines for one plot: the tables have them all
            continue
        # As an image, so that nothing in it can run or reach the page's own names.
        plots.append(
            {"title": title, "source": f"data:image/svg+xml;base64,{base64.b64encode(source.encode()).decode()}"}
        )
    return plots


def _failures(records: Sequence[Record], readable: frozenset[str]) -> list[dict[str, str]]:
    failures: list[dict[str, str]] = []
    for record in records:
        status = status_of(record)
        if status not in _BAD or len(failures) == _MOST_FAILURES:
            continue
        log = text(record.get("exp.log_file"))
        names = [name for name in ("exp.model", "exp.phase", "exp.dtype", "exp.replica_batch") if name in record]
        failures.append(
            {
                "status": status,
                "name": describe(record, names) or log,
                "message": text(record.get("exp.status_msg")),
                "command": _command(record),
                "tail": _tail_of(log)
                if log in readable
                else "The log was not read for this page: make it from the logs.",
            }
        )
    return failures


def _command(record: Record) -> str:
    log = text(record.get("exp.log_file"))
    return f"dlbs rerun {shlex.quote(log.removesuffix('.part'))}" if log else ""


def _tail_of(log: str) -> str:
    """The last lines of ordinary output in a log, at most 30."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"The log cannot be read: {error.strerror}"
    output = [line for line in lines if not line.startswith("__")]
    return "\n".join(output[-_TAIL_LINES:]) or "The experiment printed nothing."


def _machines(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Facts about each machine, as far as its experiments agree in them."""
    machines = []
    for found in groups(records, ["exp.env.host", "exp.device_title"]).values():
        facts: dict[str, str] = {}
        for name in sorted(set().union(*found)):
            if name.startswith(("exp.env.", "exp.sys.")) or name in {"exp.framework_version", "exp.device_title"}:
                values = {text(record[name]) for record in found if name in record}
                facts[name] = values.pop() if len(values) == 1 else f"{len(values)} different values"
        if facts:
            host, device = (text(found[0].get(name)) for name in ("exp.env.host", "exp.device_title"))
            name = ", ".join(filter(None, [host, device])) or "unknown"
            machines.append({"name": name, "count": len(found), "facts": list(facts.items())})
    return machines
