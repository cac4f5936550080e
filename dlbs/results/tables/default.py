"""Default tables of `dlbs report`: varied parameters in rows, batch sizes or quantities in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import distinguishing_names, groups, hashable, title_name
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number
from dlbs.results.statistics.samples import none_ended_well
from dlbs.results.tables.cells import cells_of, formulas_of, quantity
from dlbs.results.tables.pivot import add_notes, custom_tables, header, shown_value, with_statistic
from dlbs.results.tables.table import Table
from dlbs.results.underload import is_served, served_values

__all__ = ["default_tables", "usual_axes", "usual_values"]

_BATCH = "exp.replica_batch"
_COMPUTED = ("exp.effective_batch",)  # follows from the replica batch and the devices


def default_tables(
    records: Iterable[Record], declarations: Mapping[str, Parameter], *, explain: bool = False
) -> list[Table]:
    """Make tables of varied parameters against batch sizes, one for each quantity, or one of all quantities if batch sizes do not vary.

    Runs that differ only in `exp.repeat` are one cell: the median. All other differences are rows or columns, so that a cell never mixes
    experiments.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
        explain: Add the formula of each cell.
    """
    records = list(records)
    rows, columns = usual_axes(records, declarations)
    values = usual_values(records)
    if columns or len(values) == 1:
        tables = custom_tables(records, declarations, rows, columns, values, without=_COMPUTED, explain=explain)
        if failed := none_ended_well(records):
            for table in tables:
                table.title = failed.capitalize() + table.title.removeprefix(quantity(values[0], records))
        return tables
    return [_of_quantities(records, rows, values, explain)]


def usual_values(records: Sequence[Record]) -> list[str]:
    """Default quantities: those that programs log, with accuracy first after trainings that measure it; for inference under load, its own ones."""
    keys = ("results.accuracy_top1", "results.throughput", "results.time")
    timed = [record for record in records if not is_served(record)]
    found = [key for key in keys if any(number(one, key) is not None for one in timed)]
    return [*found, *served_values(records)] or ["results.throughput"]


def usual_axes(
    records: Sequence[Record], declarations: Mapping[str, Parameter], *, cols: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Default parameters for the labels of rows and columns.

    Varied parameters are rows. Batch sizes are columns if some row has several of them; otherwise, columns would be nearly empty. If nothing
    varies, the row is the model, or the command or framework of a program without one.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
        cols: Chosen parameters for the columns, if any; all other varied parameters are rows then, which results in one table.
    """
    rows = distinguishing_names(records, declarations, given=cols, without=_COMPUTED)
    if cols:
        return rows or list(filter(None, [title_name(records)])), list(cols)
    others = [name for name in rows if name != _BATCH]
    columns = []
    if any(len({hashable(one.get(_BATCH)) for one in group}) > 1 for group in groups(records, others).values()):
        rows, columns = others, [_BATCH]
    usual = title_name(records)
    return rows or ([usual] if usual else []), columns


def _of_quantities(records: Sequence[Record], rows: Sequence[str], values: Sequence[str], explain: bool) -> Table:
    """Make a table with a column for each quantity."""
    found = groups(records, rows)
    table = Table(
        "Results",
        [header(name) for name in rows],
        [[shown_value(group[0], name) for name in rows] for group in found.values()],
        [quantity(key, records) for key in values],
        [[cells_of(key)(group) for key in values] for group in found.values()],
        is_divisible=True,
    )
    table.title = with_statistic("Results", "median", table)
    add_notes(table, records, rows, values)
    if explain:
        for group, labels in zip(found.values(), table.rows, strict=True):
            for key, column in zip(values, table.columns, strict=True):
                if words := formulas_of(key)(group):
                    table.formulas.append(f"{', '.join([*labels, column])}: {words}")
    return table
