"""Tables of `dlbs report`: pivots of a quantity over two sets of parameters, the default tables, and kinds by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark_core.text import short_number
from dlbs.core.errors import LogError, Registry, registered
from dlbs.core.text import counted, text
from dlbs.results.changes import mixed_lines
from dlbs.results.grouping import common_label, distinguishing_names, label_of, ordered_keys, title_name
from dlbs.results.keys import check_known, header, quantity
from dlbs.results.runs import RATE, Record, Runs, none_ended_well, served_values, usual_metric
from dlbs.results.tables.cells import (
    cell_of,
    doubt_lines,
    formula_of,
    interval_lines,
    reason_lines,
    statistic,
    unit_lines,
)
from dlbs.results.tables.scores import score_table
from dlbs.results.tables.scores import scores as scores_of
from dlbs.results.tables.table import Cell, Table

if TYPE_CHECKING:
    from dlbs.results.statistics.compare import Match


def custom_tables(
    runs: Runs,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[str],
    *,
    aggregate: str = "median",
    without: Sequence[str] = (),
    explain: bool = False,
) -> list[Table]:
    """Make tables of quantities over the values of parameters.

    Args:
        runs: Experiments, including failed ones.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        values: Keys of the quantities; each makes a table for each group of experiments that differ otherwise.
        aggregate: Aggregate of several values in a cell; a key of `AGGREGATES`.
        without: Parameters whose values are aggregated over instead of making separate tables.
        explain: Add the formula of each cell.
    """
    shown = [*rows, *columns]
    split = distinguishing_names(runs, given=shown, without=without)
    tables = []
    for group in runs.group(split).values():
        for at, key in enumerate(values):
            title = f"{quantity(key, group)}{group_title(group[0], split)}"
            table = pivot(title, group, rows, columns, key, aggregate=aggregate, explain=explain)
            table.title = with_statistic(title, aggregate, table)
            # The reasons of failures are below the first table of a group.
            add_notes(table, group, shown, [key], reasons=at == 0)
            tables.append(table)
    return tables


def with_statistic(title: str, aggregate: str, table: Table) -> str:
    """Append the statistic of the table's numbers to a title."""
    words = statistic(aggregate, [cell for row in table.cells for cell in row])
    return f"{title}; {words}" if words else title


def add_notes(table: Table, runs: Runs, shown: Sequence[str], keys: Sequence[str], *, reasons: bool = True) -> None:
    """Add notes to a table that explain its cells and list the common parameters of its experiments.

    Args:
        table: The table.
        runs: Its experiments.
        shown: Parameters that label its rows and columns.
        keys: Quantities in its cells.
        reasons: Add the reasons of unsuccessful experiments.
    """
    cells = [cell for row in table.cells for cell in row]
    table.legend += interval_lines(cells, keys)
    table.add_legend()
    table.legend += doubt_lines(runs, keys)
    if "results.throughput" in keys:
        table.legend += unit_lines(runs, shown)
    table.legend += mixed_lines(runs, shown)
    if reasons:
        table.legend += reason_lines(runs, shown)
    if common := common_label(runs, without=shown):
        table.legend.append(f"all runs: {common}")


def group_title(record: Record, split: Sequence[str]) -> str:
    """Parameters that distinguish a group of experiments, for the title of its table: ` (inference, float16)`."""
    return f" ({label_of(record, split)})" if split else ""


def pivot(
    title: str,
    runs: Runs,
    rows: Sequence[str],
    columns: Sequence[str],
    key: str,
    *,
    aggregate: str = "median",
    sort_rows: bool = False,
    explain: bool = False,
) -> Table:
    """Make one table. Rows and columns are in the order of the records, which is the plan's; numbers in columns are sorted.

    Args:
        title: Its title.
        runs: The experiments.
        rows: Parameters whose values label the rows.
        columns: Parameters whose values label the columns.
        key: The quantity.
        aggregate: Aggregate of several values in a cell.
        sort_rows: Sort numbers in the labels of rows too.
        explain: Add the formula of each cell.
    """
    by_row, by_column = runs.group(rows), runs.group(columns)
    row_order = ordered_keys(by_row, rows) if sort_rows else list(by_row)
    column_order = ordered_keys(by_column, columns)
    both, nothing = runs.group([*rows, *columns]), runs.take([])
    table = Table(
        title,
        [header(name) for name in rows],
        [[shown_value(by_row[row][0], name) for name in rows] for row in row_order],
        [
            ", ".join(f"{header(name)} {shown_value(by_column[column][0], name) or '-'}" for name in columns) or "value"
            for column in column_order
        ],
        [],
        is_divisible=True,
    )
    members = [[(key, both.get((*row, *column), nothing)) for column in column_order] for row in row_order]
    return _filled(table, members, aggregate, explain=explain, named=bool(columns))


def _filled(
    table: Table, members: Sequence[Sequence[tuple[str, Runs]]], aggregate: str, *, explain: bool, named: bool = True
) -> Table:
    """Add the cells of quantities of runs, and their formulas, with the names of columns or without."""
    table.cells += [[cell_of(key, runs, aggregate) for key, runs in row] for row in members]
    for labels, row in zip(table.rows, members, strict=True) if explain else ():
        for column, (key, runs) in zip(table.columns, row, strict=True):
            if words := formula_of(key, runs, aggregate):
                table.formulas.append(f"{', '.join([*labels, column] if named else labels)}: {words}")
    return table


def shown_value(record: Record, name: str) -> str:
    """Label of a value; empty if the experiment lacks the parameter."""
    return (text(record[name]) or "none") if record.get(name) is not None else ""


_BATCH = "exp.replica_batch"
_COMPUTED = ("exp.effective_batch",)  # follows from the replica batch and the devices


def default_tables(runs: Runs, *, explain: bool = False) -> list[Table]:
    """Make tables of varied parameters against batch sizes, one for each quantity, or one of all quantities if batch sizes do not vary.

    Runs that differ only in `exp.repeat` are one cell: the median. All other differences are rows or columns, so that a cell never mixes
    experiments.

    Args:
        runs: Experiments, including failed ones.
        explain: Add the formula of each cell.
    """
    rows, columns = usual_axes(runs)
    values = usual_values(runs)
    if columns or len(values) == 1:
        tables = custom_tables(runs, rows, columns, values, without=_COMPUTED, explain=explain)
        if failed := none_ended_well(runs):
            for table in tables:
                table.title = failed.capitalize() + table.title.removeprefix(quantity(values[0], runs))
        return tables
    table = Table(
        "Results", [header(name) for name in rows], [], [quantity(key, runs) for key in values], [], is_divisible=True
    )
    found = runs.group(rows).values()
    table.rows += [[shown_value(group[0], name) for name in rows] for group in found]
    _filled(table, [[(key, group) for key in values] for group in found], "median", explain=explain)
    table.title = with_statistic("Results", "median", table)
    add_notes(table, runs, rows, values)
    return [table]


def usual_values(runs: Runs) -> list[str]:
    """Default quantities: those that programs log, with accuracy first after trainings that measure it; for inference under load, its own ones."""
    keys = ("results.accuracy_top1", "results.throughput", "results.time")
    timed = runs.where([rate is None for rate in runs.numbers(RATE)])
    return [*filter(timed.having, keys), *served_values(runs)] or ["results.throughput"]


def usual_axes(runs: Runs, *, cols: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Default parameters for the labels of rows and columns.

    Varied parameters are rows. Batch sizes are columns if some row has several of them; otherwise, columns would be nearly empty. If nothing
    varies, the row is the model, or the command or framework of a program without one.

    Args:
        runs: Experiments, including failed ones.
        cols: Chosen parameters for the columns, if any; all other varied parameters are rows then, which results in one table.
    """
    rows = distinguishing_names(runs, given=cols, without=_COMPUTED)
    if cols:
        return rows or list(filter(None, [title_name(runs)])), list(cols)
    others = [name for name in rows if name != _BATCH]
    columns = []
    if len(runs.group([*others, _BATCH])) > len(runs.group(others)):
        rows, columns = others, [_BATCH]
    usual = title_name(runs)
    return rows or ([usual] if usual else []), columns


_UNSURE = ("too few runs", "doubtful")
_MOST_EQUAL = 3  # settings of one verdict that are named; of more, two are named, and the others counted


def _best_table(runs: Runs, per: Sequence[str], metric: str) -> Table:
    """The best setting of each benchmark, and those that are not significantly worse."""
    from dlbs.results.statistics.compare import best_of, that_count
    from dlbs.results.statistics.ratio import FEWEST_RUNS, REGRESSIONS, verdict_of
    from dlbs.results.tables.comparison import ratio_cell

    names = distinguishing_names(runs, given=per, without=_COMPUTED)
    title = quantity(metric, runs)
    table = Table(
        f"Best settings: {title}", [*map(header, per), "setting"], [], [title, "runs", "ratio", "verdict"], []
    )
    groups, seen, beaten, lost = runs.group(per), set[str](), 0, 0

    def add(label: str, members: Runs, ratio: Cell, verdict: Cell) -> None:
        cell = cell_of(metric, members)
        table.rows.append([*labels, label])
        table.cells.append([cell, Cell(cell.runs), ratio, verdict])

    for key in ordered_keys(groups, per):
        found = best_of(groups[key], names, metric)
        labels = [shown_value(groups[key][0], name) for name in per]
        if found is None:
            statuses = ", ".join(sorted(set(groups[key].statuses)))
            table.rows.append([*labels, "-"])
            table.cells.append([Cell(None, "no-result"), Cell(len(groups[key])), Cell("-"), Cell(f"no value ({statuses})")])  # fmt: skip
            continue
        best = f"best of {found.settings}" if found.settings > 1 else "the only one"
        add(found.label, found.runs, Cell("-"), Cell(best, tone="good"))
        ties: dict[str, list[Match]] = {}
        for match in found.others:
            interval = match.estimate.interval if match.estimate else None
            worse = interval is not None and verdict_of(metric, interval, 0.0) in REGRESSIONS
            compared = "doubtful" if worse else "not worse" if interval else "no interval"
            ties.setdefault("too few runs" if min(match.used) < FEWEST_RUNS else compared, []).append(match)
        for words, matches in ties.items():
            verdict = Cell(words, tone="doubt" if words in _UNSURE else "")
            named = len(matches) if len(matches) <= _MOST_EQUAL else _MOST_EQUAL - 1
            for match in matches[:named]:
                add(match.label, that_count(match.b, metric), ratio_cell(match.estimate), verdict)
            if rest := matches[named:]:
                values = sorted(match.values[1] or 0.0 for match in rest)
                table.rows.append([*labels, f"{len(rest)} others"])
                table.cells.append(
                    [Cell(f"{short_number(values[0])} to {short_number(values[-1])}"), Cell(""), Cell(""), verdict]
                )
        seen |= ties.keys()
        beaten += found.settings - 1 - len(found.others)
        lost += found.lost
    words = statistic("median", [row[0] for row in table.cells])
    table.title += f"; {words}" if words else ""
    table.legend += ["ratio: to the best, with its interval at 95 % for all settings of a benchmark together"]
    few = f"too few runs: fewer than {FEWEST_RUNS} without warnings, so not compared (-Pexp.repeats={FEWEST_RUNS})"
    table.legend += ["not worse: not significantly"] if "not worse" in seen else []
    table.legend += ["doubtful: worse in runs with warnings, which are no evidence"] if "doubtful" in seen else []
    table.legend += [few] if "too few runs" in seen else []
    table.legend += [f"not shown: {counted(beaten, 'setting')} worse than the best"] if beaten else []
    table.legend += [f"no result: {counted(lost, 'setting')} (dlbs status shows why)"] if lost else []
    table.legend += [*interval_lines([row[0] for row in table.cells], [metric]), *doubt_lines(runs, [metric])]
    return table


KINDS: Registry = {
    "regular": ("dlbs.results.tables.report:default_tables", "varied parameters against replica batch"),
    "weak": ("dlbs.results.tables.scaling:weak_scaling", "scaling over devices with the replica batch fixed"),
    "strong": ("dlbs.results.tables.scaling:strong_scaling", "scaling over devices with the effective batch fixed"),
}


def chosen_tables(
    runs: Runs,
    *,
    kind: str,
    rows: list[str],
    cols: list[str],
    values: list[str],
    aggregate: str,
    over: list[str],
    scores: bool,
    best: bool,
    per: list[str],
    explain: bool,
) -> list[Table]:
    """The tables of `dlbs report` for its options.

    Raises:
        LogError: No experiment has a named key, or the kind has fixed tables.
    """
    named = {"--rows": rows, "--cols": cols, "--values": values, "--over": over}
    for flag, names in {**named, "--per": per}.items():
        check_known(names, runs.names, flag)
    if scores:
        return [score_table(scores_of(runs), explain=explain)]
    if best:
        per = per or [title_name(runs) or "exp.model"]
        return [_best_table(runs, per, metric) for metric in values or [usual_metric(runs)]]
    if flags := [*(flag for flag, names in named.items() if names), *["--aggregate"] * (aggregate != "median")]:
        if kind != "regular":
            hint = f"remove {' and '.join(flags)}, or --type {kind}"
            raise LogError("prints fixed tables", where=f"--type {kind}", hint=hint)
        usual_rows, usual_cols = usual_axes(runs, cols=cols)
        return custom_tables(
            runs,
            rows or [name for name in usual_rows if name not in (*cols, *over)],
            cols or [name for name in usual_cols if name not in (*rows, *over)],
            values or usual_values(runs),
            aggregate=aggregate,
            without=["exp.effective_batch", *over],
            explain=explain,
        )
    made: list[Table] = registered(KINDS, kind, "kind of table")(runs, explain=explain)
    return made
