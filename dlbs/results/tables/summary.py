"""Table of the distinct values of each parameter, with their number of experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import groups, identity_names, in_order, ordered_keys, varying
from dlbs.results.read.onelog import Record
from dlbs.results.tables.pivot import shown_value
from dlbs.results.tables.table import Cell, Table
from dlbs.text import counted, text

__all__ = ["summary_table"]

_MOST_VALUES = 20


def summary_table(records: Sequence[Record], declarations: Mapping[str, Parameter], names: Sequence[str] = ()) -> Table:
    """Make a table of parameters with their distinct values: varied parameters first, in the plan's order.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
        names: Parameters or results, shown with all values; if empty, all parameters that identify an experiment, with at most 20 values each.
    """
    chosen = list(names)
    if not names:
        known = [
            name
            for name in identity_names(records, declarations)
            if any(text(record.get(name)) not in ("", "[]", "{}") for record in records)
        ]
        differing = varying(records, known)
        chosen = [*differing, *(name for name in in_order(records, known) if name not in differing)]
    cells = []
    for name in chosen:
        found = groups(records, [name])
        keys = [key for key in ordered_keys(found, [name]) if key != (None,)]
        words = [f"{shown_value(found[key][0], name)} ({len(found[key])})" for key in keys]
        if not names and len(words) > _MOST_VALUES:
            words[_MOST_VALUES:] = [f"and {len(words) - _MOST_VALUES} more"]
        cells.append([Cell(len(keys)), Cell(", ".join(words) or "-")])
    table = Table(
        f"Parameters of {counted(len(records), 'experiment')}",
        ["parameter"],
        [[name] for name in chosen],
        ["distinct", "values (experiments)"],
        cells,
    )
    return table
