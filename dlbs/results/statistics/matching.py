"""Match experiments of several sides: the parameters that distinguish them, and those in which the sides differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import distinguishing_names, hashable, identity_names, varying
from dlbs.results.read.onelog import Record

__all__ = ["differences", "matching_names"]

_USUAL = ("exp.model", "exp.replica_batch")


def differences(sides: Sequence[Sequence[Record]], declarations: Mapping[str, Parameter]) -> dict[str, tuple[Any, ...]]:
    """Find parameters that have one value within each side, but not the same one on all sides.

    Returns:
        Name → its value on each side.
    """
    found = {}
    for name in identity_names([record for side in sides for record in side], declarations):
        values = [{hashable(record.get(name)) for record in side if name in record} for side in sides]
        if all(len(one) == 1 for one in values) and any(one != values[0] for one in values):
            found[name] = tuple(next(record[name] for record in side if name in record) for side in sides)
    return found


def matching_names(
    sides: Sequence[Sequence[Record]], declarations: Mapping[str, Parameter], left_out: Collection[str]
) -> list[str]:
    """Select as few parameters as possible that distinguish experiments within a side, model and batch first.

    Checking within sides leaves out texts composed of the compared parameter and others, such as command lines.
    """
    given = varying([record for side in sides for record in side], [name for name in _USUAL if name not in left_out])
    names = dict.fromkeys(given)
    for side in sides:
        names.update(dict.fromkeys(distinguishing_names(side, declarations, given=list(names), without=left_out)))
    return list(names)
