"""Weak and strong scaling: throughput, batch time, speed-up and efficiency over the number of devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from benchmark_core.text import short_number
from dlbs.config.declarations import Parameter
from dlbs.experiment import describe
from dlbs.results.grouping import distinguishing_names, groups, hashable
from dlbs.results.keys import quantity
from dlbs.results.runs import Record, number
from dlbs.results.tables.cells import cells_of, doubt_lines, formulas_of
from dlbs.results.tables.report import add_notes, group_title, pivot, with_statistic
from dlbs.results.tables.table import Cell, Table
from dlbs.text import text

DEVICES = "devices"  # GPUs of an experiment; on CPUs, replicas
LAYOUT = "layout"  # of the devices, where several have the same number of them
_PER_REPLICA, _NODES, _GPUS = "GPUs per replica", "nodes", "GPUs"


def weak_scaling(
    records: Iterable[Record], declarations: Mapping[str, Parameter], *, explain: bool = False
) -> list[Table]:
    """`scaling_tables` with the replica batch fixed."""
    return scaling_tables(records, declarations, "weak", explain=explain)


def strong_scaling(
    records: Iterable[Record], declarations: Mapping[str, Parameter], *, explain: bool = False
) -> list[Table]:
    """`scaling_tables` with the effective batch fixed."""
    return scaling_tables(records, declarations, "strong", explain=explain)


def scaling_tables(
    records: Iterable[Record], declarations: Mapping[str, Parameter], kind: str, *, explain: bool = False
) -> list[Table]:
    """Make tables of throughput, batch time, speed-up and efficiency over the number of devices.

    Weak scaling fixes the replica batch, strong scaling the effective batch. The speed-up is the throughput divided by that of the smallest
    device count in the row, times this count; the efficiency is the speed-up divided by the number of devices, in rows with several numbers.
    Layouts with the same number of devices, such as one node with two GPUs and two nodes with one each, are separate rows: the first row has
    the fewest nodes for each number of devices, and every other row has one number of nodes.

    Args:
        records: Experiments, including failed ones.
        declarations: Declared parameters, with those that identify an experiment.
        kind: `weak` or `strong`.
        explain: Add the formulas with their numbers.
    """
    kept, varying = ("exp.replica_batch", "exp.effective_batch")[:: 1 if kind == "weak" else -1]
    marked: list[dict[str, Any]] = [{**record, DEVICES: devices(record)} for record in records]
    follows = [varying, "exp.gpus", "exp.gpu_ids", "exp.num_gpus", "exp.num_local_gpus", "exp.num_replicas"]
    follows += ["exp.num_local_replicas", "exp.num_nodes", "exp.node_id"]
    rows = ["exp.model", kept]
    split = distinguishing_names(marked, declarations, given=[*rows, DEVICES], without=follows)
    again = groups(_set_layouts(marked, [*split, *rows], varying), split)
    if any(LAYOUT in record for record in marked):
        rows.append(LAYOUT)
    tables = []
    for key, group in groups(marked, split).items():
        shared = group_title(group[0], split)
        throughput, time = (
            pivot(
                f"{quantity(name, group)}, {kind} scaling{shared}",
                [*group, *again.get(key, ())],
                rows,
                [DEVICES],
                cells_of(name),
                sort_rows=True,
                formula=formulas_of(name) if explain else None,
            )
            for name in ("results.throughput", "results.time")
        )
        counts = sorted({record[DEVICES] for record in group})
        speedup, efficiency = _speedup(throughput, counts, kind, shared)
        made = [throughput, time, speedup, efficiency]
        for table in (throughput, time):
            table.title = with_statistic(table.title, "median", table)
        add_notes(throughput, group, [*rows, DEVICES, *follows], ["results.throughput"])
        for table in (time, speedup, efficiency):
            table.add_legend()
            table.legend += doubt_lines(group, ["results.throughput"])
        if len(counts) == 1:
            speedup.legend.append(nothing_to_scale(counts))
        if not explain:
            for table in made:
                table.formulas.clear()
        tables += made
    return tables


def _set_layouts(records: Sequence[dict[str, Any]], names: Sequence[str], varying: str) -> list[dict[str, Any]]:
    """Label the layouts of devices where experiments with the same number of devices, and equal in `names`, have several.

    Returns:
        Copies of those experiments that belong to two rows, with the label of the second one.
    """
    copies: list[dict[str, Any]] = []
    for members in groups(records, names).values():
        for record in members:
            gpus, replicas = number(record, "exp.num_gpus"), number(record, "exp.num_replicas")
            if gpus and replicas:
                record[_PER_REPLICA] = f"{gpus / replicas:g}"
        shown: list[str] = []
        if _is_mixed(members, shown, _PER_REPLICA):
            shown.append(_PER_REPLICA)
        again: list[dict[str, Any]] = []
        if _is_mixed(members, shown, "exp.num_nodes"):
            for line in groups(members, shown).values():
                again += _set_nodes(line)
            shown.append(_NODES)
        members = [*members, *again]
        if _is_mixed(members, shown, varying):
            shown.append(varying)
        if _is_mixed(members, shown, "exp.gpus"):
            # Separated by exp.gpus, every number of devices would be in its own row: the first GPUs of each number are one row.
            for line in groups(members, shown).values():
                _set_gpus(line)
            shown.append(_GPUS)
        if shown:
            for record in members:
                record[LAYOUT] = describe(record, shown, whole=True)
        copies += again
    return copies


def _is_mixed(records: Sequence[Record], names: Sequence[str], name: str) -> bool:
    """Whether experiments with the same number of devices, and equal in `names`, differ in a parameter that they have."""
    return any(
        len({hashable(record[name]) for record in members if record.get(name) not in (None, "")}) > 1
        for members in groups(records, [DEVICES, *names]).values()
    )


def _set_nodes(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Label the nodes of experiments: together the fewest for each number of devices, as nodes are filled, separately all others.

    Returns:
        Copies of experiments with the fewest nodes, for the rows of the others, which then have all experiments with their number of nodes.
    """
    by_count = groups(sorted(records, key=lambda record: record[DEVICES]), [DEVICES]).values()
    fewest = {members[0][DEVICES]: min(map(_nodes, members)) for members in by_count}
    usual = " / ".join(dict.fromkeys(map(str, fewest.values())))
    others = {_nodes(record) for record in records if _nodes(record) > fewest[record[DEVICES]]}
    again = []
    for record in records:
        nodes = _nodes(record)
        is_usual = nodes == fewest[record[DEVICES]]
        record[_NODES] = usual if is_usual else str(nodes)
        if is_usual and nodes in others:
            again.append({**record, _NODES: str(nodes)})
    return again


def _nodes(record: Record) -> int:
    return int(number(record, "exp.num_nodes") or 1)


def _set_gpus(records: Sequence[dict[str, Any]]) -> None:
    """Label the GPUs of experiments: together the first ones of each number of devices, separately all others."""
    by_count = groups(sorted(records, key=lambda record: record[DEVICES]), [DEVICES]).values()
    usual = " / ".join(dict.fromkeys(text(members[0].get("exp.gpus")) for members in by_count))
    for members in by_count:
        first = members[0].get("exp.gpus")
        for record in members:
            record[_GPUS] = usual if record.get("exp.gpus") == first else text(record.get("exp.gpus"))


def _speedup(throughput: Table, counts: Sequence[int], kind: str, shared: str) -> tuple[Table, Table]:
    speedup = Table(f"Speed-up, {kind} scaling{shared}", throughput.names, throughput.rows, throughput.columns, [])
    efficiency = Table(
        f"Efficiency, %, {kind} scaling{shared}", throughput.names, throughput.rows, throughput.columns, []
    )
    bases = set()
    for labels, cells in zip(throughput.rows, throughput.cells, strict=True):
        base = next(
            (
                (count, cell.value, cell.doubtful)
                for count, cell in zip(counts, cells, strict=True)
                if _is_number(cell.value)
            ),
            None,
        )
        measured = sum(_is_number(cell.value) for cell in cells)
        ups, shares = [], []
        for count, cell in zip(counts, cells, strict=True):
            if not _is_number(cell.value) or base is None:
                ups.append(cell)
                shares.append(cell)
                continue
            up = cell.value / base[1] * base[0]
            bases.add(base[0])
            doubtful = cell.doubtful + (base[2] if count != base[0] else 0)
            made = Cell(up, runs=cell.runs, lost=cell.lost, doubtful=doubtful, tone="doubt" if doubtful else "")
            ups.append(made)
            # The efficiency of the only device count of a row would be 100 %, whatever its throughput.
            shares.append(replace(made, value=100 * up / count) if measured > 1 else Cell(None, status="no-base"))
            ratio = f"{short_number(cell.value)} / {short_number(base[1])}"
            name = ", ".join(filter(None, labels))
            speedup.formulas.append(f"{name}, {_devices(count)}: speed-up = {ratio} × {base[0]} = {short_number(up)}")
            if measured > 1:
                share = short_number(100 * up / count)
                efficiency.formulas.append(
                    f"{name}, {_devices(count)}: efficiency = {short_number(up)} / {count} = {share} %"
                )
        speedup.cells.append(ups)
        efficiency.cells.append(shares)
    for base_count in sorted(bases - {1}):
        speedup.legend.append(
            f"where the smallest device count is {base_count}, its speed-up is {base_count} by definition"
        )
    return speedup, efficiency


def devices(record: Record) -> int:
    """Number of GPUs of an experiment; on CPUs, its replicas."""
    for name in ("exp.num_gpus", "exp.num_replicas"):
        count = number(record, name)
        if count:
            return int(count)
    return 1


def nothing_to_scale(counts: Sequence[int]) -> str:
    """Message for experiments that all used the same number of devices, the only one of `counts`."""
    return f"all experiments used {_devices(counts[0])}: nothing to scale"


def _devices(count: int) -> str:
    return f"{count} device{'s' if count != 1 else ''}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, float) and value > 0
