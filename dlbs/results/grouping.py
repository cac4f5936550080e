"""Group experiments: the parameters that distinguish them, the experiments of each group, and the order of groups."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from benchmark_core.log import CODE, SOFTWARE
from dlbs.config.declarations import Parameter
from dlbs.core.experiment import TITLES, describe, told_names, usual_names
from dlbs.core.text import text
from dlbs.results.runs import Record, Runs

FIRST = ("exp.framework", "command.line", "exp.phase", "exp.dtype", "exp.device_type", "exp.gpus", "exp.docker")
_FACTS = ("exp.framework_version", "exp.device_title", "exp.node_id")  # detected by a run, and decisive

_LAST = frozenset({"command.argv"})  # composed of others

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")

_PER_RUN = frozenset(
    {"exp.repeat", "exp.start_time", "exp.end_time", "exp.exit_code", "exp.seconds", "exp.flags", "exp.weight"}
)


def ordered_keys(found: Collection[tuple[Any, ...]], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Order the keys of groups: numerically by names whose values are all numbers, otherwise by occurrence."""
    positions: list[dict[Any, Any]] = []
    for index, _ in enumerate(names):
        values = list(dict.fromkeys(key[index] for key in found))
        if all(isinstance(value, (int, float)) or value is None for value in values):
            values.sort(key=lambda value: -math.inf if value is None else value)
        positions.append({value: place for place, value in enumerate(values)})
    return sorted(found, key=lambda key: [place[part] for place, part in zip(positions, key, strict=True)])


def identity_names(runs: Runs) -> list[str]:
    """List the parameters that identify an experiment, most important first.

    Names with few values come before those with many: a text composed of others, such as a command line, has at least as many values as each of
    them. Parameters whose default is computed from others come last.
    """
    return list(_identity(runs))


def _identity(runs: Runs) -> dict[str, int]:
    """The parameters that identify an experiment, in the order of `identity_names` → how many values each has, to have none counted as one."""
    declarations = runs.declarations

    def counts(name: str) -> bool:
        own = name not in declarations or declarations[name].identity
        found_out = name.startswith(("results.", "exp.env.", "exp.sys.", CODE, SOFTWARE, "db.")) or name.endswith(
            "_title"
        )
        return own and not found_out and name not in _PER_RUN and name not in FIRST + _FACTS

    # Results are not even looked at: to hash the times of all batches takes longer than everything else.
    here = list(filter(counts, runs.names))
    values = {name: runs.distinct(name) for name in (*FIRST, *_FACTS, *here)}
    others = sorted(
        here,
        key=lambda name: (
            name in _LAST,
            name not in declarations,
            _is_computed(name, declarations),
            sum(value is not None for value in values[name]),
            name,
        ),
    )
    return {name: len(values[name]) for name in (*FIRST, *_FACTS, *others)}


def _is_computed(name: str, declarations: Mapping[str, Parameter]) -> bool:
    """Whether the default of a parameter refers to others."""
    if name in _LAST:
        return True
    default = declarations[name].default if name in declarations else None
    words = default if isinstance(default, str) else json.dumps(default)
    return "${" in words


def distinguishing_names(runs: Runs, *, given: Sequence[str] = (), without: Iterable[str] = ()) -> list[str]:
    """Select as few parameters as possible that distinguish experiments with equal given ones, in the configuration's order.

    Labels contain them. Parameters that do not differ or that follow from others are left out. Declared parameters that were varied together are
    all included: naming only one of them would mislead.

    Args:
        runs: All experiments.
        given: Names that already distinguish experiments.
        without: Names to leave out because values are aggregated over them.
    """
    left_out, declarations = {*given, *without}, runs.declarations
    before: Sequence[int] = [0] * len(runs)
    for name in given:
        before = _refine(before, runs, name)
    ids, chosen = before, []
    # A parameter with one value tells nothing apart.
    candidates = [name for name, count in _identity(runs).items() if count > 1 and name not in left_out]
    for name in candidates:
        # An experiment that failed early did not detect the facts.
        if _splits(ids, runs, name, skip_absent=name in _FACTS):
            chosen.append(name)
            ids = _refine(ids, runs, name)
    # Readers look for phase and type first, even where other parameters already distinguish the experiments.
    sources = _sources(given, declarations)
    chosen += [
        name
        for name in FIRST
        if name in candidates
        # The GPU ids are redundant where the number of GPUs determines them.
        and (name not in sources or _splits(before, runs, name, skip_absent=False))
    ]
    chosen += [
        name
        for name in candidates
        if name in declarations
        and name not in (*FIRST, *_FACTS)
        and not _is_computed(name, declarations)
        and _splits(before, runs, name, skip_absent=True)
    ]
    return in_order(runs, chosen)


def _sources(names: Iterable[str], declarations: Mapping[str, Parameter]) -> set[str]:
    """Find the parameters from which the defaults of some are computed, directly or indirectly."""
    found: set[str] = set()
    left = [name for name in names if name in declarations]
    while left:
        words = json.dumps(declarations[left.pop()].default)
        new = {name for name in _REFERENCE.findall(words) if name in declarations} - found
        found |= new
        left += new
    return found


def in_order(runs: Runs, names: Collection[str]) -> list[str]:
    """Sort names in the order of the configuration, that of the lines in a log; the repeat number comes last."""
    wanted = set(names)
    found = [name for name in runs.names if name in wanted]
    return sorted([*found, *sorted(wanted.difference(found))], key=lambda name: name == "exp.repeat")


def label_of(record: Record, names: Sequence[str]) -> str:
    """Label a group of experiments by one of them: the distinguishing parameters, or the usual ones if there are none; without the repeat number."""
    shown = told_names(record, names) or usual_names(record)
    return describe(record, shown, whole=True) if shown else "all experiments"


def group_label(runs: Runs, names: Sequence[str], sides: Sequence[Runs], everything: Runs) -> str:
    """Label a group of experiments by the parameters that distinguish groups or, without any, by the usual ones that all experiments have in common.

    Args:
        runs: The group, at least one.
        names: Parameters that have one value in each group and distinguish groups.
        sides: The experiments by side: models or commands, one on each side, are in the label: `./old → ./new, cpu`.
        everything: The experiments of all groups.
    """
    if told_names(runs[0], names):
        return label_of(runs[0], names)
    title = title_name(everything)
    titles = [text(value) for side in sides for value in side.distinct(title)]
    changed = " → ".join(titles) if len(set(titles)) == len(titles) == len(sides) else ""
    return ", ".join(filter(None, [changed, common_label(everything)])) or "all experiments"


def common_label(runs: Runs, *, without: Collection[str] = ()) -> str:
    """Describe the usual parameters that all experiments have in common: `training, float32, cpu`; empty if there are none.

    Args:
        runs: The experiments, at least one.
        without: Parameters that are shown elsewhere.
    """
    common = [name for name in usual_names(runs[0]) if name not in without and len(runs.distinct(name)) == 1]
    return describe(runs[0], common, whole=True) if common else ""


def varying(runs: Runs, names: Iterable[str]) -> list[str]:
    """Select the parameters whose value differs between experiments, in the configuration's order."""
    return in_order(runs, [name for name in names if len(runs.distinct(name)) > 1])


def _splits(ids: Sequence[int], runs: Runs, name: str, *, skip_absent: bool) -> bool:
    """Whether experiments within a group differ in a parameter."""
    values, codes = runs.classes(name)
    pairs = set(zip(ids, codes, strict=True))
    if skip_absent:
        pairs = {pair for pair in pairs if values[pair[1]] not in (None, "")}
    return len({group for group, _ in pairs}) < len(pairs)


def _refine(ids: Sequence[int], runs: Runs, name: str) -> Sequence[int]:
    pairs = list(zip(ids, runs.classes(name)[1], strict=True))
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    return list(map(numbers.__getitem__, pairs))


def title_name(runs: Runs) -> str:
    """Name of the parameter for titles: the model, command or framework, the first that some experiment has; may be empty."""
    return next((name for name in TITLES if any(value not in (None, "") for value in runs.distinct(name))), "")


def label_names(runs: Runs) -> list[str]:
    """Parameters that distinguish runs, with the repeat number last."""
    names = distinguishing_names(runs, without=["exp.effective_batch"])
    return [*names, "exp.repeat"] if len(runs.distinct("exp.repeat")) > 1 else names
