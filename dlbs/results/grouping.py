"""Which parameters tell experiments apart: what makes rows and columns of tables, and what two experiments have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["FIRST", "describe", "frozen", "groups", "input_names", "telling_names"]

FIRST = ("exp.framework", "exp.phase", "exp.dtype", "exp.device_type", "exp.gpus", "exp.docker")

_FACTS = ("exp.framework_version", "exp.device_title", "exp.node_id")  # found out by a run, and decisive

# Parameters that need no name: `training`, `float16`, `batch 16`.
_SPOKEN = {**dict.fromkeys(("exp.model", *FIRST[:4]), ""), "exp.replica_batch": "batch "}

_PER_RUN = frozenset(
    {"exp.repeat", "exp.start_time", "exp.end_time", "exp.exit_code", "exp.seconds", "exp.flags", "exp.weight"}
)


def frozen(value: Any) -> Any:
    """Something hashable that is equal for equal values, and tells true from 1."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, sort_keys=True), type(value)
    return value


def groups(records: Iterable[Record], names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """Records that agree in all these names, in the order in which they first occur."""
    found: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        found.setdefault(tuple(frozen(record.get(name)) for name in names), []).append(record)
    return found


def input_names(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Names that say what an experiment is, those first that readers look for first.

    After them come names with few values before those with many: a text that is put together from others, such as a command line, has at least as
    many values as each of them.
    """
    values: dict[str, set[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, set()).add(frozen(value))

    def counts(name: str) -> bool:
        own = name not in declarations or declarations[name].identity
        found_out = name.startswith(("results.", "exp.env.", "exp.sys.", "db.")) or name.endswith("_title")
        return own and not found_out and name not in _PER_RUN and name not in FIRST + _FACTS

    others = sorted(filter(counts, values), key=lambda name: (name not in declarations, len(values[name]), name))
    return [*FIRST, *_FACTS, *others]


def telling_names(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    *,
    given: Sequence[str] = (),
    without: Iterable[str] = (),
) -> list[str]:
    """Parameters that tell apart experiments that agree in the given ones, as few as needed.

    Args:
        records: All experiments.
        declarations: Tell which parameters say what an experiment is.
        given: Names that tell experiments apart already.
        without: Names that are to be left out, because they are to be aggregated over.
    """
    left_out = {*given, *without}
    ids = [0] * len(records)
    for name in given:
        ids = _refine(ids, records, name)
    chosen = []
    for name in input_names(records, declarations):
        if name in left_out:
            continue
        # An experiment that failed early never learnt the facts.
        values: dict[int, Any] = {}
        splits = False
        for group, record in zip(ids, records, strict=True):
            if name in _FACTS and not record.get(name):
                continue
            value = frozen(record.get(name))
            if values.setdefault(group, value) != value:
                splits = True
                break
        if splits:
            chosen.append(name)
            ids = _refine(ids, records, name)
    # The phase and the type are what readers look for first, even where others tell them apart already.
    always = [
        name for name in FIRST if name not in left_out and len({frozen(record.get(name)) for record in records}) > 1
    ]
    return [*always, *(name for name in chosen if name not in always)]


def _refine(ids: list[int], records: Sequence[Record], name: str) -> list[int]:
    numbers: dict[tuple[int, Any], int] = {}
    return [
        numbers.setdefault((group, frozen(record.get(name))), len(numbers))
        for group, record in zip(ids, records, strict=True)
    ]


def describe(record: Record, names: Iterable[str], *, short: bool = True) -> str:
    """The values of some parameters in words: `training, float32, exp.seed=2`.

    Args:
        record: An experiment.
        names: What to tell.
        short: Leave out the names of parameters whose values speak for themselves.
    """
    words = []
    for name in names:
        value = text(record.get(name)) or "none"
        if short and name in _SPOKEN:
            words.append(_SPOKEN[name] + value)
        else:
            words.append(f"{name}={value}")
    return ", ".join(words)
