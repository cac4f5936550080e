"""Whether two sides of a comparison treat memory that a batch frees alike: on a CPU that alone changes times."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.results.read.onelog import Record

__all__ = ["allocator_caution"]

_KEY = "results.malloc"
_EFFECT = "on a CPU that alone makes models up to 2.7 times as fast"


def allocator_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """What a reader should know where one side kept freed memory for the next batch and the other did not; empty otherwise.

    A program that does not log `results.malloc`, such as another project's, is taken for one that leaves the allocator alone.
    """
    found = [_settings(records) for records in (a, b)]
    if any(settings is None for settings in found):
        return ""
    keeps = ["keep" in (settings or ()) for settings in found]
    if keeps[0] == keeps[1]:
        return ""
    kept, other = (sides[0], sides[1]) if keeps[0] else (sides[1], sides[0])
    silent = "system" not in (found[keeps[0]] or ())
    said = f"and {other} does not say that it did so" if silent else f"but not in {other}"
    return (
        f"memory that a batch frees was kept for the next one in {kept} (results.malloc), {said}: {_EFFECT};"
        " compare under -Pruntime.malloc=system"
    )


def _settings(records: Sequence[Record]) -> set[str] | None:
    """What runs that ended well say of it; None if there are none, or if some were not on a CPU."""
    ended = [record for record in records if "results.time" in record or "results.throughput" in record]
    if not ended or any(record.get("exp.device_type") == "gpu" for record in ended):
        return None
    return {str(record[_KEY]) for record in ended if _KEY in record}
