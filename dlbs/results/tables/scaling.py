"""Weak and strong scaling: throughput, batch time, speed-up and efficiency over the number of devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeGuard

from benchmark_core.text import short_number
from dlbs.config.declarations import Parameter
from dlbs.experiment import describe
from dlbs.results.columns import ABSENT, hashable
from dlbs.results.grouping import distinguishing_names
from dlbs.results.keys import quantity
from dlbs.results.runs import Record, Runs, number
from dlbs.results.tables.cells import cells_of, doubt_lines, formulas_of
from dlbs.results.tables.report import add_notes, group_title, pivot, with_statistic
from dlbs.results.tables.table import Cell, Table
from dlbs.text import finite, text

COUNTED = ("exp.num_gpus", "exp.num_replicas")
DEVICES = "devices"  # GPUs of an experiment; on CPUs, replicas
LAYOUT = "layout"  # of the devices, where several have the same number of them
_PER_REPLICA, _NODES, _GPUS = "GPUs per replica", "nodes", "GPUs"


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
    runs = Runs.of(records)
    runs = runs.derived(DEVICES, runs.each(COUNTED, devices))
    follows = [varying, "exp.gpus", "exp.gpu_ids", "exp.num_gpus", "exp.num_local_gpus", "exp.num_replicas"]
    follows += ["exp.num_local_replicas", "exp.num_nodes", "exp.node_id"]
    rows = ["exp.model", kept]
    split = distinguishing_names(runs, declarations, given=[*rows, DEVICES], without=follows)
    layouts = _layouts(runs, [*split, *rows], varying)
    again: dict[tuple[Any, ...], Runs] = {}
    if layouts:
        rows.append(LAYOUT)
        whole = runs.take([at for at, _ in layouts]).derived(LAYOUT, [layout for _, layout in layouts])
        runs, again = whole[: len(runs)], whole[len(runs) :].group(split)
    tables = []
    for key, group in runs.group(split).items():
        shared = group_title(group[0], split)
        throughput, time = (
            pivot(
                f"{quantity(name, group)}, {kind} scaling{shared}",
                runs.take([*group.rows, *again[key].rows]) if key in again else group,
                rows,
                [DEVICES],
                cells_of(name),
                sort_rows=True,
                formula=formulas_of(name) if explain else None,
            )
            for name in ("results.throughput", "results.time")
        )
        counts = sorted(group.distinct(DEVICES))
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


weak_scaling, strong_scaling = (partial(scaling_tables, kind=kind) for kind in ("weak", "strong"))


def _layouts(runs: Runs, names: Sequence[str], varying: str) -> list[tuple[int, Any]]:
    """Layouts of devices where experiments with the same number of devices, and equal in `names`, have several.

    Returns:
        The number of each run and its label, in order, then those of runs that belong to a second row; empty if there is one layout.
    """
    made: dict[int, str] = {}
    twice: list[tuple[int, str]] = []
    for group in runs.group(names).values():
        members = [
            _Place(at, *values)
            for at, *values in zip(group.rows, *map(group.values, (*_LAID_OUT, varying)), strict=True)
        ]
        shown: list[str] = []
        for place in members:
            gpus, replicas = finite(place.num_gpus), finite(place.num_replicas)
            if gpus and replicas:
                place.words[_PER_REPLICA] = f"{gpus / replicas:g}"
        if _is_mixed(members, shown, lambda place: place.words.get(_PER_REPLICA)):
            shown.append(_PER_REPLICA)
        again: list[_Place] = []
        if _is_mixed(members, shown, lambda place: place.num_nodes):
            for line in _lines(members, shown):
                again += _set_nodes(line)
            shown.append(_NODES)
        if _is_mixed([*members, *again], shown, lambda place: place.varying):
            for place in (*members, *again):
                if place.varying is not None:
                    place.words[varying] = text(place.varying)
            shown.append(varying)
        if _is_mixed([*members, *again], shown, lambda place: place.gpus):
            # Separated by exp.gpus, every number of devices would be in its own row: the first GPUs of each number are one row.
            for line in _lines([*members, *again], shown):
                _set_gpus(line)
            shown.append(_GPUS)
        if shown:
            made |= {place.at: describe(place.words, shown, whole=True) for place in members}
            twice += [(place.at, describe(place.words, shown, whole=True)) for place in again]
    return [*((at, made.get(at, ABSENT)) for at in range(len(runs))), *twice] if made else []


@dataclass(slots=True)
class _Place:
    """Where a run was: its number, the values of `_LAID_OUT` and of the batch that varies, and the words of its layout."""

    at: int
    devices: int
    num_gpus: Any
    num_replicas: Any
    num_nodes: Any
    gpus: Any
    varying: Any
    words: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        return int(finite(self.num_nodes) or 1)


_LAID_OUT = (DEVICES, "exp.num_gpus", "exp.num_replicas", "exp.num_nodes", "exp.gpus")


def _lines(places: Iterable[_Place], shown: Sequence[str]) -> Iterable[list[_Place]]:
    """Runs with the same words."""
    found: dict[tuple[Any, ...], list[_Place]] = {}
    for place in places:
        found.setdefault(tuple(map(place.words.get, shown)), []).append(place)
    return found.values()


def _is_mixed(places: Iterable[_Place], shown: Sequence[str], value_of: Callable[[_Place], Any]) -> bool:
    """Whether runs with the same number of devices and the same words differ in a value that they have."""
    values: dict[tuple[Any, ...], set[Any]] = {}
    for place in places:
        if (value := value_of(place)) not in (None, ""):
            values.setdefault((place.devices, *map(place.words.get, shown)), set()).add(hashable(value))
    return any(len(found) > 1 for found in values.values())


def _by_count(places: Iterable[_Place]) -> dict[int, list[_Place]]:
    found: dict[int, list[_Place]] = {}
    for place in sorted(places, key=lambda place: place.devices):
        found.setdefault(place.devices, []).append(place)
    return found


def _set_nodes(places: Sequence[_Place]) -> list[_Place]:
    """Label the nodes of runs: together the fewest for each number of devices, as nodes are filled, separately all others.

    Returns:
        Runs with the fewest nodes once more, for the rows of the others, which then have all runs with their number of nodes.
    """
    fewest = {count: min(place.nodes for place in members) for count, members in _by_count(places).items()}
    usual = " / ".join(dict.fromkeys(map(str, fewest.values())))
    others = {place.nodes for place in places if place.nodes > fewest[place.devices]}
    again = []
    for place in places:
        is_usual = place.nodes == fewest[place.devices]
        place.words[_NODES] = usual if is_usual else str(place.nodes)
        if is_usual and place.nodes in others:
            again.append(replace(place, words={**place.words, _NODES: str(place.nodes)}))
    return again


def _set_gpus(places: Sequence[_Place]) -> None:
    """Label the GPUs of runs: together the first ones of each number of devices, separately all others."""
    by_count = _by_count(places)
    usual = " / ".join(dict.fromkeys(text(members[0].gpus) for members in by_count.values()))
    for members in by_count.values():
        for place in members:
            place.words[_GPUS] = usual if place.gpus == members[0].gpus else text(place.gpus)


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
    for name in COUNTED:
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
