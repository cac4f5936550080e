"""Template variables of the page of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.results.page.changes import Changes
from dlbs.results.page.experiments import experiment_data, label_names
from dlbs.results.page.failures import BAD, failures_of
from dlbs.results.page.figures import figures_of
from dlbs.results.page.machines import machines_of
from dlbs.results.page.tiles import tiles_of
from dlbs.results.page.where import where_measured
from dlbs.results.plots.applicable import applicable_kinds
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import status_of
from dlbs.results.tables.default import default_tables
from dlbs.results.tables.scaling import devices, scaling_tables
from dlbs.results.tables.table import Table
from dlbs.text import counted

__all__ = ["Chosen", "page_content"]

_MOST_TABLES, _MOST_ROWS = 12, 500  # limits of a page; `dlbs report` prints everything
_MOST_NOTES = 10


@dataclass(frozen=True, slots=True)
class Chosen:
    """Options of the page.

    Attributes:
        title: Its title; None for the default one.
        kinds: Kinds of plots to show; None for all that are applicable to the results.
        changes: Comparison with earlier results, for the summary.
        beside: Directory of the page, for relative links to logs; None for a page without links to files.
    """

    title: str | None = None
    kinds: Sequence[str] | None = None
    changes: Changes | None = None
    beside: str | None = None


def page_content(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    logs: Collection[str],
    live: Mapping[str, Any] | None,
    chosen: Chosen,
    *,
    later: bool = False,
) -> dict[str, Any]:
    """Compute the variables of the template.

    Args:
        records: The experiments.
        declarations: Declared parameters, with those that identify an experiment.
        logs: Logs that may be quoted and linked.
        live: Additional variables of the live view.
        chosen: Options of the page.
        later: Count the plots instead of drawing them.
    """
    readable = frozenset(logs)
    made = _tables(records, declarations)
    labels = label_names(records, declarations)
    failures = failures_of(records, readable, labels)
    return {
        "running": None,
        "problems": [],
        "planned": 0,
        "done": 0,
        "owner": None,
        **(live or {}),
        "count": len(records),
        "tiles": tiles_of(records),
        "where": where_measured(records),
        "notes": _notes(records),
        "changes": chosen.changes,
        "repeat": "dlbs rerun LOG repeats an experiment and replaces its log; bash LOG.sh only runs its launcher and prints the log.",
        "tables": made[:_MOST_TABLES],
        "more_tables": max(0, len(made) - _MOST_TABLES),
        "most_rows": _MOST_ROWS,
        "plots": figures_of(records, declarations, chosen.kinds) if records and not later else [],
        "plots_later": len(applicable_kinds(records, declarations)) if later else 0,
        "failures": failures,
        "failed": sum(status_of(record) in BAD for record in records),
        "other_reasons": sum(status_of(record) in BAD for record in records)
        - sum(failure["count"] for failure in failures),
        "machines": machines_of(records),
        "data": experiment_data(records, declarations, labels, logs=readable, beside=chosen.beside),
    }


def _tables(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[Table]:
    if not records:
        return []
    tables = default_tables(records, declarations)
    if len({devices(record) for record in records}) > 1:
        for kind in ("weak", "strong"):
            made = scaling_tables(records, declarations, kind)
            tables += [
                table for table in made if table.title.startswith(("Speed-up", "Efficiency")) and _is_full(table)
            ]
    return tables


def _is_full(table: Table) -> bool:
    """Whether some row has two numbers, as needed for scaling."""
    return any(sum(isinstance(cell.value, float) for cell in row) > 1 for row in table.cells)


def _notes(records: Sequence[Record]) -> list[str]:
    """Warnings about numbers, each once with its number of experiments."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(doubts_of(record))
    return [f"{counted(count, 'experiment')}: {line}" for line, count in counts.most_common(_MOST_NOTES)]
