"""Grouping of experiments: which parameters distinguish them, which experiments belong together, and in which order groups are shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = [
    "FIRST",
    "describe",
    "distinguishing_names",
    "groups",
    "hashable",
    "identity_names",
    "label_of",
    "ordered_keys",
    "title_name",
    "usual_names",
]

FIRST = ("exp.framework", "exp.phase", "exp.dtype", "exp.device_type", "exp.gpus", "exp.docker")
_FACTS = ("exp.framework_version", "exp.device_title", "exp.node_id")  # found out by a run, and decisive

_TITLES = ("exp.model", "command.line", "exp.framework")  # what is run, in the words that say most
_LAST = frozenset({"command.argv"})  # put together from others

# Parameters that need no name: `training`, `float16`, `batch 16`.
_SPOKEN = {
    **dict.fromkeys(("exp.model", "command.line", "command.argv", *FIRST[:4]), ""),
    "exp.replica_batch": "batch ",
}

_PER_RUN = frozenset(
    {"exp.repeat", "exp.start_time", "exp.end_time", "exp.exit_code", "exp.seconds", "exp.flags", "exp.weight"}
)


def hashable(value: Any) -> Any:
    """A hashable value that is equal for equal values; true is not 1."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, sort_keys=True), type(value)
    return value


def groups(records: Iterable[Record], names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """Records that agree in all these names, in the order in which they first occur."""
    found: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        found.setdefault(tuple(hashable(record.get(name)) for name in names), []).append(record)
    return found


def ordered_keys(found: Mapping[tuple[Any, ...], list[Record]], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Keys of groups in the order in which they occur; where all values of a name are numbers, in the order of the numbers."""
    positions: list[dict[Any, Any]] = []
    for index, _ in enumerate(names):
        values = list(dict.fromkeys(key[index] for key in found))
        if all(isinstance(value, (int, float)) or value is None for value in values):
            values.sort(key=lambda value: -math.inf if value is None else value)
        positions.append({value: place for place, value in enumerate(values)})
    return sorted(found, key=lambda key: [place[part] for place, part in zip(positions, key, strict=True)])


def identity_names(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Parameters that identify an experiment, those first that readers look for first.

    After them come names with few values before those with many: a text that is put together from others, such as a command line, has at least as
    many values as each of them.
    """
    values: dict[str, set[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, set()).add(hashable(value))

    def counts(name: str) -> bool:
        own = name not in declarations or declarations[name].identity
        found_out = name.startswith(("results.", "exp.env.", "exp.sys.", "db.")) or name.endswith("_title")
        return own and not found_out and name not in _PER_RUN and name not in FIRST + _FACTS

    others = sorted(
        filter(counts, values), key=lambda name: (name in _LAST, name not in declarations, len(values[name]), name)
    )
    return [*FIRST, *_FACTS, *others]


def distinguishing_names(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    given: Sequence[str] = (),
    without: Iterable[str] = (),
) -> list[str]:
    """Parameters that distinguish experiments which agree in the given ones, as few as needed.

    Args:
        records: All experiments.
        declarations: Say which parameters identify an experiment.
        given: Names that distinguish experiments already.
        without: Names that are to be left out, because they are to be aggregated over.
    """
    left_out = {*given, *without}
    ids = [0] * len(records)
    for name in given:
        ids = _refine(ids, records, name)
    chosen = []
    for name in identity_names(records, declarations):
        if name in left_out:
            continue
        # An experiment that failed early never found out the facts.
        values: dict[int, Any] = {}
        splits = False
        for group, record in zip(ids, records, strict=True):
            if name in _FACTS and not record.get(name):
                continue
            value = hashable(record.get(name))
            if values.setdefault(group, value) != value:
                splits = True
                break
        if splits:
            chosen.append(name)
            ids = _refine(ids, records, name)
    # Readers look for the phase and the type first, even where other parameters distinguish the experiments already.
    always = [
        name for name in FIRST if name not in left_out and len({hashable(record.get(name)) for record in records}) > 1
    ]
    return [*always, *(name for name in chosen if name not in always)]


def _refine(ids: list[int], records: Sequence[Record], name: str) -> list[int]:
    numbers: dict[tuple[int, Any], int] = {}
    return [
        numbers.setdefault((group, hashable(record.get(name))), len(numbers))
        for group, record in zip(ids, records, strict=True)
    ]


def title_name(records: Iterable[Record]) -> str:
    """The parameter that says what is run: the model, or the command, or the framework, whichever of them experiments have; may be empty."""
    found = {name for record in records for name in _TITLES if record.get(name) not in (None, "")}
    return next((name for name in _TITLES if name in found), "")


def label_of(record: Record, names: Iterable[str]) -> str:
    """An experiment by the parameters that distinguish it; without any, by its command."""
    return describe(record, names) or text(record.get("command.line")) or "all experiments"


def usual_names(record: Record) -> list[str]:
    """The parameters by which readers know an experiment, as far as it has them."""
    title = [name] if (name := title_name([record])) else []
    return [*title, *(name for name in ("exp.phase", "exp.dtype", "exp.replica_batch") if name in record)]


def describe(record: Record, names: Iterable[str], *, short: bool = True) -> str:
    """The values of some parameters in words: `training, float32, exp.seed=2`.

    Args:
        record: An experiment.
        names: The parameters.
        short: Leave out the names of parameters whose values speak for themselves.
    """
    words = []
    for name in names:
        value = text(record.get(name)) or "none"
        if name in _SPOKEN and record.get(name) in (None, ""):
            continue  # a program without a model or a batch says nothing of them
        if short and name in _SPOKEN:
            words.append(_SPOKEN[name] + value)
        else:
            words.append(f"{name}={value}")
    return ", ".join(words)
