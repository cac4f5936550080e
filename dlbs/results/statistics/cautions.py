"""Warn about a comparison whose sides share runs, or differ in memory allocator settings or in settings of the GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from dlbs.results.read.onelog import Record
from dlbs.text import counted, first_few, text

__all__ = ["allocator_caution", "gpu_caution", "shared_runs_caution"]

_KEY = "results.malloc"
_RUN = ("exp.id", "exp.start_time", "exp.end_time", "results.time", "results.throughput")
_GPU_SETTINGS = {
    "exp.env.gpu_power_limit": "power limit of the GPU in W",
    "exp.sys.gpu.settings": "settings of the GPUs",
}
_EFFECT = "on CPUs, this alone makes models up to 2.7 times as fast"


def allocator_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if only one side kept freed memory for the next batch; empty otherwise.

    A program that does not log `results.malloc`, such as a third-party one, counts as using the default allocator settings.
    """
    found = [_settings(records) for records in (a, b)]
    if any(settings is None for settings in found):
        return ""
    keeps = ["keep" in (settings or ()) for settings in found]
    if keeps[0] == keeps[1]:
        return ""
    kept, other = (sides[0], sides[1]) if keeps[0] else (sides[1], sides[0])
    silent = "system" not in (found[keeps[0]] or ())
    said = f"and {other} does not log the setting" if silent else f"but not in {other}"
    return (
        f"memory freed by a batch was kept for the next one in {kept} (results.malloc), {said}: {_EFFECT};"
        " compare with -Pruntime.malloc=system"
    )


def gpu_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if GPUs of the same kind had other settings on the other side, such as a lower power limit; empty otherwise."""
    kinds = [_values(records, "exp.device_title") for records in (a, b)]
    if kinds[0] != kinds[1]:
        return ""
    for key, title in _GPU_SETTINGS.items():
        found = [_values(records, key) for records in (a, b)]
        if all(found) and found[0] != found[1]:
            words = [
                f"{first_few(sorted(values), ' or ')} in {side}" for values, side in zip(found, sides, strict=True)
            ]
            return f"{title} ({key}): {', '.join(words)}; this alone may change times"
    return ""


def _values(records: Sequence[Record], key: str) -> set[str]:
    """The different values of a key, or those in its lists, which have one for each GPU."""
    found = (record[key] for record in records if record.get(key) is not None)
    return {text(one) for value in found for one in (value if isinstance(value, list) else [value])} - {""}


def shared_runs_caution(a: Sequence[Record], b: Sequence[Record], sides: tuple[str, str]) -> str:
    """Warning if a run is on both sides, for example because one directory is inside the other; empty otherwise."""
    shared = len({*filter(None, map(_run, a))} & {*filter(None, map(_run, b))})
    if not shared:
        return ""
    verb = "is" if shared == 1 else "are"
    return f"{counted(shared, 'run')} {verb} both in {sides[0]} and in {sides[1]}, which hides differences: give paths without common logs"


def _run(record: Record) -> str | None:
    """Identity of a run: its experiment, start, end and result; None if the log has no start time."""
    return repr([record.get(key) for key in _RUN]) if "exp.start_time" in record else None


def _settings(records: Sequence[Record]) -> set[str] | None:
    """Allocator settings of successful runs; None if there are none, or if some did not run on a CPU."""
    ended = [record for record in records if "results.time" in record or "results.throughput" in record]
    if not ended or any(record.get("exp.device_type") == "gpu" for record in ended):
        return None
    return {str(record[_KEY]) for record in ended if _KEY in record}
