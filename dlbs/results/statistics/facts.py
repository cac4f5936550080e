"""Facts about machines and software that runs detected, and those in which the sides of a comparison differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlbs.results.read.onelog import Record
from dlbs.text import first_few, text

__all__ = ["changed_environment", "different_facts", "is_fact"]

# What changes times and may change between runs, from the GPU outwards; for settings of GPUs, see `gpu_caution`.
_ENVIRONMENT = tuple(
    f"exp.env.{name}" for name in ("driver", "cuda", "rocm", "cudnn", "nccl", "torch", "python", "kernel", "cpu")
)


def is_fact(name: str) -> bool:
    """Whether a key is a fact about the machine or its software that a run detected."""
    return name.startswith(("exp.env.", "exp.sys.")) or name in {
        "exp.framework_version",
        "exp.device_title",
        "exp.dlbs_version",
        "exp.machine_warnings",
    }


def different_facts(sides: Sequence[Sequence[Record]], names: Iterable[str]) -> dict[str, list[list[str]]]:
    """Find facts whose values differ between the sides.

    Returns:
        Name → for each side, its different values as text; no values where no run knew the fact.
    """
    found = {}
    for name in names:
        values = [
            list(dict.fromkeys(text(record[name]) for record in side if record.get(name) is not None)) for side in sides
        ]
        if any(set(one) != set(values[0]) for one in values):
            found[name] = values
    return found


def changed_environment(
    a: Sequence[Record], b: Sequence[Record], known: Mapping[str, tuple[Any, ...]]
) -> dict[str, tuple[str, str]]:
    """Find versions and the CPU that the runs of both sides logged and that differ: possible causes of a difference.

    Args:
        a: Runs of one side.
        b: Runs of the other side.
        known: Differences that are reported anyway; a fact with the same values is left out.

    Returns:
        Name → its values on each side, as text.
    """
    reported = {tuple(map(text, values)) for values in known.values()}
    found = {}
    for name, (one, other) in different_facts((a, b), _ENVIRONMENT).items():
        words = (first_few(one), first_few(other))
        if all(words) and words not in reported:
            found[name] = words
    return found
