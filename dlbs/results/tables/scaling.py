"""Weak and strong scaling: throughput, batch time, speed-up and efficiency over the number of devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from benchmark_core.text import short_number
from dlbs.core.experiment import describe
from dlbs.core.text import finite, text
from dlbs.results.columns import ABSENT, hashable
from dlbs.results.grouping import distinguishing_names, label_of
from dlbs.results.keys import quantity
from dlbs.results.runs import THROUGHPUT, TIME, Record, Runs, number
from dlbs.results.tables.cells import doubt_lines
from dlbs.results.tables.report import add_notes, pivot, with_statistic
from dlbs.results.tables.table import Cell, Table

COUNTED = ("exp.num_gpus", "exp.num_replicas")
DEVICES = "devices"  # GPUs of an experiment; on CPUs, replicas
LAYOUT = "layout"  # of the devices, where several have the same number of them
_PER_REPLICA, _NODES, _GPUS = "GPUs per replica", "nodes", "GPUs"


class Scaling(NamedTuple):
    """Experiments that differ in their devices, with their throughput over the number of devices.

    Attributes:
        runs: The experiments.
        members: The same, and again those that belong to a second row.
        label: The parameters that distinguish them from the experiments of others; may be empty.
        rows: Parameters that label the rows of the table.
        follows: Parameters that follow from the devices.
        counts: The numbers of devices, the columns of the table.
        throughput: The table.
    """

    runs: Runs
    members: Runs
    label: str
    rows: list[str]
    follows: list[str]
    counts: list[int]
    throughput: Table


class Speedup(NamedTuple):
    """A throughput relative to that of the smallest number of devices, `least`."""

    devices: int
    rate: Cell
    least: int
    base: Cell

    @property
    def value(self) -> float:
        """The speed-up, which is `least` for the smallest number of devices."""
        assert isinstance(self.rate.value, float)
        assert isinstance(self.base.value, float)
        return self.rate.value / self.base.value * self.least


def speedups(counts: Sequence[int], rates: Sequence[Cell]) -> list[Speedup]:
    """The speed-ups of a row, for each number of devices with a throughput."""
    found = [
        (count, rate)
        for count, rate in zip(counts, rates, strict=True)
        if isinstance(rate.value, float) and rate.value > 0
    ]
    return [Speedup(*one, *found[0]) for one in found]


def scalings(runs: Runs, kind: str, *, explain: bool = False) -> Iterator[Scaling]:
    """Groups of experiments that differ in their devices; arguments as for `scaling_tables`."""
    kept, varying = ("exp.replica_batch", "exp.effective_batch")[:: 1 if kind == "weak" else -1]
    runs = runs.derived(DEVICES, runs.each(COUNTED, devices))
    follows = [varying, "exp.gpus", "exp.gpu_ids", "exp.num_gpus", "exp.num_local_gpus", "exp.num_replicas"]
    follows += ["exp.num_local_replicas", "exp.num_nodes", "exp.node_id"]
    rows = ["exp.model", kept]
    split = distinguishing_names(runs, given=[*rows, DEVICES], without=follows)
    layouts = _layouts(runs, [*split, *rows], varying)
    again: dict[tuple[Any, ...], Runs] = {}
    if layouts:
        rows.append(LAYOUT)
        whole = runs.take([at for at, _ in layouts]).derived(LAYOUT, [layout for _, layout in layouts])
        runs, again = whole[: len(runs)], whole[len(runs) :].group(split)
    for key, group in runs.group(split).items():
        members = runs.take([*group.rows, *again[key].rows]) if key in again else group
        label = label_of(group[0], split) if split else ""
        table = _pivot(THROUGHPUT, members, rows, f"{kind} scaling{f' ({label})' if label else ''}", explain)
        yield Scaling(group, members, label, rows, follows, sorted(group.distinct(DEVICES)), table)


def _pivot(key: str, runs: Runs, rows: list[str], what: str, explain: bool) -> Table:
    title = f"{quantity(key, runs)}, {what}"
    return pivot(title, runs, rows, [DEVICES], key, sort_rows=True, explain=explain)


def scaling_tables(runs: Runs, kind: str, *, explain: bool = False) -> list[Table]:
    """Make tables of throughput, batch time, speed-up and efficiency over the number of devices.

    Weak scaling fixes the replica batch, strong scaling the effective batch. The speed-up is the throughput divided by that of the smallest
    device count in the row, times this count; the efficiency is the speed-up divided by the number of devices, in rows with several numbers.
    Layouts with the same number of devices, such as one node with two GPUs and two nodes with one each, are separate rows: the first row has
    the fewest nodes for each number of devices, and every other row has one number of nodes.

    Args:
        runs: Experiments, including failed ones.
        kind: `weak` or `strong`.
        explain: Add the formulas with their numbers.
    """
    tables = []
    for one in scalings(runs, kind, explain=explain):
        what = f"{kind} scaling{f' ({one.label})' if one.label else ''}"
        throughput, time = one.throughput, _pivot(TIME, one.members, one.rows, what, explain)
        speedup, efficiency = _speedup(one, what)
        for table in (throughput, time):
            table.title = with_statistic(table.title, "median", table)
        add_notes(throughput, one.runs, [*one.rows, DEVICES, *one.follows], [THROUGHPUT])
        for table in (time, speedup, efficiency):
            table.add_legend()
            table.legend += doubt_lines(one.runs, [THROUGHPUT])
        if len(one.counts) == 1:
            speedup.legend.append(nothing_to_scale(one.counts))
        if not explain:
            speedup.formulas.clear()
            efficiency.formulas.clear()
        tables += [throughput, time, speedup, efficiency]
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


def _speedup(one: Scaling, what: str) -> tuple[Table, Table]:
    rates, bases = one.throughput, set[int]()
    speedup, efficiency = (
        Table(f"{title}, {what}", rates.names, rates.rows, rates.columns, []) for title in ("Speed-up", "Efficiency, %")
    )
    for labels, cells in zip(rates.rows, rates.cells, strict=True):
        found = {up.devices: up for up in speedups(one.counts, cells)}
        ups, shares = [], []
        for count, cell in zip(one.counts, cells, strict=True):
            up = found.get(count)
            if up is None:
                ups.append(cell)
                shares.append(cell)
                continue
            doubtful = cell.doubtful + (up.base.doubtful if count != up.least else 0)
            made = Cell(up.value, runs=cell.runs, lost=cell.lost, doubtful=doubtful, tone="doubt" if doubtful else "")
            ups.append(made)
            share = 100 * up.value / count
            # The efficiency of the only device count of a row would be 100 %, whatever its throughput.
            shares.append(replace(made, value=share) if len(found) > 1 else Cell(None, status="no-base"))
            name = f"{', '.join(filter(None, labels))}, {_devices(count)}"
            rate, divisor, words = (short_number(float(value or 0)) for value in (cell.value, up.base.value, up.value))
            speedup.formulas.append(f"{name}: speed-up = {rate} / {divisor} × {up.least} = {words}")
            if len(found) > 1:
                efficiency.formulas.append(f"{name}: efficiency = {words} / {count} = {short_number(share)} %")
        speedup.cells.append(ups)
        efficiency.cells.append(shares)
        bases.update(up.least for up in found.values())
    for base in sorted(bases - {1}):
        speedup.legend.append(f"where the smallest device count is {base}, its speed-up is {base} by definition")
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
