"""Match experiments of several sides: the parameters that distinguish them, and what the sides differ in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dlbs.config.declarations import Parameter
from dlbs.results.grouping import distinguishing_names, hashable, identity_names, varying
from dlbs.results.read.onelog import Record
from dlbs.text import first_few, text

__all__ = ["changed_software", "differences", "matching_names"]

_USUAL = ("exp.model", "exp.replica_batch")
# Facts that change times and that updates change, from the GPU outwards; for settings of GPUs, see `gpu_caution`.
_SOFTWARE = tuple(
    f"exp.env.{name}" for name in ("driver", "cuda", "rocm", "cudnn", "nccl", "torch", "python", "kernel", "cpu")
)


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


def changed_software(
    a: Sequence[Record], b: Sequence[Record], known: Mapping[str, tuple[Any, ...]]
) -> dict[str, tuple[str, str]]:
    """Find versions that the runs of the two sides logged and that differ between them: possible causes of a difference.

    Args:
        a: Runs of one side.
        b: Runs of the other side.
        known: Differences that are reported anyway; a fact with the same values is left out.

    Returns:
        Name → its values on each side, as text.
    """
    reported = {tuple(map(text, values)) for values in known.values()}
    found = {}
    for name in _SOFTWARE:
        sides = [
            list(dict.fromkeys(text(record[name]) for record in side if record.get(name) is not None))
            for side in (a, b)
        ]
        words = (first_few(sides[0]), first_few(sides[1]))
        if all(words) and set(sides[0]) != set(sides[1]) and words not in reported:
            found[name] = words
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
