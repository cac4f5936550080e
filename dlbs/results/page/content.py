"""The content of the page: everything that its template shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.logs import STATUSES
from dlbs.results.page.experiments import experiment_table, label_names
from dlbs.results.page.failures import failures_of
from dlbs.results.page.figures import figures_of
from dlbs.results.page.machines import machines_of
from dlbs.results.page.tiles import tiles_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of
from dlbs.results.tables.regular import regular_tables
from dlbs.results.tables.scaling import devices, scaling_tables
from dlbs.results.tables.table import Table
from dlbs.text import counted

__all__ = ["page_content"]


def page_content(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    logs: Collection[str],
    live: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The variables of the template.

    Args:
        records: The experiments.
        declarations: Say which parameters identify an experiment.
        logs: Logs whose ends may be shown.
        live: What the live view adds.
    """
    tables = _tables(records, declarations)
    columns, rows = experiment_table(records, declarations)
    counts = Counter(map(status_of, records))
    return {
        "running": None,
        "problems": [],
        "planned": 0,
        "done": 0,
        "owner": None,
        **(live or {}),
        "tiles": tiles_of(records, counts),
        "notes": _notes(records),
        "columns": columns,
        "rows": rows,
        "statuses": [status for status in (*STATUSES, "unfinished") if counts[status]],
        "repeat": "dlbs rerun repeats an experiment and replaces its log; bash LOG.sh runs its launcher alone and prints the log.",
        "tables": tables,
        "plots": figures_of(records, declarations),
        "failures": failures_of(records, frozenset(logs), label_names(records, declarations)),
        "machines": machines_of(records),
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


def _notes(records: Sequence[Record]) -> list[str]:
    """What makes numbers doubtful, each once with how many experiments it concerns."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(doubts_of(record))
    return [f"{counted(count, 'experiment')}: {line}" for line, count in counts.most_common(10)]
